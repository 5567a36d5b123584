"""The other side of Authenticode's older time-stamp protocol: ask, and believe nothing that was not checked."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asn1crypto import cms, core
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from ca_store import der
from ca_store.path import PathError, check_path
from tsa.authenticode import ID_DATA, ID_TIME_STAMP_REQUEST
from tsa.client import UNREADABLE
from tsa.errors import BadSignature, MalformedReply, Mismatch, UnitRefused, WrongSigner
from tsa.token import ID_SIGNED_DATA
from tsa.unit import check_purpose

if TYPE_CHECKING:
    from collections.abc import Sequence

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - what servers of old still sign with; the caller learns of it
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class Countersigned:
    """A reply whose content and time were checked, and whose signature nobody has verified yet."""

    signing_time: int
    """POSIX seconds."""
    digest: str
    """hashlib name."""
    issuer: bytes
    serial: int
    certificates: tuple[bytes, ...]
    attributes: bytes
    """The signed attributes as a SET OF."""
    signature: bytes


def encode_request(signature: bytes) -> bytes:
    """The body that asks for a countersignature of these octets, in the lines that osslsigncode makes."""
    content = der.sequence(der.oid(ID_DATA), der.context(0, der.octet_string(signature)))
    return base64.encodebytes(der.sequence(der.oid(ID_TIME_STAMP_REQUEST), content))


def read_reply(body: bytes, signature: bytes, at: float, *, skew: float = 300) -> Countersigned:
    """Check that a reply is a countersignature of these octets, made at ``at`` within ``skew`` seconds. Raises
    ReplyError.
    """
    try:
        reply = _read(binascii.a2b_base64(body), signature)
    except UNREADABLE as error:
        raise MalformedReply(f"the reply cannot be read: {str(error).partition(chr(10))[0]}") from error
    if abs(reply.signing_time - at) > skew + 1:  # it has no fraction
        raise Mismatch(f"the signing time is {reply.signing_time - at:+.1f} s from now")
    return reply


def _read(encoded: bytes, signature: bytes) -> Countersigned:
    content_info = cms.ContentInfo.load(encoded, strict=True)
    if content_info["content_type"].dotted != ID_SIGNED_DATA:
        raise MalformedReply("the reply is not SignedData")
    signed_data = content_info["content"]
    encapsulated = signed_data["encap_content_info"]
    if encapsulated["content_type"].dotted != ID_DATA or encapsulated["content"].native != signature:
        raise Mismatch("the content is not the signature that was sent")
    (info,) = signed_data["signer_infos"]
    attributes = {each["type"].native: each["values"] for each in info["signed_attrs"]}
    digest = info["digest_algorithm"]["algorithm"].native
    (message_digest,) = attributes["message_digest"]
    (content_type,) = attributes["content_type"]
    (signing_time,) = attributes["signing_time"]
    if content_type.dotted != ID_DATA or digest not in _HASHES:
        raise MalformedReply("the signed attributes are not those of a countersignature")
    if message_digest.native != hashlib.new(digest, signature).digest():
        raise BadSignature("the messageDigest attribute is not the digest of the signature that was sent")
    certificates = signed_data["certificates"]
    sid = info["sid"].chosen
    return Countersigned(
        signing_time=int(signing_time.native.timestamp()),
        digest=digest,
        issuer=sid["issuer"].dump(),
        serial=int(sid["serial_number"]),
        certificates=() if isinstance(certificates, core.Void) else tuple(each.chosen.dump() for each in certificates),
        attributes=der.tlv(der.SET, bytes(info["signed_attrs"].contents)),
        signature=info["signature"].native,
    )


def verify_reply(
    reply: Countersigned, anchors: Sequence[x509.Certificate], others: Sequence[x509.Certificate] = ()
) -> list[x509.Certificate]:
    """The path from who signed to one of ``anchors``, good at the signing time. Raises ReplyError."""
    try:
        pool = [*map(x509.load_der_x509_certificate, reply.certificates), *others]
        named = (reply.issuer, reply.serial)
        signer = next((each for each in pool if (each.issuer.public_bytes(), each.serial_number) == named), None)
        if signer is None:
            raise WrongSigner("the signer's certificate is not at hand")
        _check_signature(reply, signer)
        check_purpose(signer, f"the signer's certificate {signer.subject.rfc4514_string()}")
        return check_path(signer, [each for each in pool if each != signer], anchors, reply.signing_time)
    except (UnitRefused, PathError) as error:
        raise WrongSigner(str(error)) from error
    except UNREADABLE as error:
        raise MalformedReply(f"the reply cannot be read: {str(error).partition(chr(10))[0]}") from error


def _check_signature(reply: Countersigned, signer: x509.Certificate) -> None:
    key, digest = signer.public_key(), _HASHES[reply.digest]
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(reply.signature, reply.attributes, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(reply.signature, reply.attributes, ec.ECDSA(digest))
        else:
            raise BadSignature("the signer's key is neither RSA nor on an elliptic curve")
    except InvalidSignature as error:
        raise BadSignature("the signature over the signed attributes is wrong") from error
