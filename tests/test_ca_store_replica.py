"""Status rows from a real streaming replica: what was heard of is never taken back, and what fails costs no answer."""

from __future__ import annotations

import asyncio
import logging
from itertools import count
from typing import TYPE_CHECKING

import psycopg
import pytest
from postgres_server import PostgresPair, postgres_pair
from store_world import NOW, following, issue, make_issuer, prepared_url

from ca_store import horizon
from ca_store.clock import SystemClock
from ca_store.database import open_issuance_store, open_read_store
from ca_store.errors import NotFound, StoreUnavailable
from ca_store.horizon import Horizon, Position
from ca_store.replica import ForeignReplica, replica_lag
from ca_store.types import CertificateState, IssuerID, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from ca_store.contracts import IssuanceStore, ReadStore

pytest_plugins = ("store_fixtures",)

GOOD, REVOKED = CertificateState.GOOD, CertificateState.REVOKED
NUMBERS = count(1)
A, B = (IssuerID(1), 1), (IssuerID(1), 2)


def at(lsn: int, *, timeline: int = 1, system: int = 7) -> Position:
    return Position(system, timeline, lsn)


def test_a_change_needs_a_place_that_was_asked_for_after_it() -> None:
    known = Horizon()
    assert known.needed(A) is None
    known.place(at(10), known.heard)
    assert known.needed(A) == at(10)
    known.hear(A)
    asked = known.heard
    known.hear(B)
    known.place(at(20), asked)
    assert (known.needed(A), known.needed(B)) == (at(20), None)
    asked = known.heard
    known.hear(A)
    known.place(at(30), asked)
    assert (known.needed(A), known.needed(B)) == (None, at(30))
    known.place(at(40), known.heard)
    assert (known.needed(A), known.needed((IssuerID(2), 1))) == (at(40), at(10))
    known.reset()
    assert known.needed(A) is known.needed(B) is None


def test_too_many_changes_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(horizon, "REMEMBERED", 2)
    known = Horizon()
    known.place(at(10), 0)
    for serial in range(3):
        known.hear((IssuerID(1), serial))
    asked = known.heard
    known.hear((IssuerID(1), 9))
    known.place(at(20), asked)
    assert [known.needed((IssuerID(1), serial)) for serial in (0, 5, 9)] == [at(20), at(20), None]


@pytest.mark.parametrize("other", [at(9), at(99, timeline=2), at(99, system=8)], ids=["earlier", "timeline", "cluster"])
def test_places_that_do_not_cover(other: Position) -> None:
    assert at(10).covers(at(10))
    assert not other.covers(at(10))


@pytest.fixture(scope="module")
def pair() -> Iterator[PostgresPair]:
    with postgres_pair() as made:
        prepared_url(of(made.primary.url))
        yield made


