"""What may be answered from the cache, and that no client ever sees a status go back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from fakes import NOW, TINY
from hypothesis import given
from hypothesis import strategies as st
from ocsp_world import SERIAL, World, request_for

from ca_store.errors import StoreUnavailable
from ca_store.types import Change, ChangeKind

if TYPE_CHECKING:
    from ocsp.types import Answer


def issued(workers: int = 1) -> tuple[World, bytes]:
    """A world with one good certificate that every worker has answered about."""
    world = World(workers=workers)
    world.store.issue(TINY, SERIAL)
    world.deliver()
    request = request_for(world.ca)
    for worker in world.workers:
        asyncio.run(worker.answer(request))
    return world, request


async def ask(world: World, request: bytes, worker: int = 0) -> Answer:
    """As the transport does it."""
    responder = world.workers[worker]
    return responder.cached(request) or await responder.answer(request)


def test_the_same_request_is_answered_without_asking_the_database() -> None:
    world, request = issued()
    first = world.responder.cached(request)
    assert first is not None
    assert world.responder.cached(request) is first
    assert (world.store.reads, world.responder.hits, world.responder.misses) == (1, 2, 1)
    assert world.responder.octets > len(request) + len(first.der)
    assert world.responder.evictions == 0


def test_a_cached_answer_ends_with_its_window() -> None:
    world, request = issued()
    first = world.responder.cached(request)
    assert first is not None
    assert first.fresh_until is not None
    world.pass_time(first.fresh_until - NOW - 0.5)
    assert world.responder.cached(request) is first
    world.pass_time(0.5)
    assert world.responder.cached(request) is None
    second = asyncio.run(world.responder.answer(request))
    assert second.this_update is not None
    assert first.this_update is not None
    assert second.this_update > first.this_update


def test_a_clock_that_was_set_back_finds_no_answer_from_the_future() -> None:
    world, request = issued()
    world.clock.step(-7200)
    assert world.responder.cached(request) is None
    answer = asyncio.run(world.responder.answer(request))
    assert answer.this_update is not None
    assert answer.this_update <= NOW - 7200


async def test_a_change_is_visible_as_soon_as_it_is_delivered() -> None:
    world, request = await asyncio.to_thread(issued)
    other = request_for(world.ca, 7)
    world.store.issue(TINY, 7)
    world.deliver()
    await world.responder.answer(other)
    world.store.revoke(TINY, SERIAL)
    world.deliver()
    assert world.responder.cached(request) is None
    assert world.responder.cached(other) is not None
    assert (await world.responder.answer(request)).outcome == "revoked"


@pytest.mark.parametrize("kind", [ChangeKind.ISSUER, ChangeKind.CREDENTIAL, ChangeKind.CRL])
def test_other_changes_leave_the_answers(kind: ChangeKind) -> None:
    """Issuers and credentials reach the responder as a new directory."""
    world, request = issued()
    world.responder.changed([Change(kind, TINY)])
    assert world.responder.cached(request) is not None


def test_a_reset_forgets_everything() -> None:
    world, request = issued()
    world.feeds[0].reconnect()
    assert world.responder.cached(request) is None
    assert world.responder.octets == 0


@pytest.mark.parametrize("reset", [False, True], ids=["a change", "a reset"])
async def test_an_answer_that_was_overtaken_is_given_but_not_kept(reset: bool) -> None:
    """The row was read before the change and the answer is made after it."""
    world = World()
    world.store.issue(TINY, SERIAL)
    world.deliver()
    request = request_for(world.ca)
    release = world.store.linger()
    task = asyncio.create_task(world.responder.answer(request))
    await asyncio.sleep(0)
    world.store.revoke(TINY, SERIAL)
    if reset:
        world.feeds[0].reconnect()
    else:
        world.deliver()
    release()
    assert (await task).outcome == "good"
    assert world.responder.cached(request) is None
    assert (await ask(world, request)).outcome == "revoked"


async def test_a_lost_feed_costs_a_read_for_every_answer() -> None:
    """Cached answers are trusted for the bound, a second; then a row is read, and signed again only if it changed."""
    world, request = await asyncio.to_thread(issued)
    world.feeds[0].lose()
    world.clock.advance(1.0)
    assert world.responder.cached(request) is not None
    world.clock.advance(0.1)
    assert world.responder.cached(request) is None
    reads, signatures = world.store.reads, world.responder.signatures
    for _ in range(3):
        assert (await ask(world, request)).outcome == "good"
    assert (world.store.reads, world.responder.signatures) == (reads + 3, signatures)
    world.store.revoke(TINY, SERIAL)
    assert (await ask(world, request)).outcome == "revoked"


async def test_a_lost_feed_and_a_lost_database_are_try_later() -> None:
    world, request = await asyncio.to_thread(issued)
    world.feeds[0].lose()
    world.clock.advance(1.1)
    world.store.fail_next(StoreUnavailable("gone"))
    assert (await ask(world, request)).outcome == "tryLater"
    world.feeds[0].reconnect()
    assert (await ask(world, request)).outcome == "good"
    assert world.responder.cached(request) is not None


def test_a_lost_feed_does_not_outlive_the_window() -> None:
    world, request = issued()
    first = world.responder.cached(request)
    assert first is not None
    world.feeds[0].lose()
    world.clock.advance(3600)
    again = asyncio.run(world.responder.answer(request))
    assert again.der != first.der


async def test_no_client_sees_a_status_go_back() -> None:
    """One worker has read the revocation; the other's feed has not brought it yet."""
    world, request = await asyncio.to_thread(issued, 2)
    unrelated = request_for(world.ca, 7)
    world.store.issue(TINY, 7)
    world.deliver()
    await world.workers[1].answer(unrelated)
    world.store.revoke(TINY, SERIAL)
    world.feeds[0].deliver()
    assert (await ask(world, request, 1)).outcome == "good", "no one has said otherwise yet"
    assert (await ask(world, request, 0)).outcome == "revoked"
    assert (await ask(world, request, 1)).outcome == "revoked"
    assert world.workers[1].cached(unrelated) is None, "nothing is trusted until the feed has caught up"
    world.clock.advance(0.05)
    world.deliver()
    assert world.workers[1].cached(unrelated) is not None


