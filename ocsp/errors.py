"""The refusals of RFC 6960 §2.3. Each knows its OCSPResponseStatus and the five octets that say it, unsigned."""

from __future__ import annotations

import enum
from typing import ClassVar

from ca_store import der


class ResponseStatus(enum.IntEnum):
    """OCSPResponseStatus (RFC 6960 §4.2.1), under that section's names; 4 is not used."""

    successful = 0
    malformedRequest = 1  # noqa: N815 - RFC 6960's own spelling, which is also the metric label
    internalError = 2  # noqa: N815 - the same
    tryLater = 3  # noqa: N815 - the same
    sigRequired = 5  # noqa: N815 - the same
    unauthorized = 6


class OCSPError(Exception):
    """A request that is answered with a status and no response bytes. The text is for the log, never for the client."""

    status: ClassVar[ResponseStatus]
    body: ClassVar[bytes]
    """The whole OCSPResponse: SEQUENCE { ENUMERATED }."""

    def __init_subclass__(cls) -> None:
        cls.body = der.sequence(der.enumerated(cls.status))


class MalformedRequest(OCSPError):  # noqa: N818 - the protocol's own names, here and below
    """The octets are not one OCSPRequest, or ask for something that may not be ignored."""

    status = ResponseStatus.malformedRequest


class InternalError(OCSPError):
    """Something here is broken."""

    status = ResponseStatus.internalError


class TryLater(OCSPError):  # noqa: N818
    """The database or the signing key cannot be reached in time."""

    status = ResponseStatus.tryLater


class Unauthorized(OCSPError):  # noqa: N818
    """There is no authoritative record of what was asked for (RFC 9919 §3.2.3)."""

    status = ResponseStatus.unauthorized
