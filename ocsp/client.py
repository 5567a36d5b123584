"""OCSP from the other side: what a relying party asks, and what it must check before it believes the answer.

Nothing here is shared with the responder but the words: the answer is read by ``cryptography``'s own OCSP decoder.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from asn1crypto import keys as asn1_keys
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp as x509_ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca_store import der
from ca_store.types import HashAlgorithm, format_serial

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NONCE_OCTETS: Final = 32
"""RFC 9654 §2.1: a client that sends a nonce SHOULD use at least this many octets."""

_HASHES: Final[Mapping[HashAlgorithm, type[hashes.SHA1 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512]]] = {
    HashAlgorithm.SHA1: hashes.SHA1,
    HashAlgorithm.SHA256: hashes.SHA256,
    HashAlgorithm.SHA384: hashes.SHA384,
    HashAlgorithm.SHA512: hashes.SHA512,
}

_SPKI: Final = PublicFormat.SubjectPublicKeyInfo
_NONCE_OID: Final = der.oid(x509.OCSPNonce.oid.dotted_string)
_STATUSES: Final = {each: each.name.lower() for each in x509_ocsp.OCSPCertStatus}


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


class Question(NamedTuple):
    """One certificate by its CertID, its issuer, and the request that asks about it."""

    issuer: x509.Certificate
    algorithm: HashAlgorithm
    name_hash: bytes
    key_hash: bytes
    serial: int
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
    built = builder.build()
    names = (built.issuer_name_hash, built.issuer_key_hash, built.serial_number)
    return Question(issuer, algorithm, *names, nonce, built.public_bytes(Encoding.DER))


class QuestionTemplate:
    """Questions about the certificates of one issuer, by their serials: for many of them in a short time."""

    def __init__(self, issuer: x509.Certificate, algorithm: HashAlgorithm = HashAlgorithm.SHA1) -> None:
        digest = getattr(hashlib, algorithm.name.lower())
        subject = issuer.subject.public_bytes()
        key = asn1_keys.PublicKeyInfo.load(issuer.public_key().public_bytes(Encoding.DER, _SPKI))["public_key"]
        self._issuer, self._algorithm = issuer, algorithm
        self._name_hash, self._key_hash = digest(subject).digest(), digest(bytes(key)).digest()
        identifier = der.sequence(der.oid(algorithm.value), der.NULL)
        self._head = identifier + der.octet_string(self._name_hash) + der.octet_string(self._key_hash)

    def question(self, serial: int, nonce: bytes | None = None) -> Question:
        """What ``build_request`` makes of the issuer's certificate with this serial."""
        requests = der.sequence(der.sequence(der.sequence(self._head, der.integer(serial))))
        if nonce is not None:
            extension = der.sequence(_NONCE_OID, der.octet_string(der.octet_string(nonce)))
            requests += der.context(2, der.sequence(extension))
        encoded = der.sequence(der.sequence(requests))
        return Question(self._issuer, self._algorithm, self._name_hash, self._key_hash, serial, nonce, encoded)


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


def check_form(response: bytes, question: Question, at: int, *, skew: int = 300) -> str:
    """``good``, ``revoked`` or ``unknown``: what an answer says that is about this certificate, has a nonce exactly
    when one was sent, the same one, and is current. Whose signature it carries is not looked at, which takes a tenth of
    the time that ``verify_response`` does. Raises as that one does.
    """
    answer = _decode(response)
    try:
        single = _matching(answer, question)
        _check_critical(answer)
        returned = [each.value.nonce for each in answer.extensions if isinstance(each.value, x509.OCSPNonce)]
        if returned != ([] if question.nonce is None else [question.nonce]):
            raise NonceMismatch(
                "the answer carries another nonce than the request" if returned else "the answer carries no nonce"
            )
        earliest, latest = _bounds(at, skew)
        until = single.next_update_utc
        if (
            single.this_update_utc > latest
            or answer.produced_at_utc > latest
            or (until is not None and until <= earliest)
        ):
            tuple(_time_warnings(answer, single, at, skew))  # has the sentence
        return _STATUSES[single.certificate_status]
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise UnreadableAnswer(f"the answer cannot be read: {error}") from error


@functools.lru_cache(maxsize=8)
def _bounds(at: int, skew: int) -> tuple[datetime, datetime]:
    return datetime.fromtimestamp(at - skew, UTC), datetime.fromtimestamp(at + skew, UTC)


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
    algorithm = question.algorithm.name.lower()
    for single in answer.responses:
        if (
            single.serial_number == question.serial
            and single.hash_algorithm.name == algorithm
            and single.issuer_name_hash == question.name_hash
            and single.issuer_key_hash == question.key_hash
        ):
            return single
    raise OtherCertificate(f"the answer is not about serial {format_serial(question.serial)} of this issuer")


def _check_critical(answer: x509_ocsp.OCSPResponse) -> None:
    single = sum(1 for _ in answer.responses) == 1
    for extension in (*answer.extensions, *(answer.single_extensions if single else ())):
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


@functools.lru_cache(maxsize=64)
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
