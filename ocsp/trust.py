"""Whether cached answers may be given out: the change feed must be near, and no other worker may know more.

Two workers learn of a revocation some milliseconds apart. So that no client sees *revoked* from one and then *good*
from the other's cache, the first that answers with a fresh revocation advances the epoch they share, and whoever sees
the epoch moved reads rows until its own feed has passed that moment.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, TypeVar

from ca_store.types import CertificateState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ca_store.clock import Clock
    from ca_store.contracts import ChangeFeed
    from ca_store.types import Status
    from ocsp.cache import Key
    from ocsp.types import Epoch

_FRESH: Final = 10.0
"""Seconds after which every worker of this machine has heard of a change, or has lost its feed and trusts nothing."""
_REMEMBERED: Final = 4096
"""Certificates kept in mind; forgetting one costs one needless advance at most."""

_V = TypeVar("_V")


class Trust:
    """``bound``: seconds that the feed may go without confirmation."""

    def __init__(self, *, feed: ChangeFeed, clock: Clock, epoch: Epoch, bound: float) -> None:
        self._feed = feed
        self._clock = clock
        self._epoch = epoch
        self._bound = bound
        self._seen = epoch.read()
        self._suspect_since = -inf
        self._heard: dict[Key, float] = {}
        self._announced: dict[Key, int] = {}

    def holds(self) -> bool:
        """Whether the cache knows everything that any worker of this machine has answered with."""
        epoch = self._epoch.read()
        now = self._clock.monotonic()
        if epoch != self._seen:
            self._seen = epoch
            self._suspect_since = now
        confirmed = self._feed.confirmed
        return now - confirmed <= self._bound and confirmed > self._suspect_since

    def hear(self, keys: Iterable[Key]) -> None:
        """Take note of changes from the feed, whatever the clock of the issuance says about their time."""
        now = self._clock.monotonic()
        for key in keys:
            _remember(self._heard, key, now)

    def announce(self, key: Key, status: Status) -> None:
        """Before an answer is made from a row: let the other workers know if it is a revocation they may not know."""
        if status.state is not CertificateState.REVOKED or self._announced.get(key) == status.changed_at:
            return
        heard = self._heard.get(key, -inf)
        if abs(self._clock.now() - status.changed_at) > _FRESH and self._clock.monotonic() - heard > _FRESH:
            return
        self._epoch.advance()
        _remember(self._announced, key, status.changed_at)


def _remember(memory: dict[Key, _V], key: Key, value: _V) -> None:
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > _REMEMBERED:
        del memory[next(iter(memory))]
