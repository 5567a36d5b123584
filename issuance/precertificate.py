"""Precertificates (RFC 6962 §3.1), octet by octet: what logs sign over is cut out of their DER, never encoded anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asn1crypto import parser
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from ca_store import der
from issuance.errors import IssuanceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ca_store.signing import Signer

_POISON_OID: Final = der.oid("1.3.6.1.4.1.11129.2.4.3")
_SCT_LIST_OID: Final = der.oid("1.3.6.1.4.1.11129.2.4.2")
_EXTENSIONS: Final = 0xA3
"""Identifier octet of the TBSCertificate's extensions, its last field (RFC 5280 §4.1)."""

POISON: Final = der.sequence(_POISON_OID, der.TRUE, der.octet_string(der.NULL))
"""The critical extension that no relying party knows, so that none takes a precertificate for a certificate."""


def sct_list_extension(sct_list: bytes) -> bytes:
    """The extension around a TLS-encoded list: an OCTET STRING inside of extnValue (RFC 6962 §3.3). Not critical."""
    return der.sequence(_SCT_LIST_OID, der.octet_string(der.octet_string(sct_list)))


def is_precertificate(certificate: bytes) -> bool:
    """Whether a DER certificate has the poison extension."""
    return POISON in certificate and POISON in _extensions(to_be_signed(certificate))


def has_scts(certificate: bytes) -> bool:
    """Whether a DER certificate has SCTs embedded."""
    return any(each[len(_header(each)) :].startswith(_SCT_LIST_OID) for each in _extensions(to_be_signed(certificate)))


def to_be_signed(certificate: bytes) -> bytes:
    """The TBSCertificate, octet for octet."""
    return next(_members(certificate))


def stripped(tbs: bytes) -> bytes:
    """A TBSCertificate without poison and without SCT list: what the SCTs of a precertificate are over (RFC 6962 §3.2).
    All else stays as it was, octet for octet.
    """
    return _with_extensions(tbs, _others(tbs))


def embed(precertificate: bytes, sct_list: bytes, issuer: bytes, signer: Signer) -> bytes:
    """Sign the certificate that a precertificate announced; its DER. The list stands where extensions end, as the
    poison did. Raises KeyUnavailable, and IssuanceError when the result is not what was announced.
    """
    announced = to_be_signed(precertificate)
    if POISON not in _extensions(announced):
        raise IssuanceError("what was to be completed is no precertificate")
    tbs = _with_extensions(announced, [*_others(announced), sct_list_extension(sct_list)])
    signature = der.bit_string(signer.sign(tbs))
    certificate = der.sequence(tbs, signer.algorithm.identifier, signature)
    check_correspondence(certificate, precertificate, issuer)
    return certificate


def check_correspondence(certificate: bytes, precertificate: bytes, issuer: bytes) -> None:
    """Raises IssuanceError unless a certificate is its precertificate with the poison gone and SCTs in its place, both
    signed by the issuer. Another implementation than ours takes the certificate apart.
    """
    made = x509.load_der_x509_certificate(certificate)
    announced = to_be_signed(precertificate)
    authority = x509.load_der_x509_certificate(issuer)
    try:
        for each in (made, x509.load_der_x509_certificate(precertificate)):
            each.verify_directly_issued_by(authority)
        same = made.tbs_precertificate_bytes == stripped(announced)
    except (InvalidSignature, ValueError, TypeError):
        raise IssuanceError("the certificate or its precertificate does not verify under its issuer") from None
    if not same or is_precertificate(certificate) or not is_precertificate(precertificate):
        raise IssuanceError("the certificate is not what its precertificate announced")


def _others(tbs: bytes) -> list[bytes]:
    marks = (_POISON_OID, _SCT_LIST_OID)
    return [each for each in _extensions(tbs) if not each[len(_header(each)) :].startswith(marks)]


def _extensions(tbs: bytes) -> list[bytes]:
    *_, last = _members(tbs)
    if last[0] != _EXTENSIONS:
        return []
    return list(_members(next(_members(last))))


def _with_extensions(tbs: bytes, extensions: list[bytes]) -> bytes:
    *fields, last = _members(tbs)
    if last[0] != _EXTENSIONS:
        raise IssuanceError("the certificate has no extensions")
    return der.sequence(*fields, der.context(3, der.sequence(*extensions)))


def _header(encoded: bytes) -> bytes:
    return bytes(parser.parse(encoded)[3])


def _members(encoded: bytes) -> Iterator[bytes]:
    """The TLVs inside of a constructed one."""
    rest = parser.parse(encoded)[4]
    while rest:
        octets = parser.peek(rest)
        yield rest[:octets]
        rest = rest[octets:]
