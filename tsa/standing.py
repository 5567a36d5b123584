"""Whether the certificates that stand behind a unit are good, as the CA database says."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from ca_store.errors import NotFound, StoreUnavailable
from ca_store.types import CertificateState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ca_store.clock import Clock
    from ca_store.contracts import StatusStore
    from tsa.unit import Row, SigningUnit

log = logging.getLogger(__name__)


class Standing:
    """The last known state of every certificate on the units' paths. What was never read does not count as good.

    What was read is relied on for ``max_age`` seconds; after a failure the store is left alone for ``pause`` seconds.
    """

    def __init__(self, store: StatusStore, clock: Clock, max_age: float, pause: float) -> None:
        self._store = store
        self._clock = clock
        self._max_age = max_age
        self._pause = pause
        # One reading at a time: an older one must not overwrite what a newer one found.
        self._lock = asyncio.Lock()
        self._faults: dict[Row, str | None] = {}
        self._read_at = self._failed_at = -math.inf

    @property
    def stale(self) -> bool:
        """Whether the last reading is too old to be relied on."""
        return self._clock.monotonic() - self._read_at > self._max_age

    async def refresh(self, units: Sequence[SigningUnit]) -> None:
        """Read the rows of these units' paths again. Raises StoreUnavailable, and then keeps what was known."""
        async with self._lock:
            await self._refresh(units)

    async def ensure(self, units: Sequence[SigningUnit]) -> None:
        """Read the rows unless that was done meanwhile. Raises StoreUnavailable, at once when it failed just before."""
        async with self._lock:
            if not self.stale and all(map(self.known, units)):
                return
            if self._clock.monotonic() - self._failed_at < self._pause:
                raise StoreUnavailable("the rows of the time-stamp certificates could not be read")
            await self._refresh(units)

    def known(self, unit: SigningUnit) -> bool:
        """Whether every certificate of this unit's path was read."""
        return all(row in self._faults for row in unit.rows)

    def fault(self, unit: SigningUnit) -> str | None:
        """A sentence for the client when the unit must not issue."""
        for row in unit.rows:
            fault = self._faults.get(row, "not known to be good")
            if fault is not None:
                return f"The certificate of {row.name} is {fault}."
        return None

    async def _refresh(self, units: Sequence[SigningUnit]) -> None:
        started = self._clock.monotonic()
        try:
            faults = {row: await self._read(row) for row in {row for unit in units for row in unit.rows}}
        except StoreUnavailable as error:
            if math.isinf(self._failed_at):
                log.error("the rows of the time-stamp certificates cannot be read: %s", error)  # noqa: TRY400 - told once, without stack
            self._failed_at = self._clock.monotonic()
            raise
        self._read_at = started
        self._failed_at = -math.inf
        for row, fault in faults.items():
            before = self._faults.get(row)
            if fault is not None and fault != before:
                log.error("no time-stamps under %s: its certificate is %s", row.name, fault)
            elif fault is None and before is not None:
                log.warning("the certificate of %s is good again", row.name)
        self._faults = faults

    async def _read(self, row: Row) -> str | None:
        try:
            status = await self._store.status(row.issuer, row.serial)
        except NotFound:
            return "not in the CA database"
        match status.state:
            case CertificateState.GOOD:
                return None
            case CertificateState.REVOKED:
                return "revoked"
            case CertificateState.RESERVED:
                return "not issued yet"
