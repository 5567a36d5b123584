"""Serials by block (RFC 3161 §2.4.2: unique for a TSA name, also after a crash)."""

from __future__ import annotations

import asyncio
import logging
import os

import pytest
from tsa_world import HandClock, MemoryStore

from ca_store.errors import StoreUnavailable
from ca_store.types import SerialBlock
from tsa.serials import SERIAL_SIZE, SerialAllocator

NAME = b"0\x00"


def allocator(store: MemoryStore, clock: HandClock | None = None, size: int = 10) -> SerialAllocator:
    return SerialAllocator(store, NAME, clock or HandClock(), size, 0.25)


class SlowStore(MemoryStore):
    """Answers a reservation only when told, and counts those that overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = asyncio.Event()
        self.under_way = self.most = 0

    async def reserve_serials(self, tsa_name: bytes, size: int, now: int) -> SerialBlock:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.answer.wait()
        self.under_way -= 1
        return await super().reserve_serials(tsa_name, size, now)


class BrokenStore(MemoryStore):
    """Gives out one block again and again, whatever is asked."""

    def __init__(self, block: SerialBlock) -> None:
        super().__init__()
        self.block = block

    async def reserve_serials(self, tsa_name: bytes, size: int, now: int) -> SerialBlock:
        await super().reserve_serials(tsa_name, size, now)
        return self.block


async def test_serials_are_unique_and_of_one_length_over_many_blocks() -> None:
    store = MemoryStore()
    serials = allocator(store)
    taken = [await serials.take() for _ in range(1000)]
    assert len(set(taken)) == 1000
    assert {len(serial) for serial in taken} == {SERIAL_SIZE}
    assert all(0x40 <= serial[0] <= 0x7F for serial in taken)
    assert taken[:3] == [taken[0][:9] + number.to_bytes(4, "big") for number in range(3)]


async def test_two_workers_and_a_restart_never_share_a_serial() -> None:
    store = MemoryStore()
    taken: list[bytes] = []
    for _ in range(3):
        workers = [allocator(store), allocator(store)]
        for _ in range(37):
            taken += [await worker.take() for worker in workers]
    assert len(set(taken)) == len(taken)


async def test_a_million_serials_of_workers_that_start_again_and_again_are_unique() -> None:
    store = MemoryStore()
    taken: set[bytes] = set()
    for _ in range(5):
        workers = [allocator(store, size=65_536), allocator(store, size=65_536)]
        for worker in workers:
            taken.update([await worker.take() for _ in range(100_000)])
            await worker.close()
    assert len(taken) == 1_000_000
    assert {(len(each), each[0] & 0xC0) for each in taken} == {(SERIAL_SIZE, 0x40)}


async def test_the_next_block_is_reserved_while_this_one_lasts() -> None:
    store = SlowStore()
    store.answer.set()
    serials = allocator(store)
    for _ in range(6):
        await serials.take()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert store.reservations == 2
    store.answer.clear()
    for _ in range(14):  # the rest of the first block and the whole second one, with a store that hangs
        await asyncio.wait_for(serials.take(), 1)
    await serials.close()


async def test_one_reservation_at_a_time_serves_everyone_who_waits() -> None:
    store = SlowStore()
    serials = allocator(store, size=100)
    waiting = [asyncio.create_task(serials.take()) for _ in range(10)]
    await asyncio.sleep(0)
    store.answer.set()
    assert len(set(await asyncio.gather(*waiting))) == 10
    assert (store.most, store.reservations) == (1, 1)


async def test_more_waiters_than_serials_wait_for_further_blocks() -> None:
    store = MemoryStore()
    serials = allocator(store, size=1)
    taken = await asyncio.gather(*(serials.take() for _ in range(50)))
    assert len(set(taken)) == 50


async def test_a_client_that_hangs_up_does_not_take_the_block_away_from_others() -> None:
    store = SlowStore()
    serials = allocator(store)
    first, second = (asyncio.create_task(serials.take()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    store.answer.set()
    assert await second
    assert store.reservations == 1


async def test_a_block_whose_answer_was_lost_is_never_used() -> None:
    store, clock = MemoryStore(lose_next=True), HandClock()
    serials = allocator(store, clock)
    with pytest.raises(StoreUnavailable):
        await serials.take()
    clock.step(1)
    serial = await serials.take()
    lost, kept = store.blocks[NAME]
    assert serial.startswith(kept)
    assert not serial.startswith(lost)


async def test_an_outage_is_told_once_asked_about_seldom_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    store, clock = MemoryStore(unavailable=True), HandClock()
    serials = allocator(store, clock)
    for _ in range(100):
        with pytest.raises(StoreUnavailable):
            await serials.take()
    assert store.reservations == 1
    clock.step(0.3)
    with pytest.raises(StoreUnavailable):
        await serials.take()
    assert store.reservations == 2
    store.unavailable = False
    clock.step(0.3)
    assert await serials.take()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_an_outage_is_not_noticed_while_the_block_lasts() -> None:
    store = MemoryStore()
    serials = allocator(store)
    await serials.take()
    store.unavailable = True
    for _ in range(9):
        await serials.take()
    with pytest.raises(StoreUnavailable):
        await serials.take()


@pytest.mark.parametrize(
    "block",
    [
        SerialBlock(b"\x40" + bytes(7), 10),
        SerialBlock(b"\x80" + bytes(8), 10),
        SerialBlock(b"\x00" + bytes(8), 10),
        SerialBlock(b"\x40" + bytes(8), 0),
        SerialBlock(b"\x40" + bytes(8), 2**32 + 1),
    ],
    ids=["short prefix", "negative", "not minimal", "empty", "counter too long"],
)
async def test_a_block_that_breaks_the_promise_is_refused(block: SerialBlock) -> None:
    with pytest.raises(StoreUnavailable):
        await allocator(BrokenStore(block)).take()


def test_after_a_fork_the_block_stays_with_the_parent() -> None:
    store = MemoryStore()
    serials = allocator(store)
    asyncio.run(serials.take())
    (own,) = store.blocks[NAME]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, asyncio.run(serials.take()))
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    theirs = os.read(reader, 64)
    os.close(reader)
    assert len(theirs) == SERIAL_SIZE
    assert not theirs.startswith(own)
    assert asyncio.run(serials.take()).startswith(own)
