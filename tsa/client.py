"""The relying party's side of RFC 3161: ask, and believe nothing of the reply that was not checked."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from asn1crypto import cms, core, tsp
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from ca_store import der
from tsa.errors import MalformedReply, Mismatch, NotGranted, PKIFailureInfo
from tsa.settings import KNOWN_DIGESTS
from tsa.verification import SignedToken

if TYPE_CHECKING:
    from collections.abc import Sequence


_WITH_TOKEN: Final = (0, 1)
"""PKIStatus granted and grantedWithMods. What was modified shows below, since everything asked for is compared."""

_NONCE_OCTETS: Final = 8

UNREADABLE: Final = (
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What asn1crypto and cryptography raise on octets that are not what they should be."""

_GEN_TIME: Final = re.compile(r"[0-9]{14}(\.[0-9]*[1-9])?Z")
_FAIL_INFO: Final = {
    "bad_alg": PKIFailureInfo.badAlg,
    "bad_request": PKIFailureInfo.badRequest,
    "bad_data_format": PKIFailureInfo.badDataFormat,
    "time_not_available": PKIFailureInfo.timeNotAvailable,
    "unaccepted_policy": PKIFailureInfo.unacceptedPolicy,
    "unaccepted_extensions": PKIFailureInfo.unacceptedExtension,
    "add_info_not_available": PKIFailureInfo.addInfoNotAvailable,
    "system_failure": PKIFailureInfo.systemFailure,
}
"""asn1crypto's names of the bits."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: a time-stamp of this digest."""

    digest: bytes
    algorithm: str
    """hashlib name of the digest."""
    nonce: int | None
    """None sends none, and then an old reply cannot be told from a new one."""
    policy: str | None = None
    certificates: bool = True


@dataclass(frozen=True, slots=True)
class TimeStamp:
    """A verified token."""

    gen_time: float
    """POSIX seconds. The token was made within ``accuracy`` of it."""
    serial: int
    policy: str
    accuracy: float | None
    """Seconds; None when the token states none."""
    signer: str
    """Subject of the signing certificate, RFC 4514."""
    token: bytes
    """DER of the TimeStampToken."""
    path: tuple[x509.Certificate, ...]
    """The signing certificate first, the trust anchor last."""


@dataclass(frozen=True, slots=True)
class ReadReply:
    """A reply to a query, whose signature nobody has verified yet. The fields are those of a TimeStamp."""

    gen_time: float
    serial: int
    policy: str
    accuracy: float | None
    token: bytes
    signed: SignedToken


def fresh_nonce() -> int:
    """A nonce with 64 random bits, positive and always of the same length."""
    return int.from_bytes(b"\x01" + secrets.token_bytes(_NONCE_OCTETS), "big")


def encode_query(query: Query) -> bytes:
    """DER of the TimeStampReq. The imprint's algorithm has no parameters (RFC 5754 §2)."""
    return der.sequence(
        der.integer(1),
        der.sequence(der.sequence(der.oid(KNOWN_DIGESTS[query.algorithm])), der.octet_string(query.digest)),
        b"" if query.policy is None else der.oid(query.policy),
        b"" if query.nonce is None else der.integer(query.nonce),
        der.TRUE if query.certificates else b"",
    )


def verify_reply(
    reply: bytes, query: Query, anchors: Sequence[x509.Certificate], others: Sequence[x509.Certificate] = ()
) -> TimeStamp:
    """Check everything a relying party can (RFC 3161 §2.4.2): status, imprint, nonce, policy, signer, signature, and
    the path from the signer to one of ``anchors`` at the token's time. ``others`` are certificates that may be needed
    besides those in the token. Raises ReplyError.
    """
    read = read_reply(reply, query)
    try:
        path = read.signed.verify(anchors, others, int(read.gen_time))
    except UNREADABLE as error:
        raise _unreadable(error) from error
    return TimeStamp(
        gen_time=read.gen_time,
        serial=read.serial,
        policy=read.policy,
        accuracy=read.accuracy,
        signer=path[0].subject.rfc4514_string(),
        token=read.token,
        path=tuple(path),
    )


