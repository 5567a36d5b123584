"""``responders load`` against a running server: both protocols, both loops, its files and its exit status."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from liar import Forger, http, liar
from running_server import until

from responders.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from running_server import Server


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "responders", "load", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def load(server: Server, protocol: str, folder: Path, *arguments: object) -> dict[str, Any]:
    """The JSON of a run that must have gone well."""
    figures = folder / "figures.json"
    url = f"{server.url}/{protocol}"
    common = ("--home", server.home, "--url", url, "--json", figures, "--slow", 60, "--timeout", 60)
    assert main(["load", protocol, *map(str, (*common, *arguments))]) == 0
    summary: dict[str, Any] = json.loads(figures.read_text())
    assert summary["right"] == summary["sent"] > 0
    assert (summary["wrong"], summary["failed"], summary["interrupted"]) == ({}, {}, False)
    return summary


def test_ocsp_as_fast_as_it_goes(server: Server, tmp_path: Path) -> None:
    summary = load(
        server,
        "ocsp",
        tmp_path,
        *("--connections", 4, "--duration", 1.5, "--processes", 2),
        *("--get", 0.5, "--nonce", 0.5, "--revoked", 0.3, "--unassigned", 0.3, "--verify", 0.2),
    )
    assert (summary["loop"], summary["rate"], summary["processes"]) == ("closed", None, 2)
    assert set(summary["kinds"]) == {
        f"{method}{nonce} {state}"
        for method in ("GET", "POST")
        for nonce in ("", " nonce")
        for state in ("good", "revoked", "unassigned")
    }
    # Signed answers alone can be verified.
    assert 0 < summary["verified"] < summary["sent"] * 0.25
    assert [each["number"] for each in summary["series"]] == [0, 1]
    assert sum(each["right"] for each in summary["series"]) == summary["right"]
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"] <= summary["latency_ms"]["max"]


def test_the_command_prints_what_came_of_it(server: Server) -> None:
    url = f"{server.url}/ocsp"
    done = run("ocsp", "--home", server.home, "--url", url, "--duration", 0.5, "--rate", 50, "--processes", 1)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.startswith(f"ocsp {url}: 50 questions/s due, 0.5 s, 1 processes\n")
    for word in ("answers", "right", "wrong", "failed", "latency ms", "generator"):
        assert f"\n  {word} " in done.stdout


def test_ocsp_at_a_rate(server: Server, tmp_path: Path) -> None:
    """Two processes share a rate."""
    summary = load(server, "ocsp", tmp_path, "--rate", 100, "--duration", 1.5, "--processes", 2, "--ca", "server-rsa")
    assert (summary["loop"], summary["rate"]) == ("open", 100)
    assert summary["sent"] == pytest.approx(150, abs=2)


@pytest.mark.parametrize("pace", [("--connections", 2), ("--rate", 60)])
def test_time_stamps(server: Server, tmp_path: Path, pace: tuple[object, ...]) -> None:
    summary = load(
        server,
        "tsa",
        tmp_path,
        *pace,
        *("--duration", 1.5, "--processes", 1, "--verify", 0.5, "--legacy", 0.2),
        *("--digest", "sha256", "--digest", "sha512", "--unit", "rsa", "--unit", "p256", "--certreq", 0.5),
    )
    wanted = {
        f"{unit} {digest}{certificates}"
        for unit in ("rsa", "p256")
        for digest in ("sha256", "sha512")
        for certificates in ("", " certReq")
    } | {"legacy"}
    assert set(summary["kinds"]) <= wanted
    assert len(summary["kinds"]) > 4
    assert summary["verified"] == pytest.approx(summary["sent"] / 2, abs=1)


def test_certificates_from_a_folder_a_file_and_a_list(server: Server, tmp_path: Path) -> None:
    certificates = server.home / "certs"
    issuer = ("--issuer", certificates / "server-rsa.pem")
    serials = tmp_path / "serials"
    lines = (f"{serial_of(certificates / f'demo-{state}.pem')} {state}" for state in ("good", "revoked"))
    serials.write_text("# what to ask about\n" + "\n".join(lines) + "\n\n1234 unassigned # of no one\n")
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "certs").symlink_to(certificates)
    for source, states in (
        (("--serials", serials, *issuer), {"good", "revoked", "unassigned"}),
        (("--certificates", certificates / "demo-good.pem", certificates / "demo-revoked.pem"), {"any", "unassigned"}),
        (("--home", bare), {"any", "revoked", "unassigned"}),
    ):
        summary = load(
            server,
            "ocsp",
            tmp_path,
            *source,
            *("--rate", 200, "--duration", 0.5, "--processes", 1, "--get", 0),
            *("--unassigned", 0.3, "--seed", 1),
        )
        assert {kind.split()[-1] for kind in summary["kinds"]} == states


def serial_of(certificate: Path) -> str:
    said = subprocess.run(
        ["openssl", "x509", "-noout", "-serial", "-in", certificate], check=True, capture_output=True, text=True
    )
    return said.stdout.strip().removeprefix("serial=")


class References(HTMLParser):
    """What a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str | None]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe", "object", "embed", "base", "image", "use"}:
            self.found.append((tag, None))
        self.found += [each for each in attrs if each[0] in {"src", "href", "xlink:href", "srcset", "action", "onload"}]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


