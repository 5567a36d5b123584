"""What to measure OCSP beside: CFSSL, which has ready answers in memory, OpenSSL's own responder, which signs, and
nginx, which sends an answer as a file.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

LEAF = 0x4A << 152 | 1


def cfssl_command(folder: Path, port: int, answer: bytes) -> tuple[str, ...]:
    """CFSSL's responder with one answer, for POST at ``/``: Debian's version takes the slash in front of a GET's base64
    for a part of it, and so answers none.
    """
    folder.mkdir()
    responses = folder / "responses"
    responses.write_bytes(base64.b64encode(answer) + b"\n")
    return ("cfssl", "ocspserve", "-address", "127.0.0.1", "-port", str(port), "-responses", str(responses))


def nginx_command(folder: Path, port: int, answer: bytes) -> tuple[str, ...]:
    """A single worker of nginx that sends the answer for GET ``/answer``, as fast as its settings make it."""
    folder.mkdir()
    (folder / "answer").write_bytes(answer)
    places = "".join(
        f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"""daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 512; }}
        http {{
          access_log off; {places}
          sendfile on; tcp_nopush on; open_file_cache max=16 inactive=1h; open_file_cache_valid 1h;
          keepalive_requests 1000000000; keepalive_timeout 1h; default_type application/ocsp-response;
          server {{
            listen 127.0.0.1:{port}; root {folder};
            location / {{ add_header Cache-Control "max-age=3600, public, no-transform, must-revalidate"; }}
          }}
        }}
        """
    )
    folder.chmod(0o755)
    return ("nginx", "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(folder / "nginx.conf"))


@dataclass(frozen=True)
class OpenSSLPeer:
    """An ``openssl ocsp`` that can be started: a P-256 CA, its delegate, and an index with one certificate."""

    command: tuple[str, ...]
    issuer: Path
    leaf: int = LEAF


def make_openssl_peer(folder: Path, port: int) -> OpenSSLPeer:
    """Write keys, certificates and index below ``folder``."""
    folder.mkdir()
    key, delegate_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer, delegate, secret, index = (
        folder / name for name in ("ca.pem", "delegate.pem", "delegate.key", "index.txt")
    )
    issuer.write_bytes(_certificate("CA", "CA", key, key, ca=True))
    delegate.write_bytes(_certificate("Responder", "CA", delegate_key, key, ca=False))
    secret.write_bytes(
        delegate_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    index.write_text(f"V\t991231235959Z\t\t{LEAF:X}\tunknown\t/CN=Leaf\n")
    return OpenSSLPeer(
        ("openssl", "ocsp", "-port", str(port), "-index", str(index), "-CA", str(issuer), "-rsigner", str(delegate),
         "-rkey", str(secret), "-nmin", "60", "-ignore_err"),
        issuer,
    )  # fmt: skip


def _certificate(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, *, ca: bool
) -> bytes:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
