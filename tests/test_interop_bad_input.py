"""What bad input gets: the protocol's own refusal over the socket, one sentence on the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from pyasn1.codec.der import decoder
from pyasn1_alt_modules import rfc3161
from strangers import OCSP_REQUEST, TIMESTAMP_QUERY, ask, attempt, certificate, ocsp_request

from issuance.cli import build_parser as issuance_parser
from issuance.cli import main as issuance_main
from responders.cli import build_parser as responders_parser
from responders.cli import main as responders_main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from running_server import Server

MALFORMED_REQUEST: Final = bytes.fromhex("30030a0101")
OCSP_CAP, TSA_CAP = 16 * 1024, 64 * 1024

IMPRINT: Final = "3031300d060960864801650304020105000420" + bytes(range(32)).hex()
REFUSED: Final = {
    "empty": ("", "03020204"),
    "no DER": ("3c68746d6c3e", "03020204"),
    "empty SEQUENCE": ("3000", "03020204"),
    "length of 4 GiB": ("3084ffffffff", "03020204"),
    "trailing octet": ("3036020101" + IMPRINT + "00", "03020204"),
    "31 octets of SHA-256": ("3035020101" + "3030300d06096086480165030402010500041f" + bytes(31).hex(), "03020204"),
    "nonce not minimal": ("303a020101" + IMPRINT + "02020001", "03020204"),
    "version 2": ("3036020102" + IMPRINT, "03020520"),
    "SHA-1": ("3026020101" + "3021300906052b0e03021a05000414" + bytes(20).hex(), "03020780"),
    "policy": ("303c020101" + IMPRINT + "06042a030463", "0303000001"),
    "extension": ("3042020101" + IMPRINT + "a00a300806022a0304020500", "030407000080"),
    "critical extension": ("3045020101" + IMPRINT + "a00d300b06022a030101ff04020500", "030407000080"),
}
"""Time-stamp requests, and the DER of the failInfo each must get."""


@pytest.fixture
def request_octets(server: Server) -> bytes:
    return ocsp_request(certificate(server.home, "demo-good"), certificate(server.home, "server-rsa"))


@pytest.mark.parametrize("path", ["/ocsp", "/ocsp/"])
def test_a_broken_ocsp_request_is_malformed(server: Server, request_octets: bytes, path: str) -> None:
    broken = [
        b"",
        b"0",
        b"<html>",
        bytes.fromhex("3084ffffffff"),
        request_octets[:-1],
        request_octets + b"\0",
        bytes(OCSP_CAP),
        *(request_octets[:length] for length in range(2, len(request_octets), 16)),
    ]
    for body in broken:
        reply = ask(server.url + path, body)
        assert (reply.status, reply.content_type, reply.body) == (200, "application/ocsp-response", MALFORMED_REQUEST)


@pytest.mark.parametrize("text", ["A", "MA%3D%3D", "%%%", "!", "MAA%3DMAA%3D"])
def test_a_broken_get_is_malformed(server: Server, text: str) -> None:
    reply = ask(f"{server.url}/ocsp/{text}")
    assert (reply.status, reply.content_type, reply.body) == (200, "application/ocsp-response", MALFORMED_REQUEST)


@pytest.mark.parametrize("path", ["/tsa", "/tsa/p256"])
@pytest.mark.parametrize(("encoded", "fail_info"), REFUSED.values(), ids=REFUSED)
def test_a_refused_time_stamp_request_says_why_in_exact_der(
    server: Server, path: str, encoded: str, fail_info: str
) -> None:
    reply = ask(server.url + path, bytes.fromhex(encoded), TIMESTAMP_QUERY)
    assert (reply.status, reply.content_type) == (200, "application/timestamp-reply")
    parsed, rest = decoder.decode(reply.body, asn1Spec=rfc3161.TimeStampResp())
    assert rest == b""
    assert int(parsed["status"]["status"]) == 2, "rejection"
    assert not parsed["timeStampToken"].isValue
    assert reply.body.endswith(bytes.fromhex(fail_info)), "failInfo comes last"


@pytest.mark.parametrize(
    ("path", "cap", "content_type"), [("/ocsp", OCSP_CAP, OCSP_REQUEST), ("/tsa", TSA_CAP, TIMESTAMP_QUERY)]
)
def test_a_body_over_the_cap_is_413(server: Server, path: str, cap: int, content_type: str) -> None:
    assert ask(server.url + path, bytes(cap), content_type).status == 200
    assert ask(server.url + path, bytes(cap + 1), content_type).status == 413


def test_an_unknown_unit_and_an_unknown_path_are_404(server: Server) -> None:
    assert ask(f"{server.url}/tsa/none", b"0", TIMESTAMP_QUERY).status == 404
    for path in ("/nothing", "/ca/none.cer", "/ca/..%2fkeys%2froot.key", "/crl/none.crl"):
        assert ask(server.url + path).status == 404


def commands(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command line down to where options begin."""
    topics = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for topic in topics:
        for name, below in topic.choices.items():
            yield from commands(below, (*path, name))
    if not topics:
        yield path


