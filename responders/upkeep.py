"""What a worker does beside answering: it follows the change feed, keeps its roster and shows that it lives."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from ca_store.errors import StoreError
from ca_store.types import ChangeKind
from responders.counters import (
    CACHE,
    CACHE_OCTETS,
    CLOCK_FAULTS,
    CONNECTIONS,
    LOG_ENTRIES,
    LOG_PENDING,
    OVER_BUDGET,
    PURGES_WAITING,
    counter_index,
)
from responders.credentials import read_records
from responders.lag import LagMeter
from tsa.clock import ClockFault

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from ca_store.clock import Clock
    from ca_store.contracts import ReadStore
    from ca_store.types import Change
    from ocsp.responder import Responder
    from responders.clock_monitor import ClockMonitor
    from responders.connections import ConnectionServer
    from responders.credentials import CredentialLoader, Roster
    from responders.prepared import Second
    from responders.purger import Purging
    from responders.shared_state import Row
    from responders.static_http import Documents
    from tsa.authority import Authority

_BEAT_SECONDS: Final = 0.2
_CHECK_SECONDS: Final = 1.0
_BEATEN: Final = (
    *(counter_index(CACHE, each) for each in ("hit", "miss", "eviction", "signature", "repeat")),
    counter_index(OVER_BUDGET),
)
"""What the responder and the server count themselves."""

_logger: Final = logging.getLogger(__name__)


class Upkeep:
    """The background of one worker. ``tasks`` run until they are cancelled; one that ends is a fault."""

    def __init__(
        self,
        *,
        store: ReadStore,
        clock: Clock,
        loader: CredentialLoader,
        roster: Roster,
        responder: Responder,
        authority: Authority | None,
        clock_monitor: ClockMonitor | None,
        documents: Documents,
        purging: Purging,
        second: Second,
        row: Row,
    ) -> None:
        self._store = store
        self._clock = clock
        self._loader = loader
        self._roster = roster
        self._responder = responder
        self._authority = authority
        self._clock_monitor = clock_monitor
        self._documents = documents
        self._purging = purging
        self._second = second
        self._row = row
        self._lag = LagMeter(store, clock, row)
        self._roster_stale = asyncio.Event()
        self._units_suspect = asyncio.Event()
        row.signers = roster.signers
        # The counters of the one before in this row, on which those of this process are put.
        self._before = [row.counter(each) for each in _BEATEN]
        self._log_before = row.counter(counter_index(LOG_ENTRIES))
        self._clock_before = {each: row.counter(counter_index(CLOCK_FAULTS, each)) for each in ClockFault}

    async def prepare(self) -> None:
        """What must be known before the first question: that the clock was never measured is no reason to refuse it."""
        if self._clock_monitor is not None:
            await self._clock_monitor.measure()

    def tasks(self, server: ConnectionServer) -> Sequence[Coroutine[None, None, None]]:
        """Everything that runs beside the answering."""
        return (
            self._store.feed.run(self._deliver, self._reset),
            self._lag.run(),
            self._tick(),
            self._beat(server),
            self._keep_roster(),
            self._check(),
            *(purger.run() for purger in self._purging.purgers),
            *(() if self._clock_monitor is None else (self._clock_monitor.run(),)),
        )

    def _deliver(self, changes: Sequence[Change]) -> None:
        self._responder.changed(changes)
        self._documents.changed(changes)
        self._lag.heard(changes)
        self._purging.changed(changes)
        for change in changes:
            match change.kind:
                case ChangeKind.ISSUER | ChangeKind.CREDENTIAL:
                    self._roster_stale.set()
                case ChangeKind.STATUS if (change.issuer, change.serial) in self._roster.delegate_rows:
                    self._roster_stale.set()
                case ChangeKind.STATUS if (change.issuer, change.serial) in self._roster.unit_rows:
                    self._units_suspect.set()
                case _:
                    pass

    def _reset(self) -> None:
        self._responder.reset()
        self._documents.reset()
        self._purging.reset()
        self._roster_stale.set()
        self._units_suspect.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._second.rest())
            self._second.tick()

    async def _beat(self, server: ConnectionServer) -> None:
        row, responder = self._row, self._responder
        while True:
            row.beat(self._clock.monotonic(), self._store.feed.confirmed)
            cached = (responder.hits, responder.misses, responder.evictions, responder.signatures, server.repeated)
            counts = (*cached, responder.over_budget)
            for at, before, count in zip(_BEATEN, self._before, counts, strict=True):
                row.set_counter(at, before + count)
            row.set_gauge(CACHE_OCTETS, responder.octets)
            row.set_gauge(CONNECTIONS, server.open_connections)
            row.set_gauge(PURGES_WAITING, self._purging.waiting)
            self._show_authority()
            await asyncio.sleep(_BEAT_SECONDS)

    def _show_authority(self) -> None:
        if self._authority is None:
            return
        guard = self._authority.clock_guard
        self._row.set_clock(self._authority.check_clock(), guard.error_bound)
        token_log = self._authority.token_log
        if token_log is not None:
            self._row.log_writable = token_log.fault is None
            self._row.set_counter(counter_index(LOG_ENTRIES), self._log_before + token_log.entries)
            self._row.set_gauge(LOG_PENDING, token_log.pending)
        for fault, before in self._clock_before.items():
            self._row.set_counter(counter_index(CLOCK_FAULTS, fault), before + guard.faults[fault])

    async def _keep_roster(self) -> None:
        """Load again when issuers or credentials have changed, and when the next credential of a unit begins."""
        while True:
            at = self._roster.changes_at
            try:
                async with asyncio.timeout(None if at is None else max(0.0, at - self._clock.now())):
                    await self._roster_stale.wait()
            except TimeoutError:
                pass
            self._roster_stale.clear()
            try:
                records = await read_records(self._store)
                roster = await asyncio.to_thread(self._loader.load, records, int(self._clock.now()), strict=False)
            except StoreError as error:
                _logger.warning("issuers and credentials could not be read again: %s", error)
                self._roster_stale.set()
                await asyncio.sleep(_CHECK_SECONDS)
            else:
                self._install(roster)

    def _install(self, roster: Roster) -> None:
        # A unit that cannot be loaded any more goes on as it was; its authority still minds its end and its revocation.
        before, after = self._roster, roster.keep_units(self._roster)
        self._roster = after
        self._responder.use(after.directory)
        self._row.signers = after.signers
        if self._authority is not None:
            self._authority.use(after.units, after.authenticode)
        if (before.delegate_rows, before.unit_rows) != (after.delegate_rows, after.unit_rows):
            _logger.info("online keys have changed: %d delegates, %d units", len(after.delegate_rows), len(after.units))

    async def _check(self) -> None:
        """Once a second, and at once when a unit's path has changed: may the units issue, does the database answer?"""
        while True:
            try:
                async with asyncio.timeout(2 * _CHECK_SECONDS):
                    await self._store.ping()
                    self._row.store_answered = self._clock.monotonic()
                    if self._authority is not None:
                        await self._authority.check_revocation()
            except (StoreError, TimeoutError) as error:
                _logger.warning("the database did not answer: %s", str(error) or "too late")
            try:
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._units_suspect.wait()
            except TimeoutError:
                pass
            self._units_suspect.clear()
