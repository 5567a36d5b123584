"""One answer held against the row that it was made from, by a library that did not make it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp as x509_ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca_store.types import CertificateState, Reason, format_serial
from ocsp.settings import MAX_VALIDITY, MIN_VALIDITY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from ca_store.types import Status
    from ocsp.delegate import Delegate
    from ocsp.settings import Settings

_DIGESTS: Final = hashes.SHA256 | hashes.SHA384 | hashes.SHA512


class Fault(NamedTuple):
    """What is wrong with an answer."""

    misleads: bool
    """Clients cannot use it, or are told something that is not so."""
    rule: str
    """The field at fault."""
    sentence: str


def judge(
    answer: bytes, asked: x509_ocsp.OCSPRequest, delegate: Delegate, status: Status | None, settings: Settings
) -> Iterator[Fault]:
    """Everything wrong with ``delegate``'s answer to ``asked``; ``status`` is the row of the serial, None when there is
    none. An answer that was not read to its end ends the judgement.
    """
    try:
        response = x509_ocsp.load_der_ocsp_response(answer)
        yield from _faults(response, asked, delegate, status, settings)
    except (ValueError, TypeError, x509.DuplicateExtension) as error:
        yield Fault(True, "OCSPResponse", f"an independent library cannot read it: {error}")


def _faults(
    response: x509_ocsp.OCSPResponse,
    asked: x509_ocsp.OCSPRequest,
    delegate: Delegate,
    status: Status | None,
    settings: Settings,
) -> Iterator[Fault]:
    successful = response.response_status is x509_ocsp.OCSPResponseStatus.SUCCESSFUL
    assigned = status is not None and status.state is not CertificateState.RESERVED
    expected = assigned or settings.signed_unknown
    if not successful:
        unauthorized = response.response_status is x509_ocsp.OCSPResponseStatus.UNAUTHORIZED
        if expected or not unauthorized:
            yield Fault(True, "responseStatus", f"it is {response.response_status.name}")
        return
    if not expected:
        yield Fault(True, "responseStatus", "an unassigned serial was answered instead of refused (BR §4.9.10)")
    singles = list(response.responses)
    if len(singles) != 1:
        yield Fault(True, "responses", f"there are {len(singles)} SingleResponses for one CertID (RFC 6960 §4.2.2.3)")
        return
    yield from _signature_faults(response, delegate)
    yield from _cert_id_faults(singles[0], asked)
    yield from _status_faults(singles[0], status if assigned else None)
    yield from _time_faults(response, singles[0], delegate, status if assigned else None)


def _signature_faults(response: x509_ocsp.OCSPResponse, delegate: Delegate) -> Iterator[Fault]:
    certificates = response.certificates
    if len(certificates) != 1 or certificates[0].serial_number != delegate.serial:
        yield Fault(True, "certs", "it does not carry the delegate's certificate alone (RFC 9919 §3.2.2)")
        return
    [certificate] = certificates
    try:
        certificate.verify_directly_issued_by(x509.load_der_x509_certificate(delegate.issuer.certificate))
    except (InvalidSignature, ValueError, TypeError):
        yield Fault(True, "certs", "the delegate's certificate was not issued by the CA itself (RFC 6960 §4.2.2.2)")
    usages = [each.value for each in certificate.extensions if isinstance(each.value, x509.ExtendedKeyUsage)]
    if not any(ExtendedKeyUsageOID.OCSP_SIGNING in usage for usage in usages):
        yield Fault(True, "certs", "the delegate's certificate lacks id-kp-OCSPSigning (RFC 6960 §4.2.2.2)")
    key = certificate.public_key()
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != delegate.signer.public_key:
        yield Fault(True, "certs", "the certificate is not that of the delegate's key")
    if response.responder_key_hash != x509.SubjectKeyIdentifier.from_public_key(key).digest:
        yield Fault(True, "responderID", "it is not the SHA-1 of the delegate's key (RFC 6960 §4.2.1)")
    digest = response.signature_hash_algorithm
    if not isinstance(digest, _DIGESTS):
        yield Fault(False, "signatureAlgorithm", "it does not use SHA-256, SHA-384 or SHA-512 (BR §7.1.3.2.1)")
    try:
        if isinstance(key, rsa.RSAPublicKey) and digest is not None:
            key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and digest is not None:
            key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(digest))
        else:
            yield Fault(True, "signatureAlgorithm", "the delegate's key is neither RSA nor on an elliptic curve")
    except InvalidSignature:
        yield Fault(True, "signature", "it was not made by the delegate's key")


def _cert_id_faults(single: x509_ocsp.OCSPSingleResponse, asked: x509_ocsp.OCSPRequest) -> Iterator[Fault]:
    for field in ("serial_number", "issuer_name_hash", "issuer_key_hash"):
        if getattr(single, field) != getattr(asked, field):
            yield Fault(True, "certID", f"its {field} is not the one that was asked about")
    if single.hash_algorithm.name != asked.hash_algorithm.name:
        yield Fault(True, "certID", "its hash algorithm is not the one that was asked with")


def _status_faults(single: x509_ocsp.OCSPSingleResponse, status: Status | None) -> Iterator[Fault]:
    """``status`` is None for a serial that is not assigned."""
    said = single.certificate_status.name.lower()
    is_so = "unknown" if status is None else status.state.name.lower()
    if said != is_so:
        yield Fault(True, "certStatus", f"it says {said} and the database {is_so}")
        return
    if status is None or status.state is not CertificateState.REVOKED:
        return
    if single.revocation_time_utc is None or status.revoked_at != _posix(single.revocation_time_utc):
        yield Fault(
            True, "revocationTime", f"it says {single.revocation_time_utc} and the database {status.revoked_at}"
        )
    reason = single.revocation_reason
    wanted = None if status.reason in (None, Reason.unspecified) else status.reason
    if (None if reason is None else reason.value) != (None if wanted is None else wanted.name):
        yield Fault(True, "revocationReason", f"it says {reason} and the database {wanted}")


def _time_faults(
    response: x509_ocsp.OCSPResponse,
    single: x509_ocsp.OCSPSingleResponse,
    delegate: Delegate,
    status: Status | None,
) -> Iterator[Fault]:
    """What no setting may move: the algebra of ``ocsp.window``, and the bounds of BR §4.9.9 whatever is configured."""
    this_update, produced_at = _posix(single.this_update_utc), _posix(response.produced_at_utc)
    if single.next_update_utc is None:
        yield Fault(False, "nextUpdate", "it is missing (RFC 9919 §3.2.4)")
        return
    next_update = _posix(single.next_update_utc)
    if not MIN_VALIDITY <= next_update - this_update <= MAX_VALIDITY:
        yield Fault(False, "nextUpdate", f"the answer holds for {next_update - this_update} s: 8 h to 10 d (BR §4.9.9)")
    if next_update > delegate.not_after:
        yield Fault(False, "nextUpdate", "it lies beyond the end of the delegate's certificate or of its CA's")
    if produced_at < delegate.not_before:
        yield Fault(False, "producedAt", "it lies before the delegate's certificate is valid")
    if this_update > produced_at:
        yield Fault(False, "thisUpdate", "it lies behind producedAt")
    if status is not None and status.changed_at > this_update:
        yield Fault(
            False, "thisUpdate", f"it lies before the last change of serial {format_serial(single.serial_number)}"
        )


def _posix(moment: datetime) -> int:
    return int(moment.timestamp())
