"""OCSP from the other side: what a relying party asks, and what it must check before it believes the answer.

Nothing here is shared with the responder but the words: the answer is read by ``cryptography``'s own OCSP decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca_store.types import HashAlgorithm, format_serial

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

NONCE_OCTETS: Final = 32
"""RFC 9654 §2.1: a client that sends a nonce SHOULD use at least this many octets."""

_HASHES: Final[Mapping[HashAlgorithm, type[hashes.SHA1 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512]]] = {
    HashAlgorithm.SHA1: hashes.SHA1,
    HashAlgorithm.SHA256: hashes.SHA256,
    HashAlgorithm.SHA384: hashes.SHA384,
    HashAlgorithm.SHA512: hashes.SHA512,
}


class OCSPClientError(Exception):
    """An answer that says nothing about the certificate; the text is one sentence for people."""


class Refused(OCSPClientError):  # noqa: N818 - named as its meaning, here and below
    """The responder sent an unsigned status; ``status`` is its name in RFC 6960 §4.2.1."""

    def __init__(self, status: str) -> None:
        super().__init__(f"the responder refused to answer: {status}")
        self.status = status


class UnreadableAnswer(OCSPClientError):  # noqa: N818
    """What came back is not an OCSPResponse."""


class OtherCertificate(OCSPClientError):  # noqa: N818
    """The answer is about another certificate than was asked for."""


class NonceMismatch(OCSPClientError):  # noqa: N818
    """The answer carries another nonce than the request: it was made for someone else."""


class UntrustedResponder(OCSPClientError):  # noqa: N818
    """Who signed the answer may not speak for the issuer (RFC 6960 §4.2.2.2)."""


class BadSignature(OCSPClientError):  # noqa: N818
    """The signature is not that of the responder."""


class NotCurrent(OCSPClientError):  # noqa: N818
    """The answer is from the future, or a newer one must exist."""


@dataclass(frozen=True, slots=True)
class Question:
    """One certificate, its issuer, and the request that asks about it."""

    certificate: x509.Certificate
    issuer: x509.Certificate
    algorithm: HashAlgorithm
    nonce: bytes | None
    der: bytes
    """The OCSPRequest."""


@dataclass(frozen=True, slots=True)
class Verified:
    """An answer that a relying party may rely on. Times are POSIX seconds."""

    status: str
    """``good``, ``revoked`` or ``unknown``."""
    this_update: int
    next_update: int | None
    produced_at: int
    revoked_at: int | None
    reason: str | None
    """Under RFC 5280's name."""
    responder: str
    """RFC 4514 subject of who signed."""
    warnings: tuple[str, ...]
    """What is allowed but worth knowing, a sentence each."""


def build_request(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    *,
    algorithm: HashAlgorithm = HashAlgorithm.SHA1,
    nonce: bytes | None = None,
) -> Question:
    """Ask about one certificate. SHA-1 in the CertID is what responders everywhere answer; it protects nothing there.

    ``nonce``: ``NONCE_OCTETS`` random octets, or None to accept an answer that was made before.
    """
    builder = x509_ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, _HASHES[algorithm]())
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return Question(certificate, issuer, algorithm, nonce, builder.build().public_bytes(Encoding.DER))


def verify_response(response: bytes, question: Question, at: int, *, skew: int = 300) -> Verified:
    """Check an answer as RFC 6960 §3.2 wants it checked, at the time ``at``; clocks may differ by ``skew`` seconds.

    Raises the subclass of OCSPClientError that names what is wrong.
    """
    answer = _decode(response)
    try:
        return _verified(answer, question, at, skew)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        # cryptography reads the fields when they are asked for.
        raise UnreadableAnswer(f"the answer cannot be read: {error}") from error


def _verified(answer: x509_ocsp.OCSPResponse, question: Question, at: int, skew: int) -> Verified:
    single = _matching(answer, question)
    _check_critical(answer)
    signer = _signer(answer, question.issuer, at)
    _check_signature(answer, signer)
    warnings = (
        *_nonce_warnings(answer, question.nonce),
        *_signer_warnings(signer, question.issuer),
        *_time_warnings(answer, single, at, skew),
    )
    reason = single.revocation_reason
    return Verified(
        status=single.certificate_status.name.lower(),
        this_update=_posix(single.this_update_utc),
        next_update=None if single.next_update_utc is None else _posix(single.next_update_utc),
        produced_at=_posix(answer.produced_at_utc),
        revoked_at=None if single.revocation_time_utc is None else _posix(single.revocation_time_utc),
        reason=None if reason is None else reason.value,
        responder=signer.subject.rfc4514_string(),
        warnings=warnings,
    )


def _decode(response: bytes) -> x509_ocsp.OCSPResponse:
    try:
        answer = x509_ocsp.load_der_ocsp_response(response)
    except ValueError as error:
        raise UnreadableAnswer(f"the answer is not an OCSPResponse: {error}") from error
    if answer.response_status is not x509_ocsp.OCSPResponseStatus.SUCCESSFUL:
        first, *rest = answer.response_status.name.lower().split("_")
        raise Refused(first + "".join(word.capitalize() for word in rest))
    return answer


