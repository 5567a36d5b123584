"""The systemd units: systemd itself reads and rates them, and the commands do their work within what they allow."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from confinement import confined, confined_server
from cryptography.x509 import ocsp as x509_ocsp
from running_server import until
from strangers import TIMESTAMP_QUERY, Outcome, ask, attempt, certificate, ocsp_request, run
from tsa_reader import open_reply
from tsa_server import query
from unit_sandbox import STATE

UNITS: Final = Path(__file__).parent.parent / "docker" / "systemd"
NAMES: Final = ("responders.service", "issuance-run.service")
INSTALLED: Final = "/opt/responders/bin/"
MOST_EXPOSED: Final = 2.0
"""On systemd's scale from 0 to 10; "OK" ends at 4.9, and a service on the network cannot get below one."""

pytestmark = pytest.mark.interop("systemd-analyze")


def confined_command(unit: str, home: Path, *arguments: str) -> Outcome:
    """A module of ours, with the home where the unit has it."""
    return attempt(*confined(UNITS / unit, home, sys.executable, "-m", *arguments, "--home", STATE))


@pytest.fixture(scope="module")
def home(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("units")
    run("cp", "-r", demo_home, folder / "home")
    return folder / "home"


@pytest.mark.parametrize("name", NAMES)
def test_systemd_reads_every_line(name: str, tmp_path: Path) -> None:
    """With the programs where this environment has them, it has nothing to say."""
    unit = tmp_path / name
    text = (UNITS / name).read_text()
    assert INSTALLED in text
    unit.write_text(text.replace(INSTALLED, f"{Path(sys.executable).parent}/"))
    assert run("systemd-analyze", "verify", "--man=no", unit) == ""


@pytest.mark.parametrize("name", NAMES)
def test_systemd_rates_little_exposure(name: str) -> None:
    rated = run("systemd-analyze", "security", "--offline=yes", "--no-pager", UNITS / name)
    score = float(rated.rpartition("Overall exposure level for ")[2].split()[1])
    assert score < MOST_EXPOSED
    json.loads(run("systemd-analyze", "security", "--offline=yes", "--json=short", UNITS / name))


PROBE: Final = """
import os
from responders.kernel_clock import read_clock_estimate

def writes(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    except OSError:
        return False
    return True

home = "/var/lib/responders"
assert not any(map(writes, ["/etc/new", "/new", f"{home}/responders.toml"]))
assert all(map(writes, [f"{home}/ca.db", "/var/tmp/new"]))
try:
    os.chown("/var/tmp/new", 1, 1)
except PermissionError:
    pass
else:
    raise AssertionError("there are capabilities left")
if READS_CLOCK:
    assert read_clock_estimate() is not None
"""


@pytest.mark.parametrize("name", NAMES)
def test_nothing_else_can_be_written(name: str, home: Path) -> None:
    """And the kernel's clock can be read where it is needed."""
    probe = PROBE.replace("READS_CLOCK", str(name == "responders.service"))
    outcome = attempt(*confined(UNITS / name, home, sys.executable, "-c", probe))
    assert outcome.status == 0, outcome.output


def test_the_confined_server_does_all_its_work(home: Path, tmp_path: Path) -> None:
    """It answers, stamps, records what it stamped, reloads, checks itself and stops."""
    asked = ocsp_request(certificate(home, "demo-good"), certificate(home, "server-rsa"))
    with confined_server(home, tmp_path, UNITS / NAMES[0]) as server:
        for reloads in (0, 1):
            until(lambda: server.log.read_text().count("has taken over") == reloads, "no reload")  # noqa: B023 - at once
            answer = x509_ocsp.load_der_ocsp_response(ask(f"{server.url}/ocsp", asked).body)
            assert answer.certificate_status.name == "GOOD"
            for unit in ("rsa", "p256"):
                open_reply(ask(f"{server.url}/tsa/{unit}", query(), TIMESTAMP_QUERY).body)
            if not reloads:
                server.process.send_signal(signal.SIGHUP)
        until(lambda: server.metric("responders_tsa_log_entries_total") >= 4, "the log of tokens is not written")
        until(lambda: server.metric("responders_selfcheck_timestamp_seconds") > 0, "it does not check itself")
        assert server.metric("responders_selfcheck_linted") == 1
        assert server.admin("/readyz") == (200, "ready\n")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    verified = attempt(sys.executable, "-m", "responders", "log", "verify", "--home", home)
    assert verified.status == 0, verified.output


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    mask = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_confined_issuance_does_all_its_work(home: Path) -> None:
    """A new delegate is made, and its key written; the timers look, find nothing to complain of, and end."""
    renewed = confined_command("issuance-run.service", home, "issuance", "signer", "renew", "--ca", "client", "--force")
    assert renewed.status == 0, renewed.output
    keys = list((home / "keys").glob("ocsp-client-*.key"))
    assert len(keys) == 2
    timers = subprocess.Popen(
        confined(UNITS / "issuance-run.service", home, sys.executable, "-m", "issuance", "run", "--home", STATE),
        stderr=subprocess.PIPE,
    )
    until(lambda: timers.poll() is not None or catches(timers.pid, signal.SIGTERM), "the timers do not start")
    timers.terminate()
    assert timers.communicate(timeout=30)[1] == b""
    assert timers.returncode == 0
