"""`openssl ocsp` asks a running server and verifies what it gets with nothing but the root."""

from __future__ import annotations

import secrets
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from strangers import SUB_CAS, ask, attempt, certificate, issue, revoke, run

if TYPE_CHECKING:
    from pathlib import Path

    from running_server import Server
    from strangers import Outcome

pytestmark = pytest.mark.interop("openssl")

NONCES = pytest.mark.parametrize("nonce", [("-nonce",), ("-no_nonce",)], ids=["nonce", "no nonce"])
HASHES = pytest.mark.parametrize("digest", ["-sha1", "-sha256"])


def openssl(home: Path, issuer: str, *arguments: str | Path, url: str) -> Outcome:
    """Every message that `openssl ocsp` has for a doubt fails the test: it does not always tell by its exit status."""
    outcome = attempt(
        "openssl", "ocsp", "-issuer", certificate(home, issuer), *arguments, "-url", url,
        "-CAfile", certificate(home, "root"),
    )  # fmt: skip
    for doubt in ("WARNING", "ERROR", "Verify error", "Verify Failure"):
        assert doubt not in outcome.output
    return outcome


@NONCES
@HASHES
def test_good_and_revoked_in_one_request(server: Server, nonce: tuple[str], digest: str) -> None:
    good, revoked = (certificate(server.home, label) for label in ("demo-good", "demo-revoked"))
    outcome = openssl(
        server.home, "server-rsa", *nonce, digest, "-cert", good, "-cert", revoked, url=f"{server.url}/ocsp"
    )
    assert outcome.status == 0
    assert "Response verify OK" in outcome.output
    assert f"{good}: good\n" in outcome.output
    assert f"{revoked}: revoked\n" in outcome.output
    assert outcome.output.count("Reason: ") == 1
    assert "Revocation Time: " in outcome.output


def test_the_reason_is_the_one_that_was_given(server: Server, tmp_path: Path) -> None:
    issued = issue(server.home, tmp_path, "server-rsa", "server")
    revoke(server.home, issued, "cessationOfOperation")
    outcome = openssl(server.home, "server-rsa", "-cert", issued.certificate, url=f"{server.url}/ocsp")
    assert f"{issued.certificate}: revoked\n" in outcome.output
    assert "Reason: cessationOfOperation\n" in outcome.output


@NONCES
@HASHES
def test_an_unknown_serial_is_unauthorized(server: Server, nonce: tuple[str], digest: str) -> None:
    serial = f"0x{secrets.randbits(126):x}"
    outcome = openssl(server.home, "server-rsa", *nonce, digest, "-serial", serial, url=f"{server.url}/ocsp")
    assert outcome.status == 1
    assert "Responder Error: unauthorized (6)" in outcome.output


def test_an_unknown_serial_among_known_ones_is_unknown(server: Server) -> None:
    good, serial = certificate(server.home, "demo-good"), f"0x{secrets.randbits(126):x}"
    outcome = openssl(server.home, "server-rsa", "-cert", good, "-serial", serial, url=f"{server.url}/ocsp")
    assert "Response verify OK" in outcome.output
    assert f"{good}: good\n" in outcome.output
    assert f"{serial}: unknown\n" in outcome.output


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA that nobody here knows."""
    path = tmp_path_factory.mktemp("foreign") / "ca.pem"
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-subj", "/CN=Foreign", "-keyout", path.with_suffix(".key"), "-out", path,
    )  # fmt: skip
    return path


@pytest.mark.parametrize("place", ["alone", "after a known one"])
def test_a_foreign_issuer_makes_the_whole_request_unauthorized(server: Server, foreign: Path, place: str) -> None:
    """RFC 6960 §2.3: no delegate of ours may speak for it."""
    known = () if place == "alone" else ("-cert", certificate(server.home, "demo-good"))
    outcome = openssl(
        server.home, "server-rsa", *known, "-issuer", foreign, "-serial", "0x17", url=f"{server.url}/ocsp"
    )
    assert outcome.status == 1
    assert "Responder Error: unauthorized (6)" in outcome.output


@pytest.fixture(scope="module")
def leaves(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One certificate of each demo CA."""
    folder = tmp_path_factory.mktemp("leaves")
    return {
        "root": certificate(server.home, "timestamp"),
        "server-rsa": certificate(server.home, "demo-good"),
        "server-ecc": issue(server.home, folder, "server-ecc", "server").certificate,
        "client": issue(server.home, folder, "client", "client").certificate,
        "code-signing": certificate(server.home, "demo-code-signer"),
        "timestamp": certificate(server.home, "tsa-p256"),
    }


@pytest.mark.parametrize("issuer", ["root", *SUB_CAS])
def test_every_ca_has_a_responder_that_may_speak_for_it(
    server: Server, leaves: dict[str, Path], issuer: str, tmp_path: Path
) -> None:
    for path in ("/ocsp", "/ocsp/", "/"):
        outcome = openssl(server.home, issuer, "-cert", leaves[issuer], url=server.url + path)
        assert "Response verify OK" in outcome.output
        assert f"{leaves[issuer]}: good\n" in outcome.output


def test_sub_ca_certificates_are_asked_at_their_parent(server: Server) -> None:
    paths = [certificate(server.home, label) for label in SUB_CAS]
    arguments = [part for path in paths for part in ("-cert", path)]
    outcome = openssl(server.home, "root", *arguments, url=f"{server.url}/ocsp")
    assert "Response verify OK" in outcome.output
    for path in paths:
        assert f"{path}: good\n" in outcome.output


@pytest.mark.parametrize("label", ["demo-good", "demo-revoked"])
@HASHES
def test_get(server: Server, label: str, digest: str, tmp_path: Path) -> None:
    """RFC 6960 A.1: the request in the path, base64 and then URL-encoded. `openssl ocsp` makes it, reads the answer."""
    request, response, path = tmp_path / "request", tmp_path / "response", certificate(server.home, label)
    about = ("-issuer", certificate(server.home, "server-rsa"), digest, "-cert", path)
    run("openssl", "ocsp", "-no_nonce", *about, "-reqout", request)
    reply = ask(f"{server.url}/ocsp/{quote(b64encode(request.read_bytes()), safe='')}")
    assert (reply.status, reply.content_type) == (200, "application/ocsp-response")
    response.write_bytes(reply.body)
    output = run("openssl", "ocsp", "-respin", response, *about, "-CAfile", certificate(server.home, "root"))
    assert "Response verify OK" in output
    assert f"{path}: {label.removeprefix('demo-')}\n" in output
    assert reply.body == ask(f"{server.url}/ocsp", request.read_bytes()).body


def test_another_root_is_not_believed(server: Server, foreign: Path) -> None:
    """That the tests above verify something shows in this one."""
    outcome = attempt(
        "openssl", "ocsp", "-issuer", certificate(server.home, "server-rsa"),
        "-cert", certificate(server.home, "demo-good"), "-url", f"{server.url}/ocsp", "-CAfile", foreign,
    )  # fmt: skip
    assert "Response Verify Failure" in outcome.output
