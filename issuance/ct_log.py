"""Certificate Transparency logs: which there are, and what is asked of whoever talks to them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from issuance.ct_sct import SCT, Entry


@dataclass(frozen=True, slots=True)
class Log:
    """One log. Times are POSIX seconds; None leaves that side open."""

    url: str
    """With a slash at its end; ``ct/v1/`` follows."""
    operator: str
    key: bytes
    """DER SubjectPublicKeyInfo."""
    usable_from: int | None = None
    usable_until: int | None = None
    """When the log takes part: what is issued from the first time on and before the second."""
    expiry_from: int | None = None
    expiry_until: int | None = None
    """Which certificates a temporal shard takes: a notAfter from the first time on and before the second."""

    @property
    def log_id(self) -> bytes:
        """SHA-256 of the key (RFC 6962 §3.2)."""
        return hashlib.sha256(self.key).digest()

    def takes(self, now: int, not_after: int) -> bool:
        """Whether a certificate that is issued now and ends then belongs here."""
        return _within(now, self.usable_from, self.usable_until) and _within(
            not_after, self.expiry_from, self.expiry_until
        )


def _within(at: int, start: int | None, end: int | None) -> bool:
    return (start is None or at >= start) and (end is None or at < end)


@dataclass(frozen=True, slots=True)
class Submission:
    """What logs answered."""

    scts: tuple[tuple[Log, SCT], ...]
    """Checked, in the order of the logs."""
    refusals: tuple[str, ...]
    """Of each log that gave none: its URL and why."""


class Submitter(Protocol):
    """Talks to logs."""

    def submit(
        self, entry: Entry, logs: Sequence[Log], now: int, enough: Callable[[Collection[Log]], bool]
    ) -> Submission:
        """Hand an entry to each of the logs at once and check what they answer. Those that are slow are left behind
        once ``enough`` holds of the others. Never raises for what a log does.
        """
        ...


@dataclass(frozen=True, slots=True)
class Transparency:
    """The logs of a home, and who talks to them."""

    logs: tuple[Log, ...]
    submitter: Submitter