def of(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def issuing(pair: PostgresPair) -> Iterator[IssuanceStore]:
    opened = open_issuance_store(of(pair.primary.url))
    yield opened
    opened.close()


@pytest.fixture
def ca(pair: PostgresPair, issuing: IssuanceStore) -> IssuerID:
    """A CA of the test's own, known to the replica."""
    made = issuing.add_issuer(make_issuer(f"CA {next(NUMBERS)}"), "file:keys/ca.key", NOW)
    issue(issuing, made, 5)
    pair.catch_up()
    return made


@pytest.fixture
async def near(pair: PostgresPair) -> AsyncIterator[ReadStore]:
    opened = await open_read_store(of(pair.primary.url), SystemClock(), of(pair.replica.url))
    yield opened
    await opened.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


def placed(store: ReadStore) -> Callable[[], Awaitable[bool]]:
    """Whether everything that was heard has its place in the log."""

    async def known() -> bool:
        place = store._horizon  # type: ignore[attr-defined]  # the dialect's own
        return place._floor is not None and not place._unplaced

    return known


async def test_a_row_comes_from_the_replica(pair: PostgresPair, near: ReadStore, ca: IssuerID) -> None:
    """While the feed is trusted the primary need not be asked: here it could not answer."""
    async with following(near):
        await until(placed(near))
        with pair.primary.frozen():
            assert (await near.status(ca, 5, as_heard=True)).state is GOOD
            with pytest.raises(NotFound):
                await near.status(ca, 6, as_heard=True)


async def test_who_does_not_follow_the_feed_is_told_by_the_primary(
    pair: PostgresPair, issuing: IssuanceStore, near: ReadStore, ca: IssuerID
) -> None:
    with pair.paused():
        issuing.revoke(ca, 5, Reason.superseded, NOW, NOW)
        assert (await near.status(ca, 5)).state is REVOKED
        # Nor is a replica believed before the feed was heard of at all.
        assert (await near.status(ca, 5, as_heard=True)).state is REVOKED


async def test_what_was_heard_is_true_while_the_replica_is_behind(
    pair: PostgresPair, issuing: IssuanceStore, near: ReadStore, ca: IssuerID
) -> None:
    issue(issuing, ca, 6)
    pair.catch_up()
    async with following(near) as heard:
        await until(placed(near))
        assert (await near.status(ca, 5, as_heard=True)).state is GOOD
        with pair.paused():
            issuing.revoke(ca, 5, Reason.superseded, NOW, NOW)
            issue(issuing, ca, 7)
            await heard.until(2)
            for _ in range(50):
                assert (await near.status(ca, 5, as_heard=True)).state is REVOKED
                assert (await near.status(ca, 7, as_heard=True)).state is GOOD
                await asyncio.sleep(0.01)
            with pair.primary.frozen():  # what did not change is there as it was
                assert (await near.status(ca, 6, as_heard=True)).state is GOOD
        pair.catch_up()
        await until(placed(near))
        await asyncio.sleep(0.1)
        with pair.primary.frozen():
            assert (await near.status(ca, 5, as_heard=True)).state is REVOKED


async def test_how_far_it_is_behind(pair: PostgresPair, issuing: IssuanceStore, ca: IssuerID) -> None:
    urls = of(pair.primary.url), of(pair.replica.url)
    with pair.paused():
        issue(issuing, ca, 6)
        assert await replica_lag(*urls) > 0
    pair.catch_up()
    assert await replica_lag(*urls) < 1 << 16


async def test_a_feed_that_begins_behind_the_replica_believes_nothing_of_it(
    pair: PostgresPair, issuing: IssuanceStore, near: ReadStore, ca: IssuerID
) -> None:
    """What was revoked before this process listened: nobody will tell it."""
    with pair.paused():
        issuing.revoke(ca, 5, Reason.superseded, NOW, NOW)
        async with following(near):
            await until(placed(near))
            for _ in range(20):
                assert (await near.status(ca, 5, as_heard=True)).state is REVOKED


async def test_many_changes_while_the_replica_is_behind(
    pair: PostgresPair, issuing: IssuanceStore, near: ReadStore, ca: IssuerID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(horizon, "REMEMBERED", 3)
    for serial in range(6, 16):
        issue(issuing, ca, serial)
    pair.catch_up()
    async with following(near) as heard:
        await until(placed(near))
        with pair.paused():
            for serial in range(6, 16):
                issuing.revoke(ca, serial, Reason.superseded, NOW, NOW)
            await heard.until(10)
            states = [(await near.status(ca, serial, as_heard=True)).state for serial in range(5, 16)]
            assert states == [GOOD, *[REVOKED] * 10]


async def test_a_replica_that_hangs_or_is_gone_costs_a_detour(
    pair: PostgresPair, near: ReadStore, ca: IssuerID, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(near):
        await until(placed(near))
        with pair.replica.frozen():
            answers = await asyncio.gather(*(near.status(ca, 5, as_heard=True) for _ in range(40)))
            assert {answer.state for answer in answers} == {GOOD}
        pair.replica.stop("fast")
        try:
            for _ in range(40):
                assert (await near.status(ca, 5, as_heard=True)).state is GOOD
        finally:
            pair.replica.start()

        async def used_again() -> bool:
            await near.status(ca, 5, as_heard=True)
            return "the read replica is used again" in caplog.text

        await until(used_again)
    told = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(told) <= 2
    assert "the read replica cannot be asked" in told[0]


async def test_without_primary_and_replica_nothing_is_said(pair: PostgresPair, near: ReadStore, ca: IssuerID) -> None:
    async with following(near):
        await until(placed(near))
        with pair.primary.frozen(), pair.replica.frozen(), pytest.raises(StoreUnavailable):
            await near.status(ca, 5, as_heard=True)


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
async def test_another_cluster_is_no_replica(
    pair: PostgresPair, ca: IssuerID, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A read_url with a mistake in it: what has the same tables knows nothing of these certificates."""
    reader = await open_read_store(of(pair.primary.url), SystemClock(), url)
    async with following(reader):
        await until(placed(reader))
        assert (await reader.status(ca, 5, as_heard=True)).state is GOOD
    await reader.close()
    assert "belongs to another database cluster" in caplog.text


async def test_a_replica_that_follows_another_timeline_is_not_believed(
    pair: PostgresPair, issuing: IssuanceStore, ca: IssuerID, caplog: pytest.LogCaptureFixture
) -> None:
    """After a failover the old primary, or who still follows it, may be further in its log and lack what is new."""
    with postgres_pair() as other:
        prepared_url(of(other.primary.url))
        store = open_issuance_store(of(other.primary.url))
        made = store.add_issuer(make_issuer("root"), "file:keys/root.key", NOW)
        issue(store, made, 5)
        other.catch_up()
        store.close()
        other.replica.promote()
        with psycopg.connect(other.primary.url, autocommit=True) as old:  # far ahead in octets
            old.execute("CREATE TABLE filler AS SELECT generate_series(1, 10000)")
        promoted = open_issuance_store(of(other.replica.url))
        reader = await open_read_store(of(other.replica.url), SystemClock(), of(other.primary.url))
        promoted.revoke(made, 5, Reason.superseded, NOW, NOW)
        async with following(reader):
            await until(placed(reader))
            assert (await reader.status(made, 5, as_heard=True)).state is REVOKED
        with pytest.raises(ForeignReplica, match="timeline"):
            await replica_lag(of(other.replica.url), of(other.primary.url))
        await reader.close()
        promoted.close()
    assert "is on timeline 1, and the primary is on 2" in caplog.text