def _matching(answer: x509_ocsp.OCSPResponse, question: Question) -> x509_ocsp.OCSPSingleResponse:
    """The SingleResponse about the CertID that was sent (RFC 6960 §3.2, 1)."""
    asked = x509_ocsp.load_der_ocsp_request(question.der)
    for single in answer.responses:
        if (
            single.serial_number == asked.serial_number
            and single.hash_algorithm.name == asked.hash_algorithm.name
            and single.issuer_name_hash == asked.issuer_name_hash
            and single.issuer_key_hash == asked.issuer_key_hash
        ):
            return single
    raise OtherCertificate(f"the answer is not about serial {format_serial(asked.serial_number)} of this issuer")


def _check_critical(answer: x509_ocsp.OCSPResponse) -> None:
    extensions = [*answer.extensions]
    if len([*answer.responses]) == 1:
        extensions += answer.single_extensions
    for extension in extensions:
        if extension.critical and extension.oid != x509.OCSPNonce.oid:
            raise UnreadableAnswer(f"the answer has critical extension {extension.oid.dotted_string}, not known here")


def _signer(answer: x509_ocsp.OCSPResponse, issuer: x509.Certificate, at: int) -> x509.Certificate:
    """The certificate that the ResponderID names: the issuer's own, or a delegate's that came along."""
    for certificate in (issuer, *answer.certificates):
        if answer.responder_key_hash is not None:
            named = _key_hash(certificate) == answer.responder_key_hash
        else:
            named = certificate.subject == answer.responder_name
        if named:
            if certificate.public_key() != issuer.public_key():
                _check_delegate(certificate, issuer)
            _check_validity(certificate, at)
            return certificate
    raise UntrustedResponder("the answer does not carry the certificate of who signed it")


def _check_delegate(delegate: x509.Certificate, issuer: x509.Certificate) -> None:
    name = delegate.subject.rfc4514_string()
    try:
        delegate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError) as error:
        raise UntrustedResponder(f"the responder {name} was not certified by the issuer itself") from error
    try:
        usages = delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as error:
        raise UntrustedResponder(f"the responder {name} has no extendedKeyUsage") from error
    if ExtendedKeyUsageOID.OCSP_SIGNING not in usages:
        raise UntrustedResponder(f"the responder {name} may not sign OCSP answers: extendedKeyUsage")
    for extension in delegate.extensions:
        if isinstance(extension.value, x509.KeyUsage) and not extension.value.digital_signature:
            raise UntrustedResponder(f"the responder {name} may not sign: keyUsage")


def _check_validity(certificate: x509.Certificate, at: int) -> None:
    if not _posix(certificate.not_valid_before_utc) <= at <= _posix(certificate.not_valid_after_utc):
        raise UntrustedResponder(f"the certificate of {certificate.subject.rfc4514_string()} is not valid at this time")


def _check_signature(answer: x509_ocsp.OCSPResponse, signer: x509.Certificate) -> None:
    key, digest = signer.public_key(), answer.signature_hash_algorithm
    if not isinstance(digest, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        raise BadSignature("the signature does not use SHA-256, SHA-384 or SHA-512")
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(answer.signature, answer.tbs_response_bytes, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(digest))
        else:
            raise BadSignature("the responder's key is neither RSA nor on an elliptic curve")
    except InvalidSignature as error:
        raise BadSignature("the signature was not made by the responder's key, or the answer was altered") from error


def _nonce_warnings(answer: x509_ocsp.OCSPResponse, nonce: bytes | None) -> Iterator[str]:
    """RFC 9654 §2.1: a nonce that comes back must be the one that was sent; that none comes back is allowed."""
    returned = [each.value.nonce for each in answer.extensions if isinstance(each.value, x509.OCSPNonce)]
    if returned and nonce is not None and returned != [nonce]:
        raise NonceMismatch("the answer carries another nonce than the request")
    if nonce is not None and not returned:
        yield "the responder ignored the nonce: the answer may have been made before the question"
    if nonce is None and returned:
        yield "the answer carries a nonce that was not sent"


def _signer_warnings(signer: x509.Certificate, issuer: x509.Certificate) -> Iterator[str]:
    delegated = signer.public_key() != issuer.public_key()
    if delegated and not any(isinstance(each.value, x509.OCSPNoCheck) for each in signer.extensions):
        yield "the responder's certificate has no id-pkix-ocsp-nocheck, and its own revocation was not checked"


def _time_warnings(
    answer: x509_ocsp.OCSPResponse, single: x509_ocsp.OCSPSingleResponse, at: int, skew: int
) -> Iterator[str]:
    """RFC 6960 §3.2, 5 and 6."""
    if max(_posix(single.this_update_utc), _posix(answer.produced_at_utc)) > at + skew:
        raise NotCurrent(f"the answer is from the future: thisUpdate is {single.this_update_utc:%Y-%m-%d %H:%M:%S} UTC")
    if single.next_update_utc is None:
        yield "the answer has no nextUpdate: how long it holds is anyone's guess"
    elif _posix(single.next_update_utc) <= at - skew:
        raise NotCurrent(f"the answer has expired: nextUpdate was {single.next_update_utc:%Y-%m-%d %H:%M:%S} UTC")


def _key_hash(certificate: x509.Certificate) -> bytes:
    """SHA-1 over the contents of subjectPublicKey, which is what byKey means (RFC 6960 §4.2.1)."""
    return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def _posix(moment: datetime) -> int:
    return int(moment.timestamp())
