"""Signed certificate timestamps (RFC 6962 §3.2, §3.3): what they are over, whose they are, and their lists."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asn1crypto import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from issuance.errors import IssuanceError
from issuance.precertificate import stripped, to_be_signed

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION: Final = 0  # v1
_SIGNATURE_TYPE: Final = b"\0"  # certificate_timestamp
_CERTIFICATE: Final = b"\0\0"
_PRECERTIFICATE: Final = b"\0\1"
_SHA256: Final = 4
_RSA: Final = 1
_ECDSA: Final = 3
"""Numbers of RFC 5246 §7.4.1.4.1."""
SKEW: Final = 60
"""Seconds that a log's clock may be ahead of ours."""


class LogRefused(IssuanceError):  # noqa: N818 - named as its meaning
    """What a log answered is not what it had to."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is handed to logs, and what their SCTs must be over."""

    chain: tuple[bytes, ...]
    """DER: the certificate or precertificate, and everything above it."""
    signed: bytes
    """LogEntryType and signed_entry."""
    precertificate: bool
    not_before: int
    """No log can have seen it earlier."""


@dataclass(frozen=True, slots=True)
class SCT:
    """One timestamp."""

    log_id: bytes
    timestamp: int
    """Milliseconds since 1970."""
    extensions: bytes
    """CtExtensions without their length: kept as they came, since the signature is over them."""
    signature: bytes
    """The digitally-signed struct: two octets of algorithm, two of length, the signature."""

    def encode(self) -> bytes:
        """SignedCertificateTimestamp."""
        return b"".join(
            (
                bytes((VERSION,)),
                self.log_id,
                self.timestamp.to_bytes(8, "big"),
                _vector(self.extensions, 2),
                self.signature,
            )
        )


def precertificate_entry(precertificate: bytes, issuers: Sequence[bytes]) -> Entry:
    """``issuers`` are the CA certificates above, from the one that signed to the root."""
    key = x509.Certificate.load(issuers[0]).public_key.dump()
    tbs = stripped(to_be_signed(precertificate))
    signed = _PRECERTIFICATE + hashlib.sha256(key).digest() + _vector(tbs, 3)
    return Entry((precertificate, *issuers), signed, True, _not_before(precertificate))


def certificate_entry(certificate: bytes, issuers: Sequence[bytes]) -> Entry:
    """Of a final certificate."""
    signed = _CERTIFICATE + _vector(certificate, 3)
    return Entry((certificate, *issuers), signed, False, _not_before(certificate))


def check_sct(sct: SCT, log_key: bytes, entry: Entry, now: int) -> None:
    """Raises LogRefused unless the SCT is from the log of this key (DER SubjectPublicKeyInfo) and over this entry."""
    if sct.log_id != hashlib.sha256(log_key).digest():
        raise LogRefused("its SCT is another log's")
    if not entry.not_before * 1000 <= sct.timestamp <= (now + SKEW) * 1000:
        raise LogRefused(f"its SCT has a timestamp of {sct.timestamp} ms, before the certificate or in the future")
    signed = b"".join(
        (
            bytes((VERSION,)),
            _SIGNATURE_TYPE,
            sct.timestamp.to_bytes(8, "big"),
            entry.signed,
            _vector(sct.extensions, 2),
        )
    )
    _check_signature(log_key, sct.signature, signed)


def _check_signature(log_key: bytes, signature: bytes, signed: bytes) -> None:
    """RFC 6962 §2.1.4: ECDSA on P-256 or RSA, with SHA-256."""
    algorithm, octets = tuple(signature[:2]), signature[4:]
    if int.from_bytes(signature[2:4], "big") != len(octets) or not octets:
        raise LogRefused("its SCT has a malformed signature")
    key = load_der_public_key(log_key)
    try:
        match key:
            case ec.EllipticCurvePublicKey() if algorithm == (_SHA256, _ECDSA):
                key.verify(octets, signed, ec.ECDSA(hashes.SHA256()))
            case rsa.RSAPublicKey() if algorithm == (_SHA256, _RSA):
                key.verify(octets, signed, padding.PKCS1v15(), hashes.SHA256())
            case _:
                raise LogRefused(f"its SCT has a signature of algorithm {algorithm}, which its key cannot have made")
    except InvalidSignature:
        raise LogRefused("its SCT has a signature that does not verify") from None


def encode_list(scts: Sequence[SCT]) -> bytes:
    """SignedCertificateTimestampList (RFC 6962 §3.3)."""
    return _vector(b"".join(_vector(sct.encode(), 2) for sct in scts), 2)


def _vector(octets: bytes, length: int) -> bytes:
    try:
        return len(octets).to_bytes(length, "big") + octets
    except OverflowError:
        raise LogRefused(f"a vector of {len(octets)} octets has no room for its length") from None


def _not_before(certificate: bytes) -> int:
    return int(x509.Certificate.load(certificate).not_valid_before.timestamp())