def read_reply(reply: bytes, query: Query) -> ReadReply:
    """Check everything of a reply but who signed it: status, imprint, nonce and policy. Raises ReplyError."""
    try:
        response = _TimeStampResp.load(reply, strict=True)
        has_token = not isinstance(response["time_stamp_token"], core.Void)
        _check_status(response["status"], has_token=has_token)
        token = response["time_stamp_token"].dump()
        signed = SignedToken.decode(token)
        info = tsp.TSTInfo.load(signed.content, strict=True)
        _check_info(info, query)
        return ReadReply(
            gen_time=_gen_time(info["gen_time"]),
            serial=int(info["serial_number"]),
            policy=info["policy"].dotted,
            accuracy=_accuracy(info["accuracy"]),
            token=token,
            signed=signed,
        )
    except UNREADABLE as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> MalformedReply:
    return MalformedReply(f"the reply cannot be read: {str(error).partition(chr(10))[0]}")


class _TimeStampResp(core.Sequence):  # type: ignore[misc]  # asn1crypto ships no types
    """asn1crypto's own has a token that is always there; a rejection has none."""

    _fields: ClassVar = [("status", tsp.PKIStatusInfo), ("time_stamp_token", cms.ContentInfo, {"optional": True})]


def _check_status(info: tsp.PKIStatusInfo, *, has_token: bool) -> None:
    status = int(info["status"])
    text = info["status_string"]
    words = "" if isinstance(text, core.Void) else " ".join(str(line) for line in text)
    bits = info["fail_info"]
    set_bits = () if isinstance(bits, core.Void) else tuple(bits.native)
    if status not in _WITH_TOKEN:
        raise NotGranted(status, tuple(_FAIL_INFO[name] for name in sorted(set_bits) if name in _FAIL_INFO), words)
    if not has_token:
        raise MalformedReply("the reply says granted, but has no token")


def _check_info(info: tsp.TSTInfo, query: Query) -> None:
    """Raises Mismatch when the content answers another question, MalformedReply when it is not as RFC 3161 has it."""
    imprint = info["message_imprint"]
    algorithm = imprint["hash_algorithm"]["algorithm"].dotted
    if algorithm != KNOWN_DIGESTS[query.algorithm] or imprint["hashed_message"].native != query.digest:
        raise Mismatch("the token's imprint is not the one asked for")
    nonce = info["nonce"]
    if (None if isinstance(nonce, core.Void) else int(nonce)) != query.nonce:
        raise Mismatch("the token's nonce is not the one asked for")
    if query.policy is not None and info["policy"].dotted != query.policy:
        raise Mismatch("the token's policy is not the one asked for")
    if int(info["version"]) != 1:
        raise MalformedReply("the TSTInfo is not of version 1")
    extensions = info["extensions"]
    if not isinstance(extensions, core.Void) and any(extension["critical"].native for extension in extensions):
        raise MalformedReply("the TSTInfo has a critical extension that is not known here")


def _gen_time(value: core.GeneralizedTime) -> float:
    text = bytes(value.contents).decode("ascii")
    if not _GEN_TIME.fullmatch(text):
        raise MalformedReply(f"genTime {text!r} is not in the form of RFC 3161 §2.4.2")
    seconds = dt.datetime.strptime(text[:14] + "Z", "%Y%m%d%H%M%S%z").timestamp()
    return seconds + float("0" + text[14:-1])


def _accuracy(value: tsp.Accuracy) -> float | None:
    if isinstance(value, core.Void):
        return None
    units = (("seconds", 1.0), ("millis", 1e-3), ("micros", 1e-6))
    return sum(int(value[name]) * unit for name, unit in units if not isinstance(value[name], core.Void))
