"""What the tests against strangers' programs share: starting one, asking the server, issuing and revoking."""

from __future__ import annotations

import http.client
import io
import subprocess
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp as x509_ocsp
from cryptography.x509.oid import NameOID

from issuance.cli import main as issuance_main

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

TIMEOUT: Final = 60
SEEN_SECONDS: Final = 1.0
"""After its commit every worker must know of a revocation in this time, and serve the new CRL."""
OCSP_REQUEST: Final = "application/ocsp-request"
TIMESTAMP_QUERY: Final = "application/timestamp-query"
SHA1: Final = hashes.SHA1()  # noqa: S303 - names an issuer in a CertID and protects nothing
SHA256: Final = hashes.SHA256()
SUB_CAS: Final = ("server-rsa", "server-ecc", "client", "code-signing", "timestamp")

_SUBJECT: Final = (
    (NameOID.COUNTRY_NAME, "JP"),
    (NameOID.STATE_OR_PROVINCE_NAME, "Tokyo"),
    (NameOID.LOCALITY_NAME, "Chiyoda-ku"),
    (NameOID.ORGANIZATION_NAME, "Example University"),
)
"""The institution that the demo home knows."""


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    status: int
    output: str
    """Standard output and standard error, in that order."""


def attempt(*command: str | Path) -> Outcome:
    """Run a program to its end, whatever that is."""
    done = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT
    )
    return Outcome(done.returncode, (done.stdout + done.stderr).decode())


def run(*command: str | Path) -> str:
    """Run a program that must succeed; its whole output."""
    outcome = attempt(*command)
    assert outcome.status == 0, outcome.output
    return outcome.output


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    content_type: str | None
    body: bytes


def ask(url: str, body: bytes | None = None, content_type: str = OCSP_REQUEST) -> Reply:
    """One request over a fresh connection: POST of a body, GET without one."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)
    try:
        headers = {"Connection": "close"} | ({} if body is None else {"Content-Type": content_type})
        connection.request("GET" if body is None else "POST", parts.path, body, headers)
        answer = connection.getresponse()
        return Reply(answer.status, answer.getheader("Content-Type"), answer.read())
    finally:
        connection.close()


def certificate(home: Path, label: str) -> Path:
    """The PEM file of one of the demo home's certificates."""
    return home / "certs" / f"{label}.pem"


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def ocsp_request(
    leaf: Path,
    issuer: Path,
    *,
    serial: int | None = None,
    nonce: bytes | None = None,
    digest: hashes.HashAlgorithm = SHA1,
) -> bytes:
    """An OCSPRequest about ``leaf``, or about another serial of its issuer."""
    builder = x509_ocsp.OCSPRequestBuilder()
    about = builder.add_certificate(load(leaf), load(issuer), digest)
    if serial is not None:
        asked = about.build()
        about = builder.add_certificate_by_hash(asked.issuer_name_hash, asked.issuer_key_hash, serial, digest)
    if nonce is not None:
        about = about.add_extension(x509.OCSPNonce(nonce), critical=False)
    return about.build().public_bytes(Encoding.DER)


def issuance(home: Path, *arguments: str | Path) -> str:
    """Carry out an issuance command that must succeed; what it prints. Only its process is left out, to be quick."""
    printed, refused = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(refused):
        status = issuance_main([*map(str, arguments), "--home", str(home)])
    assert status == 0, refused.getvalue()
    return printed.getvalue()


@dataclass(frozen=True)
class Issued:
    """A certificate that was issued by command, and its key."""

    ca: str
    serial: str
    certificate: Path
    key: Path


def issue(home: Path, folder: Path, ca: str, profile: str) -> Issued:
    """Make a key and a CSR in ``folder`` and have them certified. Every call may use the same folder once a profile."""
    key = folder / f"{ca}-{profile}.key"
    csr, out = key.with_suffix(".csr"), key.with_suffix(".pem")
    private = _key(ca, profile)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    csr.write_bytes(_request(profile, private).public_bytes(Encoding.PEM))
    printed = issuance(home, "cert", "issue", "--ca", ca, "--profile", profile, "--csr", csr, "--out", out)
    return Issued(ca, printed.split()[-1], out, key)


def revoke(home: Path, issued: Issued, reason: str = "keyCompromise", at: datetime | None = None) -> None:
    """Known to every worker when it returns. ``at`` is the time of the revocation when that is not now."""
    backdated = () if at is None else ("--at", at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    issuance(home, "cert", "revoke", "--ca", issued.ca, "--serial", issued.serial, "--reason", reason, *backdated)
    time.sleep(SEEN_SECONDS)


def _key(ca: str, profile: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    if ca == "server-ecc":
        return ec.generate_private_key(ec.SECP384R1())
    return rsa.generate_private_key(65537, 3072 if profile == "code-signing" else 2048)


def _request(profile: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    common_name = {
        "server": "www.example.ac.jp",
        "client": "Hanako Suzuki",
        "smime": "hanako@example.ac.jp",
        "code-signing": "Example University",
    }[profile]
    organization = () if profile == "smime" else _SUBJECT
    subject = [x509.NameAttribute(oid, value) for oid, value in (*organization, (NameOID.COMMON_NAME, common_name))]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    names: dict[str, x509.GeneralName] = {"server": x509.DNSName(common_name), "smime": x509.RFC822Name(common_name)}
    if profile in names:
        builder = builder.add_extension(x509.SubjectAlternativeName([names[profile]]), critical=False)
    return builder.sign(key, hashes.SHA256())
