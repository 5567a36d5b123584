"""The histograms of the 15-minute rule: what is measured, what is left out, and that a flood is bounded."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from fakes import NOW, TINY, ManualClock, MemoryStore, good, revoked

from ca_store.errors import StoreUnavailable
from ca_store.types import CertificateState, Change, ChangeKind, Status
from responders.counters import BUCKETS, ISSUANCE_LAG, REVOCATION_LAG
from responders.lag import LagMeter
from responders.shared_state import SharedState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from responders.shared_state import Row


@pytest.fixture
def row() -> Iterator[Row]:
    state = SharedState.create(1)
    yield state.row(0)
    os.close(state.descriptor)


def change(serial: int) -> Change:
    return Change(ChangeKind.STATUS, TINY, serial)


@contextmanager
def running(meter: LagMeter) -> Iterator[None]:
    task = asyncio.create_task(meter.run())
    yield
    task.cancel()


async def settle() -> None:
    for _ in range(2000):
        await asyncio.sleep(0)


def seen(row: Row, name: str) -> dict[float, int]:
    counts, _ = row.histogram(name)
    return {bound: count for bound, count in zip((*BUCKETS, float("inf")), counts, strict=True) if count}


async def test_each_kind_of_change_has_its_own_histogram(row: Row) -> None:
    clock, store = ManualClock(), MemoryStore()
    store.commit(TINY, 1, good(NOW))
    store.commit(TINY, 2, good(NOW - 90))
    store.commit(TINY, 2, revoked(NOW))
    store.commit(TINY, 3, Status(CertificateState.RESERVED, NOW, NOW + 90))
    meter = LagMeter(store, clock, row)
    clock.advance(0.2)
    with running(meter):
        meter.heard([change(1), change(2), change(3), change(4), Change(ChangeKind.CRL, TINY)])
        clock.advance(50)  # the moment of hearing counts, not that of measuring
        await settle()
    assert seen(row, ISSUANCE_LAG) == {0.25: 1}
    assert seen(row, REVOCATION_LAG) == {0.25: 1}
    assert row.histogram(REVOCATION_LAG)[1] == pytest.approx(0.2, abs=0.001)


async def test_a_feed_that_was_late_and_a_clock_that_is_behind(row: Row) -> None:
    clock, store = ManualClock(), MemoryStore()
    meter = LagMeter(store, clock, row)
    store.commit(TINY, 1, good(NOW - 1000))
    store.commit(TINY, 2, good(NOW + 5))
    with running(meter):
        meter.heard([change(1), change(2)])
        await settle()
    assert seen(row, ISSUANCE_LAG) == {3600.0: 1, 0.001: 1}


async def test_what_the_feed_knows_of_the_time_counts_for_more_than_the_row(row: Row) -> None:
    """Milliseconds of this machine's own clock, whatever the writer's clock says; and a moment ahead is no lag."""
    clock, store = ManualClock(), MemoryStore()
    meter = LagMeter(store, clock, row)
    for serial, at in ((1, NOW - 500), (2, NOW)):
        store.commit(TINY, serial, good(at))
        store.commit(TINY, serial, revoked(at))
    heard = [
        Change(ChangeKind.STATUS, TINY, 1, clock.monotonic()),
        Change(ChangeKind.STATUS, TINY, 2, clock.monotonic() + 1),
    ]
    clock.advance(0.004)
    with running(meter):
        meter.heard(heard)
        await settle()
    assert seen(row, REVOCATION_LAG) == {0.005: 1, 0.001: 1}
    assert row.histogram(REVOCATION_LAG)[1] == pytest.approx(0.004, abs=0.0001)


async def test_issued_and_revoked_in_one_breath_is_one_revocation(row: Row) -> None:
    clock, store = ManualClock(), MemoryStore()
    store.commit(TINY, 1, good(NOW))
    store.commit(TINY, 1, revoked(NOW))
    meter = LagMeter(store, clock, row)
    with running(meter):
        meter.heard([change(1)])
        meter.heard([change(1)])
        await settle()
    assert seen(row, ISSUANCE_LAG) == {}
    assert seen(row, REVOCATION_LAG) == {0.001: 1}


async def test_a_database_that_is_away_ends_nothing_and_a_flood_is_sampled(row: Row) -> None:
    clock, store = ManualClock(), MemoryStore()
    for serial in range(1, 1001):
        store.commit(TINY, serial, good(NOW))
    meter = LagMeter(store, clock, row)
    store.fail_next(StoreUnavailable("away"))
    with running(meter):
        meter.heard([change(serial) for serial in range(1, 1001)])
        await settle()
        assert seen(row, ISSUANCE_LAG) == {0.001: 255}
        meter.heard([change(1)])
        await settle()
        assert seen(row, ISSUANCE_LAG) == {0.001: 256}
