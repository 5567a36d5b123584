"""A quick look at a reply: that it answers this query, at this time. Whose signature it carries is not looked at, which
takes a tenth of the time that ``tsa.client.verify_reply`` does.

Read by the declarative decoder of ``cryptography``, which takes nothing but DER; what it refuses, the client judges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from cryptography import x509  # noqa: TC002 - the decoder reads the annotations at run time
from cryptography.hazmat import asn1

from tsa.client import read_reply
from tsa.codec import decode_algorithm
from tsa.errors import BadDataFormat, MalformedReply, Mismatch
from tsa.settings import KNOWN_DIGESTS
from tsa.token import ID_CT_TST_INFO, ID_SIGNED_DATA

if TYPE_CHECKING:
    from tsa.client import Query

_WITH_TOKEN: Final = (0, 1)
_MILLI: Final = 1e-3
_MICRO: Final = 1e-6


@asn1.sequence
class _StatusInfo:
    status: int
    status_string: list[str] | None
    fail_info: asn1.BitString | None


@asn1.sequence
class _ContentInfo:
    content_type: x509.ObjectIdentifier
    content: Annotated[asn1.TLV, asn1.Explicit(0)]


@asn1.sequence
class _Response:
    status: _StatusInfo
    token: _ContentInfo | None


@asn1.sequence
class _EncapsulatedContent:
    content_type: x509.ObjectIdentifier
    content: Annotated[bytes, asn1.Explicit(0)]


@asn1.sequence
class _SignedData:
    version: int
    digest_algorithms: asn1.TLV
    encapsulated: _EncapsulatedContent
    certificates: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)]
    crls: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(1)]
    signer_infos: asn1.SetOf[asn1.TLV]


@asn1.sequence
class _MessageImprint:
    hash_algorithm: asn1.TLV
    hashed_message: bytes


@asn1.sequence
class _Accuracy:
    seconds: int | None
    millis: Annotated[int | None, asn1.Implicit(0)]
    micros: Annotated[int | None, asn1.Implicit(1)]


@asn1.sequence
class _TSTInfo:
    version: int
    policy: x509.ObjectIdentifier
    imprint: _MessageImprint
    serial: int
    gen_time: asn1.GeneralizedTime
    accuracy: _Accuracy | None
    ordering: Annotated[bool, asn1.Default(False)]
    nonce: int | None
    tsa: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)]
    extensions: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]


def check_form(reply: bytes, query: Query, at: float, *, skew: float = 300) -> float:
    """The genTime (POSIX seconds) of a granted reply with the imprint, nonce and policy of the query, with certificates
    exactly when they were asked for, and made at ``at`` within its accuracy and ``skew`` seconds. Raises ReplyError.
    """
    try:
        gen_time, accuracy, has_certificates = _read(reply, query)
    except (ValueError, BadDataFormat):
        read = read_reply(reply, query)
        gen_time, accuracy, has_certificates = read.gen_time, read.accuracy or 0.0, bool(read.signed.certificates)
    if has_certificates != query.certificates:
        raise Mismatch(f"the token has {'' if has_certificates else 'no '}certificates, unlike what was asked for")
    if abs(gen_time - at) > accuracy + skew:
        raise Mismatch(f"the token's time is {gen_time - at:+.1f} s from now")
    return gen_time


def _read(reply: bytes, query: Query) -> tuple[float, float, bool]:
    """(genTime, accuracy, whether there are certificates). Raises ValueError for what the client is to judge."""
    response = asn1.decode_der(_Response, reply)
    if response.status.status not in _WITH_TOKEN or response.token is None:
        raise ValueError("no token")
    if response.token.content_type.dotted_string != ID_SIGNED_DATA:
        raise MalformedReply("the token is not SignedData")
    signed = response.token.content.parse(_SignedData)
    if signed.encapsulated.content_type.dotted_string != ID_CT_TST_INFO:
        raise MalformedReply("the token does not contain a TSTInfo")
    info = asn1.decode_der(_TSTInfo, signed.encapsulated.content)
    imprint = info.imprint
    algorithm = decode_algorithm(bytes(imprint.hash_algorithm.data))
    if algorithm != KNOWN_DIGESTS[query.algorithm] or imprint.hashed_message != query.digest:
        raise Mismatch("the token's imprint is not the one asked for")
    if info.nonce != query.nonce:
        raise Mismatch("the token's nonce is not the one asked for")
    if query.policy is not None and info.policy.dotted_string != query.policy:
        raise Mismatch("the token's policy is not the one asked for")
    accuracy = info.accuracy
    seconds = 0.0
    if accuracy is not None:
        seconds = (accuracy.seconds or 0) + (accuracy.millis or 0) * _MILLI + (accuracy.micros or 0) * _MICRO
    return info.gen_time.as_datetime().timestamp(), seconds, bool(signed.certificates)
