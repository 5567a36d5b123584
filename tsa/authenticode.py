"""The time-stamp protocol of Authenticode from before RFC 3161 (``signtool /t``, ``osslsigncode -t``).

A request is base64 of ``SEQUENCE { OID 1.3.6.1.4.1.311.3.2.1, ContentInfo { id-data, [0] OCTET STRING } }``, whose
OCTET STRING is the signature to be stamped. The reply is base64 of a PKCS #7 SignedData over it, with a signingTime;
the client moves its SignerInfo into the signature as a countersignature (PKCS #9 §6.6). The client chooses the content,
so nothing is ever signed here but signed attributes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from asn1crypto import cms, core

from ca_store import der
from tsa.token import ID_CONTENT_TYPE, ID_MESSAGE_DIGEST, ID_SIGNED_DATA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ca_store.signing import SignatureAlgorithm
    from tsa.token import SignerIdentity

ID_DATA: Final = "1.2.840.113549.1.7.1"
ID_SIGNING_TIME: Final = "1.2.840.113549.1.9.5"
ID_TIME_STAMP_REQUEST: Final = "1.3.6.1.4.1.311.3.2.1"
_TYPES: Final = (ID_TIME_STAMP_REQUEST, ID_DATA)

MAX_BODY: Final = 8192
"""Octets: a signature by RSA-16384 makes less than 3,000."""
_FIRST: Final = b"M"
"""Base64 of every SEQUENCE of 64 octets or more begins with it, and the DER of no request does."""
_BLANK: Final = b" \t\r\n\0"
"""Around and between the base64: osslsigncode breaks it into lines, signtool may end it with a NUL."""
_LINE: Final = 64
_DATA: Final = der.oid(ID_DATA)
_TWO_DIGIT_YEARS: Final = 2_524_608_000
"""2050-01-01: from then on signingTime is a GeneralizedTime (RFC 5652 §11.3)."""


class NotAuthenticode(ValueError):  # noqa: N818 - named as its meaning
    """Not one request of this protocol; the sentence says what is wrong with it."""


class Countersignature(NamedTuple):
    """What is to be signed."""

    content: bytes
    attributes: bytes
    """The signed attributes as a SET OF."""


def looks_like_request(body: bytes) -> bool:
    """Whether a body is base64 text rather than DER."""
    return body.lstrip(_BLANK)[:1] == _FIRST


class _Request(core.Sequence):  # type: ignore[misc]  # asn1crypto ships no types
    _fields: ClassVar = [
        ("type", core.ObjectIdentifier),
        ("content", cms.ContentInfo),
        ("attributes", core.Any, {"optional": True}),
    ]


def decode_request(body: bytes) -> bytes:
    """The signature that is to be stamped. Raises NotAuthenticode."""
    if len(body) > MAX_BODY:
        raise NotAuthenticode(f"the body has more than {MAX_BODY} octets")
    try:
        encoded = binascii.a2b_base64(body.translate(None, _BLANK), strict_mode=True)
    except binascii.Error as error:
        raise NotAuthenticode(f"the body is not base64: {error}") from None
    try:
        request = _Request.load(encoded, strict=True)
        types = request["type"].dotted, request["content"]["content_type"].dotted
        # Content of another type would be read as that, and a SignedData goes deep.
        signature: bytes | None = request["content"]["content"].native if types == _TYPES else None
    except Exception:  # noqa: BLE001 - hostile octets raise many kinds in asn1crypto's readers, RecursionError too
        raise NotAuthenticode("the body is not the encoding of a time-stamp request") from None
    if types != _TYPES:
        raise NotAuthenticode("the body is not a time-stamp request of Authenticode")
    if not signature:
        raise NotAuthenticode("the request does not hold a signature")
    return signature


class CountersignatureTemplate:
    """The constant parts of one unit's countersignatures."""

    def __init__(self, signer: SignerIdentity, others: Iterable[bytes], algorithm: SignatureAlgorithm) -> None:
        """``others`` are the DER certificates that go along with the signer's own, always: the protocol has no wish
        for them.
        """
        digest_algorithm = der.sequence(der.oid(algorithm.digest_oid))
        self._digest = algorithm.digest
        self._head = der.integer(1) + der.set_of([digest_algorithm])
        self._certificates = der.context(0, *sorted({signer.certificate, *others}))
        self._signer_head = der.integer(1) + der.sequence(signer.issuer, signer.serial) + digest_algorithm
        self._algorithm = algorithm.identifier

    def prepare(self, content: bytes, seconds: int) -> Countersignature:
        """``seconds`` is signingTime (POSIX)."""
        digest = hashlib.new(self._digest, content).digest()
        attributes = der.set_of(
            [
                _attribute(ID_CONTENT_TYPE, _DATA),
                _attribute(ID_SIGNING_TIME, _signing_time(seconds)),
                _attribute(ID_MESSAGE_DIGEST, der.octet_string(digest)),
            ]
        )
        return Countersignature(content, attributes)

    def reply(self, prepared: Countersignature, signature: bytes) -> bytes:
        """The body of the HTTP response: base64 in lines, which some clients need."""
        signer_info = der.sequence(
            self._signer_head,
            b"\xa0" + prepared.attributes[1:],
            self._algorithm,
            der.octet_string(signature),
        )
        content = der.sequence(_DATA, der.context(0, der.octet_string(prepared.content)))
        signed_data = der.sequence(self._head, content, self._certificates, der.tlv(der.SET, signer_info))
        encoded = base64.b64encode(der.sequence(der.oid(ID_SIGNED_DATA), der.context(0, signed_data)))
        return b"".join(encoded[at : at + _LINE] + b"\n" for at in range(0, len(encoded), _LINE))


def _attribute(oid: str, value: bytes) -> bytes:
    return der.sequence(der.oid(oid), der.tlv(der.SET, value))


def _signing_time(seconds: int) -> bytes:
    if seconds >= _TWO_DIGIT_YEARS:
        return der.generalized_time(seconds)
    return der.tlv(der.UTC_TIME, time.strftime("%y%m%d%H%M%SZ", time.gmtime(seconds)).encode())