async def test_a_revocation_that_was_read_before_the_feed_brought_it() -> None:
    """The worker missed in its cache and so knows more than its own feed."""
    world, request = await asyncio.to_thread(issued, 2)
    world.workers[0].reset()
    world.store.revoke(TINY, SERIAL)
    assert (await ask(world, request, 0)).outcome == "revoked"
    assert (await ask(world, request, 1)).outcome == "revoked"


async def test_a_worker_that_reads_before_the_epoch_moves_again_stays_suspicious() -> None:
    """Each advance counts: the feed must pass the newest."""
    world, request = await asyncio.to_thread(issued, 2)
    world.epoch.advance()
    assert world.workers[1].cached(request) is None
    world.clock.advance(0.05)
    world.epoch.advance()
    world.feeds[1].deliver()
    assert world.workers[1].cached(request) is None
    world.clock.advance(0.05)
    world.feeds[1].deliver()
    assert world.workers[1].cached(request) is not None


async def test_only_news_moves_the_epoch() -> None:
    """Issuing does not, nor does an old revocation, nor the second answer about a fresh one."""
    world = World()
    world.store.issue(TINY, SERIAL, NOW)
    world.store.issue(TINY, 7)
    world.store.revoke(TINY, 7, NOW - 60)
    for serial in (SERIAL, 7):
        await world.responder.answer(request_for(world.ca, serial))
    assert world.epoch.value == 0
    world.store.revoke(TINY, SERIAL)
    for _ in range(2):
        await world.responder.answer(request_for(world.ca))
    assert world.epoch.value == 1


async def test_news_from_the_feed_is_news_whatever_the_issuance_clock_says() -> None:
    world, request = await asyncio.to_thread(issued, 2)
    world.store.revoke(TINY, SERIAL, NOW - 3600)
    world.feeds[0].deliver()
    assert (await ask(world, request, 0)).outcome == "revoked"
    assert (await ask(world, request, 1)).outcome == "revoked"


@given(apart=st.integers(0, 3599), serial=st.integers(1, (1 << 159) - 1), gone=st.booleans())
def test_two_nodes_give_the_same_octets(apart: int, serial: int, gone: bool) -> None:
    """Different machines, clocks apart, one window: one answer, hence one ETag behind any load balancer."""
    left, right = World(), World()
    right.responder.use(left.directory)
    request = request_for(left.ca, serial)
    for node in (left, right):
        node.store.issue(TINY, serial)
        if gone:
            node.store.revoke(TINY, serial, NOW - 10)
    first = asyncio.run(left.responder.answer(request))
    assert first.fresh_until is not None
    right.clock.advance(min(apart, first.fresh_until - NOW - 1))
    assert asyncio.run(right.responder.answer(request)).der == first.der