PROGRAMS: Final = {"issuance": issuance_main, "responders": responders_main}
WRONG: Final = [
    *(("issuance", (*path, "--no-such-option")) for path in commands(issuance_parser())),
    *(("responders", (*path, "--no-such-option")) for path in commands(responders_parser())),
    *(("responders", (*path, "--no-such-option")) for path in commands(responders_parser("load")) if path[0] == "load"),
    *((program, arguments) for program in PROGRAMS for arguments in ((), ("nonsense",), ("--nonsense",))),
    ("issuance", ("cert",)),
    ("issuance", ("ca", "create", "x", "--purpose", "nonsense", "--common-name", "X")),
    ("issuance", ("cert", "issue", "--ca", "client", "--profile", "nonsense", "--csr", "x")),
    *(
        ("issuance", ("cert", "revoke", "--ca", "client", "--serial", serial, "--reason", reason, *at))
        for serial, reason, at in (
            ("xyz", "keyCompromise", ()),
            ("", "keyCompromise", ()),
            ("00", "keyCompromise", ()),
            ("-1", "keyCompromise", ()),
            ("f" * 41, "keyCompromise", ()),
            ("1", "nonsense", ()),
            ("1", "superseded", ("--at", "yesterday")),
            ("1", "superseded", ("--at", "2026-02-30T00:00:00Z")),
        )
    ),
    ("issuance", ("cert", "list", "--state", "nonsense")),
    ("issuance", ("signer", "renew", "--ca", "client", "--unit", "rsa")),
    *(("responders", ("serve", "--workers", count)) for count in ("0", "-1", "two", "1.5", "100000")),
    *(
        ("responders", ("serve", option, address))
        for option in ("--listen", "--admin")
        for address in ("nonsense", "127.0.0.1:99999", "127.0.0.1:", ":::", "127.0.0.1:-1")
    ),
    ("responders", ("status",)),
    ("responders", ("timestamp",)),
]


@pytest.mark.parametrize(
    ("program", "arguments"), WRONG, ids=[" ".join((program, *arguments)) for program, arguments in WRONG]
)
def test_a_wrong_argument_is_one_sentence_and_exit_status_2(
    capsys: pytest.CaptureFixture[str], program: str, arguments: Sequence[str]
) -> None:
    main: Callable[[Sequence[str]], int] = PROGRAMS[program]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith(program)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_installed_commands_pass_the_exit_status_on(program: str) -> None:
    outcome = attempt(Path(sys.executable).with_name(program), "nonsense")
    assert outcome.status == 2
    assert outcome.output.count("\n") == 1


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("issuance", ("cert", "list")),
        ("issuance", ("cert", "revoke", "--ca", "client", "--serial", "1", "--reason", "superseded")),
        ("issuance", ("signer", "renew")),
        ("responders", ("serve",)),
        ("responders", ("status", "none.pem")),
        ("responders", ("timestamp", "none")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_a_home_that_is_not_there_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, program: str, arguments: Sequence[str]
) -> None:
    assert PROGRAMS[program]([*arguments, "--home", str(tmp_path / "none")]) in {1, 2}
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err
