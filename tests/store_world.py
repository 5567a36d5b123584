"""Issuers for tests of the store: self-signed certificates made at run time, one for each label."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ca_store.database import migrate
from ca_store.issuers import issuer_hashes
from ca_store.types import Issuer, IssuerID


@cache
def make_certificate(label: str) -> x509.Certificate:
    """A self-signed certificate with the label as its common name."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )


def make_issuer(label: str, parent: IssuerID | None = None) -> Issuer:
    """A record as ``add_issuer`` takes it."""
    certificate = make_certificate(label)
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Issuer(
        id=IssuerID(0),
        label=label,
        certificate=der,
        parent=parent,
        serial=certificate.serial_number,
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
        hashes=issuer_hashes(der),
    )


def prepared_url(url: str) -> str:
    """The same URL, its database migrated."""
    migrate(url)
    return url
