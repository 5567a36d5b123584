"""What passes between the OCSP core and its transport."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True, eq=False)
class Answer:
    """One OCSPResponse, ready to be sent, with what an HTTP cache may be told about it.

    Times are POSIX seconds. An unsigned error has no times at all and must never be stored by anyone (RFC 9919 §7.2).
    """

    der: bytes
    outcome: str
    """One of a small fixed set, fit for a metric label: the certificate status, or the OCSPResponseStatus's name."""
    this_update: int | None = None
    next_update: int | None = None
    fresh_until: int | None = None
    """When a better answer will exist: the next window. None forbids explicit freshness (nonce, error)."""
    nonce: bool = False
    about: tuple[tuple[str, int], ...] = ()
    """Issuer's label and serial of each certificate a signed answer speaks of."""
    retry_after: int | None = None
    """Seconds, on tryLater."""
    cert_id_hash: str | None = None
    """The hash algorithm by which a signed answer names its issuer: ``sha1``, ``sha256`` or ``other``; ``sha1`` for a
    request that used it at all.
    """
    prepared: object = field(default=None, repr=False)
    """Room for the transport's own ready-made form of a cached answer; dropped with the cache entry."""


class Epoch(Protocol):
    """A value shared by the workers of one machine, so that no client sees a status go back by asking another worker.

    Whoever first learns of a change, from the feed or by reading a row, advances it before answering with that
    knowledge. A worker that sees a value it has not seen before reads rows instead of trusting its cache until its own
    feed has caught up.
    """

    def read(self) -> int:
        """The present value. Must cost next to nothing: it is read before every cached answer."""
        ...

    def advance(self) -> None:
        """Change the value to one it never had before."""
        ...
