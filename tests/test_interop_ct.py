"""OpenSSL reads and verifies SCTs, those in the certificate and those in the OCSP answer, as a TLS client does."""

from __future__ import annotations

import base64
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from ct_world import logging_home
from daemons import daemon
from issuance_world import issuance, killed_at, listed, make_csr, private_key
from ports import free_port
from running_server import running_server
from strangers import run

if TYPE_CHECKING:
    from pathlib import Path

    from ct_log import CTLog

pytestmark = pytest.mark.interop("openssl")


def log_list(folder: Path, logs: list[CTLog]) -> Path:
    """As OpenSSL reads it."""
    names = [f"log{number}" for number, _ in enumerate(logs)]
    text = f"enabled_logs = {','.join(names)}\n"
    for name, log in zip(names, logs, strict=True):
        text += f"[{name}]\ndescription = {name}\nkey = {base64.b64encode(log.public_key).decode()}\n"
    file = folder / "logs.cnf"
    file.write_text(text)
    return file


def issue(home: Path, folder: Path, kind: str, label: str) -> str:
    """The serial of ``a.pem``, whose key is ``a.key``."""
    key = private_key(kind)
    (folder / "a.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "a.csr").write_bytes(make_csr(key, common_name="a.example.ac.jp"))
    command = ("cert", "issue", "--ca", label, "--profile", "server", "--csr", folder / "a.csr")
    return issuance(*command, "--out", folder / "a.pem", home=home).stdout.strip()


def ask(home: Path, label: str, serial: str, url: str, *arguments: str | Path) -> str:
    """What ``openssl ocsp`` makes of the answer."""
    certs = home / "certs"
    command = ["openssl", "ocsp", "-issuer", certs / f"{label}.pem", "-serial", f"0x{serial}", "-url", f"{url}/ocsp"]
    done = subprocess.run(
        [str(each) for each in (*command, "-CAfile", certs / "root.pem", *arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "Response verify OK" in done.stderr
    return done.stdout


@pytest.mark.parametrize(("kind", "label"), [("p384", "server-ecc"), ("rsa-2048", "server-rsa")])
def test_a_tls_client_verifies_both_kinds_of_scts(pristine_home: Path, tmp_path: Path, kind: str, label: str) -> None:
    with logging_home(pristine_home, tmp_path) as (home, logs):
        serial = issue(home, tmp_path, kind, label)
        with running_server(home, workers=1) as server:
            assert ": good" in ask(home, label, serial, server.url, "-no_nonce", "-respout", tmp_path / "ocsp.der")
        text = run("openssl", "x509", "-in", tmp_path / "a.pem", "-noout", "-text")
        assert text.count("Signed Certificate Timestamp:") == 3
        assert text.count("ecdsa-with-SHA256") >= 2
        port = free_port()
        certs = home / "certs"
        command = (
            *("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", tmp_path / "a.pem", "-quiet"),
            *("-key", tmp_path / "a.key", "-cert_chain", certs / f"{label}.pem", "-status_file", tmp_path / "ocsp.der"),
        )
        with daemon(command, port, tmp_path / "s_server.log"):
            said = subprocess.run(
                [
                    *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", certs / "root.pem"),
                    *("-servername", "a.example.ac.jp", "-status", "-ct", "-ctlogfile", log_list(tmp_path, logs)),
                ],
                input="",
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            ).stdout
    assert "SCTs present (6)" in said
    assert said.count("SCT validation status: valid") == 6
    assert "Verify return code: 0 (ok)" in said


def test_a_precertificate_alone_is_answered_good_and_can_be_revoked(pristine_home: Path, tmp_path: Path) -> None:
    """Of whoever dies between the logs' answers and the certificate (bugzilla 1577652)."""
    with logging_home(pristine_home, tmp_path) as (home, logs):
        (tmp_path / "a.csr").write_bytes(make_csr("p384", common_name="a.example.ac.jp"))
        command = ("cert", "issue", "--ca", "server-ecc", "--profile", "server", "--csr", tmp_path / "a.csr")
        killed_at("issuance.ct_completion:embed", 1, *command, home=home)
        assert all(len(log.entries) == 1 for log in logs)
        (row,) = listed("cert", "list", "--ca", "server-ecc", "--profile", "server", home=home)
        with running_server(home, workers=1) as server:
            assert ": good" in ask(home, "server-ecc", row["serial"], server.url)
            named = ("--ca", "server-ecc", "--serial", row["serial"])
            issuance("cert", "revoke", *named, "--reason", "superseded", home=home)
            assert "Reason: superseded" in ask(home, "server-ecc", row["serial"], server.url)
