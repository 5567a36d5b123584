"""What the authority refuses, each under its PKIFailureInfo bit (RFC 3161 §2.4.2), and what it cannot answer."""

from __future__ import annotations

import enum
from typing import ClassVar

from ca_store import der


class PKIFailureInfo(enum.IntEnum):
    """The bits of failInfo, under RFC 3161's names. No other bit exists."""

    badAlg = 0  # noqa: N815 - RFC 3161's own spelling, which metrics and logs show
    badRequest = 2  # noqa: N815 - the same
    badDataFormat = 5  # noqa: N815 - the same
    timeNotAvailable = 14  # noqa: N815 - the same
    unacceptedPolicy = 15  # noqa: N815 - the same
    unacceptedExtension = 16  # noqa: N815 - the same
    addInfoNotAvailable = 17  # noqa: N815 - the same
    systemFailure = 25  # noqa: N815 - the same

    @property
    def encoded(self) -> bytes:
        """DER of the BIT STRING that has this one bit: a named bit list, so no trailing zero bits (X.690 §11.2.2)."""
        octets = bytearray(self // 8 + 1)
        unused = 7 - self % 8
        octets[-1] = 1 << unused
        return der.bit_string(bytes(octets), unused)


class TSAError(Exception):
    """A refusal that the client is told of: a TimeStampResp without token. The message becomes its statusString."""

    fail_info: ClassVar[PKIFailureInfo]


class BadAlgorithm(TSAError):  # noqa: N818 - named as its meaning, like LookupError
    """The imprint's hash algorithm is unknown or too weak."""

    fail_info = PKIFailureInfo.badAlg


class BadRequest(TSAError):  # noqa: N818 - the same
    """A request of a version other than 1."""

    fail_info = PKIFailureInfo.badRequest


class BadDataFormat(TSAError):  # noqa: N818 - the same
    """Not one TimeStampReq, or an imprint whose length is not its algorithm's."""

    fail_info = PKIFailureInfo.badDataFormat


class TimeNotAvailable(TSAError):  # noqa: N818 - the same
    """The clock cannot be trusted at present."""

    fail_info = PKIFailureInfo.timeNotAvailable


class UnacceptedPolicy(TSAError):  # noqa: N818 - the same
    """The requested policy is none of the unit's."""

    fail_info = PKIFailureInfo.unacceptedPolicy


class UnacceptedExtension(TSAError):  # noqa: N818 - the same
    """The request has an extension, critical or not; none is supported."""

    fail_info = PKIFailureInfo.unacceptedExtension


class SystemFailure(TSAError):  # noqa: N818 - the same
    """The unit cannot issue now, for a reason that is not the client's."""

    fail_info = PKIFailureInfo.systemFailure


class UnknownUnit(LookupError):  # noqa: N818 - the same
    """There is no unit of this name."""


class UnitRefused(ValueError):  # noqa: N818 - the same
    """A unit cannot be put to use; the sentence names the certificate and the field."""


class ReplyError(Exception):
    """A relying party cannot use a reply; the sentence says why."""


class MalformedReply(ReplyError):  # noqa: N818 - the same
    """Not the encoding of one TimeStampResp with a SignedData token, or one that RFC 3161 and RFC 5652 do not allow."""


class NotGranted(ReplyError):  # noqa: N818 - the same
    """The authority refused. ``status`` is the PKIStatus, ``fail_info`` the bits set, ``text`` its own words."""

    def __init__(self, status: int, fail_info: tuple[PKIFailureInfo, ...], text: str) -> None:
        self.status = status
        self.fail_info = fail_info
        self.text = text
        reason = ", ".join(bit.name for bit in fail_info) or f"status {status}"
        super().__init__(f"the authority refused ({reason}){': ' if text else ''}{text}")


class Mismatch(ReplyError):  # noqa: N818 - the same
    """The token answers another question: other imprint, nonce or policy."""


class WrongSigner(ReplyError):  # noqa: N818 - the same
    """The signer's certificate is missing, is not the one the token names, may not sign time-stamps, or does not lead
    to a trust anchor at the token's time.
    """


class BadSignature(ReplyError):  # noqa: N818 - the same
    """The signature does not cover this content."""
