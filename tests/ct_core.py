"""What was issued with Certificate Transparency, and what its SCTs say, for tests."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from issuance_world import make_csr, private_key

from issuance.csr import decode_request
from issuance.profile import SERVER
from issuance.subscriber import issue_from_request

if TYPE_CHECKING:
    from cryptography.x509.certificate_transparency import SignedCertificateTimestamp
    from ct_log import CTLog

    from ca_store.types import Certificate
    from issuance.core import Core

SCTS = x509.PrecertificateSignedCertificateTimestamps


def issued(core: Core, host: str = "a.example.ac.jp", label: str = "ecc") -> Certificate:
    """What is on record after a server certificate was issued."""
    issuer = core.store.issuer(label)
    request = decode_request(make_csr("p384" if label == "ecc" else "rsa-2048", common_name=host))
    serial, der = issue_from_request(core, issuer, SERVER, request)
    known = core.store.certificate(issuer.id, serial)
    assert known.der == der
    return known


def left(core: Core, before: set[int]) -> Certificate:
    """The one row that came into being."""
    (found,) = [each for each in core.store.certificates() if each.serial not in before]
    return found


def serials(core: Core) -> set[int]:
    return {each.serial for each in core.store.certificates()}


def loaded(certificate: Certificate) -> x509.Certificate:
    assert certificate.der is not None
    return x509.load_der_x509_certificate(certificate.der)


def embedded(certificate: Certificate) -> list[SignedCertificateTimestamp]:
    return list(loaded(certificate).extensions.get_extension_for_class(SCTS).value)


def verify(log: CTLog, sct: SignedCertificateTimestamp, entry: bytes) -> None:
    """As a browser would, with nothing of ours: ``entry`` is LogEntryType and signed_entry."""
    timestamp = int(sct.timestamp.replace(tzinfo=UTC).timestamp()) * 1000 + sct.timestamp.microsecond // 1000
    extensions = len(sct.extension_bytes).to_bytes(2, "big") + sct.extension_bytes
    signed = b"\0\0" + timestamp.to_bytes(8, "big") + entry + extensions
    key = log.key.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(sct.signature, signed, padding.PKCS1v15(), hashes.SHA256())
    else:
        key.verify(sct.signature, signed, ec.ECDSA(hashes.SHA256()))


def of_precertificate(core: Core, certificate: Certificate) -> bytes:
    issuer = asn1_x509.Certificate.load(core.store.issuer(certificate.issuer_label).certificate)
    tbs = loaded(certificate).tbs_precertificate_bytes
    return b"\0\1" + hashlib.sha256(issuer.public_key.dump()).digest() + len(tbs).to_bytes(3, "big") + tbs


def parse_list(encoded: bytes) -> list[SignedCertificateTimestamp]:
    """A TLS list as cryptography reads it: in an extension of a certificate that is made for it."""
    inner = b"\x04" + (b"\x82" + len(encoded).to_bytes(2, "big")) + encoded
    name = x509.Name([])
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    carrier = (
        x509.CertificateBuilder(name, name, private_key("p256").public_key(), 1, moment, moment)
        .add_extension(x509.UnrecognizedExtension(SCTS.oid, inner), critical=False)
        .sign(private_key("p256"), hashes.SHA256())
    )
    return list(carrier.extensions.get_extension_for_class(SCTS).value)