async def test_lies_make_exit_status_1_and_the_page_refers_to_nothing(
    demo_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page tells in the server's own words what was wrong, and no browser takes them for more than words."""
    forger, asked = Forger(), 0

    async def say(request: bytes) -> bytes:
        nonlocal asked
        asked += 1
        return http(b"", "<script>alert(1)</script>") if asked % 3 == 0 else http(forger.answer(request))

    async with liar(say) as port:
        page, figures = tmp_path / "page.html", tmp_path / "figures.json"
        arguments = [
            *("load", "ocsp", "--home", str(demo_home), "--url", f"http://127.0.0.1:{port}/ocsp", "--rate", "100"),
            *("--ca", "server-rsa", "--revoked", "0", "--unassigned", "0", "--verify", "0", "--processes", "1"),
            *("--duration", "2.2", "--report", str(page), "--json", str(figures)),
        ]
        status = await asyncio.to_thread(main, arguments)
    assert status == 1
    printed = capsys.readouterr().out
    assert re.search(r"\n  wrong         7\d\n +7\d content type \(the content type is", printed)
    summary = json.loads(figures.read_text())
    assert (summary["wrong"]["content type"]["count"], summary["failed"]) == (220 // 3, {})
    text = page.read_text()
    references = References()
    references.feed(text)
    assert references.found == []
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text
    assert "the content type is '<script>alert(1)</script>'" in references.texts
    assert text.count("<svg") == 3
    assert text.count("<polyline") >= 6


def test_nobody_there_is_exit_status_1(demo_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--home", str(demo_home), "--url", "http://127.0.0.1:1/ocsp", "--duration", "0.3", "--processes", "1")
    assert main(["load", "ocsp", *common]) == 1
    said = capsys.readouterr()
    assert "no connection (Connection refused)" in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "responders load: the following arguments are required: PROTOCOL"),
        ("ocsp", "responders load ocsp: the following arguments are required: --url, --duration"),
        ("crl", "responders load: argument PROTOCOL: invalid choice: 'crl' (choose from 'ocsp', 'tsa')"),
        (
            "ocsp --url ftp://x --duration 1",
            "responders load ocsp: argument --url: 'ftp://x' is not an HTTP URL, such as http://127.0.0.1:8080/ocsp",
        ),
        (
            "tsa --url http://h --duration 1 --rate 5 --connections 2",
            "responders load tsa: argument --connections/-c: not allowed with argument --rate",
        ),
        (
            "tsa --url http://h --duration 1 --rate 0",
            "responders load tsa: argument --rate: '0' is not a number from 0.001 to 1e+06",
        ),
        (
            "ocsp --url http://h --duration inf",
            "responders load ocsp: argument --duration: 'inf' is not a number from 0.1 to 86400",
        ),
        (
            "ocsp --url http://h --duration 1 --get 2",
            "responders load ocsp: argument --get: '2' is not a number from 0 to 1",
        ),
        (
            "ocsp --url http://h --duration 1 --serials README.md",
            "responders load ocsp: a file of serials needs the certificate of their CA: give --issuer",
        ),
        (
            "ocsp --url http://h --duration 1 --certificates /none.pem",
            "responders load ocsp: /none.pem cannot be read: No such file or directory",
        ),
        (
            "ocsp --url http://h --duration 1 --home /none",
            "responders load ocsp: there are no certificates to ask about: give --home, --serials or --certificates",
        ),
        (
            "tsa --url http://h --duration 1 --home /none",
            "responders load tsa: /none has no trust anchor: give --anchors, or --verify 0",
        ),
        (
            "tsa --url http://h --duration 1 --report /none/page.html",
            "responders load tsa: /none/page.html cannot be written: No such file or directory",
        ),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_status_2(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["load", *arguments.split()])
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert (status, *capsys.readouterr()) == (2, "", f"{sentence}\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--ca", "none"), "has no CA labelled 'none' with an OCSP delegate"),
        (("--ca", "client", "--revoked", "0.5"), "no revoked certificate is known: leave --revoked out"),
        (("--revoked", "0.7", "--unassigned", "0.7"), "the shares of revoked and unassigned serials are more than 1"),
    ],
)
def test_a_home_that_has_not_what_was_asked_for(
    arguments: tuple[str, ...], sentence: str, pristine_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("load", "ocsp", "--url", "http://127.0.0.1:1/", "--duration", "1", "--home", str(pristine_home))
    assert main([*common, *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_what_it_knows(server: Server, number: signal.Signals) -> None:
    """Also one that was begun in the background of a script, where SIGINT is ignored."""
    command = [
        "bash",
        "-c",
        'trap "" INT; exec "$@"',
        "-",
        sys.executable,
        "-m",
        "responders",
        "load",
        "ocsp",
        "--home",
        str(server.home),
    ]
    pace = ["--url", f"{server.url}/ocsp", "--rate", "20", "--duration", "50", "--processes", "1"]
    before = server.metric("responders_ocsp_answers_total")
    with subprocess.Popen([*command, *pace], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: server.metric("responders_ocsp_answers_total") > before + 5, "no question was asked")
        process.send_signal(number)
        said, complaints = process.communicate(timeout=20)
    assert (process.returncode, complaints) == (1, "")
    assert "\n  wrong         0\n  failed        0\n" in said
