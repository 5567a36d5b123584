"""Online keys come and go while the server runs."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp
from running_server import Server, running_server

from tsa.client import Query, encode_query, verify_reply
from tsa.errors import NotGranted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def own(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over a copy of the demo home, which may be spoilt."""
    home = tmp_path_factory.mktemp("own") / "home"
    shutil.copytree(demo_home, home)
    with running_server(home, 2) as server:
        yield server


def issuance(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "issuance", *arguments, "--home", str(home)],
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.stdout.strip()


def signers(home: Path, kind: str, name: str) -> list[str]:
    """Serials, the oldest first."""
    listed = json.loads(issuance(home, "signer", "list", "--json"))
    return [each["serial"] for each in listed if (each["kind"], each["name"]) == (kind, name)]


def post(server: Server, path: str, body: bytes) -> bytes:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    try:
        connection.request("POST", path, body)
        return connection.getresponse().read()
    finally:
        connection.close()


def ocsp_answer(server: Server) -> x509_ocsp.OCSPResponse:
    """With a nonce, so that it is signed now: others keep the signer of the window that they belong to."""
    issuer, certificate = (
        x509.load_pem_x509_certificate((server.home / "certs" / f"{name}.pem").read_bytes())
        for name in ("server-rsa", "demo-good")
    )
    builder = x509_ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA256())
    builder = builder.add_extension(x509.OCSPNonce(bytes(32)), critical=False)
    return x509_ocsp.load_der_ocsp_response(post(server, "/ocsp", builder.build().public_bytes(Encoding.DER)))


def ocsp_signer(server: Server) -> str:
    answer = ocsp_answer(server)
    if answer.response_status is not x509_ocsp.OCSPResponseStatus.SUCCESSFUL:
        return answer.response_status.name
    return f"{answer.certificates[0].serial_number:x}"


def stamp(server: Server, unit: str) -> str:
    """The signer's serial, or why there is none."""
    root = x509.load_pem_x509_certificate((server.home / "certs" / "root.pem").read_bytes())
    query = Query(digest=hashlib.sha256(b"octets").digest(), algorithm="sha256", nonce=None)
    try:
        verified = verify_reply(post(server, f"/tsa/{unit}", encode_query(query)), query, [root])
    except NotGranted as refusal:
        return ",".join(bit.name for bit in refusal.fail_info)
    return f"{verified.path[0].serial_number:x}"


def until(seen: Callable[[], str], expected: str) -> None:
    """Every worker must come to it, so it must be seen twenty times in a row."""
    deadline = time.monotonic() + 30
    run = 0
    while run < 20:
        last = seen()
        run = run + 1 if last == expected else 0
        assert time.monotonic() < deadline, f"{last}, not {expected}"


def refusal(home: Path, *arguments: str) -> str:
    """What ``serve`` says when it does not start."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "responders", "serve", "--home", str(home), "--workers", "2"),
            *("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr


def test_the_server_does_not_start_with_a_unit_it_cannot_use(demo_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(demo_home, home)
    [key] = (home / "keys").glob("tsa-p256-*.key")
    key.unlink()
    assert refusal(home) == f"responders serve: {key} does not exist\n"
    other = tmp_path / "other.toml"
    other.write_text('[tsa.units.other]\npolicy = "2.999.3161.3"\n')
    assert refusal(home, "--config", str(other)) == (
        "responders serve: time-stamping unit other has no certificate: see `issuance signer list`\n"
    )


def test_a_renewed_delegate_speaks_without_a_restart(own: Server) -> None:
    [before] = signers(own.home, "ocsp", "server-rsa")
    until(lambda: ocsp_signer(own), before)
    issuance(own.home, "signer", "renew", "--ca", "server-rsa", "--force")
    after = signers(own.home, "ocsp", "server-rsa")[-1]
    assert after != before
    until(lambda: ocsp_signer(own), after)


def test_a_revoked_delegate_is_silent_and_the_one_before_speaks(own: Server) -> None:
    *_, before, last = signers(own.home, "ocsp", "server-rsa")
    issuance(own.home, *("cert", "revoke", "--ca", "server-rsa", "--serial", last, "--reason", "superseded"))
    until(lambda: ocsp_signer(own), before)
    issuance(own.home, *("cert", "revoke", "--ca", "server-rsa", "--serial", before, "--reason", "superseded"))
    until(lambda: ocsp_signer(own), "UNAUTHORIZED")


def test_a_renewed_unit_stamps_without_a_restart(own: Server) -> None:
    [before] = signers(own.home, "tsa", "p256")
    assert stamp(own, "p256") == before
    issuance(own.home, "signer", "renew", "--unit", "p256", "--force")
    after = signers(own.home, "tsa", "p256")[-1]
    assert after != before
    until(lambda: stamp(own, "p256"), after)


def test_a_revoked_unit_refuses_and_no_other_takes_over(own: Server) -> None:
    serial = signers(own.home, "tsa", "rsa")[-1]
    issuance(own.home, *("cert", "revoke", "--ca", "timestamp", "--serial", serial, "--reason", "keyCompromise"))
    until(lambda: stamp(own, "rsa"), "systemFailure")
    assert stamp(own, "p256") != "systemFailure"
    assert own.ready()
    assert "Traceback" not in own.log.read_text()
