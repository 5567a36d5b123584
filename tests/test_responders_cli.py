"""The command line: one sentence and exit status 2 for a wrong argument, 1 for a server that cannot start."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def responders(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "responders", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "responders: the following arguments are required: COMMAND\n"),
        (
            ("dance",),
            (
                "responders: argument COMMAND: invalid choice: 'dance'"
                " (choose from 'serve', 'status', 'timestamp', 'doctor', 'log', 'load')\n"
            ),
        ),
        (("serve", "--listen", "x"), "responders serve: argument --listen: 'x' is not HOST:PORT\n"),
        (("serve", "--workers", "0"), "responders serve: argument --workers: '0' is not a number from 1 to 1024\n"),
        (("serve", "--config", "/"), "responders serve: argument --config: '/' is not a file\n"),
        (("serve", "extra"), "responders: unrecognized arguments: extra\n"),
        (("doctor", "--config", "/"), "responders doctor: argument --config: '/' is not a file\n"),
        (("status",), "responders status: the following arguments are required: CERT.pem\n"),
        (("status", "none.pem"), "responders status: none.pem cannot be read: No such file or directory\n"),
        (("timestamp", "none.bin"), "responders timestamp: none.bin cannot be read: No such file or directory\n"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_status_2(arguments: tuple[str, ...], sentence: str) -> None:
    done = responders(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)


def test_help_goes_to_standard_output() -> None:
    done = responders("--help")
    assert done.returncode == 0
    assert "serve" in done.stdout


def test_no_home_is_one_sentence(tmp_path: Path) -> None:
    done = responders("serve", "--home", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        f"responders serve: {tmp_path} is not a home: there is no responders.toml in it (run `issuance init`)\n"
    )


def test_a_bad_setting_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "responders.toml").write_text("[ocsp]\nwindow = 'long'\n")
    done = responders("serve", "--home", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (f"responders serve: {tmp_path}/responders.toml: [ocsp] window: Expected `int`, got `str`\n")


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "responders.toml").write_text("")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = responders("serve", "--home", str(tmp_path), "--listen", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert done.stderr == f"responders serve: cannot listen on 127.0.0.1:{port}: the port is taken\n"


def test_what_a_worker_refuses_is_one_sentence_however_many_there_are(tmp_path: Path) -> None:
    """The database is opened by the workers; what they say must reach the operator, once."""
    (tmp_path / "responders.toml").write_text("")
    done = responders("serve", "--home", str(tmp_path), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("responders serve: ")
    assert "Traceback" not in done.stderr
