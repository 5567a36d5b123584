"""How long after it was recorded a revocation or an issuance is answered (BR §4.9.9: within 15 minutes).

From the moment at which the feed has delivered a change, no answer of the worker can show what was before. That moment
is measured and not the first answer, which may come a year later because nobody asked. When the change was recorded the
feed says by the clock of this machine, and rather too early than too late, so that a lag is never understated. Where it
cannot, because a writer of an earlier version was at work, the row says it in whole seconds of the writer's clock.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ca_store.errors import NotFound, StoreUnavailable
from ca_store.types import CertificateState, ChangeKind
from responders.counters import ISSUANCE_LAG, REVOCATION_LAG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ca_store.clock import Clock
    from ca_store.contracts import StatusStore
    from ca_store.types import Change, IssuerID, Status
    from responders.shared_state import Row

_MOST: Final = 256
"""Changes that wait to be measured. Of a flood only the first ones are: those that waited longest."""
_HISTOGRAM: Final = {CertificateState.GOOD: ISSUANCE_LAG, CertificateState.REVOKED: REVOCATION_LAG}


class LagMeter:
    """Reads the row of each change once, beside the answering, and writes one worker's histograms."""

    def __init__(self, store: StatusStore, clock: Clock, row: Row) -> None:
        self._store = store
        self._clock = clock
        self._row = row
        # By certificate, when it was first heard of: one that was issued and revoked in one breath is one change.
        self._waiting: dict[tuple[IssuerID, int], tuple[float, float | None]] = {}
        self._arrived = asyncio.Event()

    def heard(self, changes: Sequence[Change]) -> None:
        """Take note of what the feed delivers now, and the worker has forgotten the answers about."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        for change in changes:
            if change.kind is ChangeKind.STATUS and change.serial is not None and len(self._waiting) < _MOST:
                lag = None if change.recorded_at is None else monotonic - change.recorded_at
                self._waiting.setdefault((change.issuer, change.serial), (now, lag))
        if self._waiting:
            self._arrived.set()

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                key = next(iter(self._waiting))
                heard = self._waiting.pop(key)
                try:
                    self._observe(await self._store.status(*key), *heard)
                except (NotFound, StoreUnavailable):
                    continue  # readiness and the log tell of it
                await asyncio.sleep(0)

    def _observe(self, status: Status, heard_at: float, lag: float | None) -> None:
        histogram = _HISTOGRAM.get(status.state)
        if histogram is not None:
            self._row.observe(histogram, max(0.0, heard_at - status.changed_at if lag is None else lag))
