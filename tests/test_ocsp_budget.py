"""What answers with a nonce may cost: turns on the loop, shares of an address, places in the signing queue."""

from __future__ import annotations

import asyncio
import threading

import pytest
from fakes import ManualClock, p256_signer
from ocsp_world import SERIAL, World, request_for

from ca_store.errors import SigningOverload
from ca_store.gate import SigningGate
from ca_store.signing import ECDSA_SHA256
from ocsp.budget import ADDRESSES, PER_PASS, OverBudget, Shares, Turns
from ocsp.settings import Settings


async def passes(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_pass_of_the_loop_serves_more_than_its_turns() -> None:
    turns = Turns(100, 10, ManualClock())
    served: list[int] = []

    async def ask(number: int) -> None:
        await turns.take()
        served.append(number)

    tasks = [asyncio.create_task(ask(number)) for number in range(3 * PER_PASS)]
    most = 0
    for _ in range(20):
        before = len(served)
        await asyncio.sleep(0)
        most = max(most, len(served) - before)
    assert served == list(range(3 * PER_PASS))
    assert most <= PER_PASS
    assert turns.waiting == 0
    await asyncio.gather(*tasks)


async def test_turns_go_on_after_a_rest() -> None:
    turns = Turns(0, 10, ManualClock())
    for _ in range(3):
        for _ in range(PER_PASS):
            await turns.take()
        with pytest.raises(SigningOverload, match="0 requests with a nonce are waiting already"):
            await turns.take()
        await passes(5)


async def test_a_turn_that_comes_too_late_is_refused_and_a_client_that_has_gone_takes_none() -> None:
    clock = ManualClock()
    turns = Turns(10, 2, clock)
    *served, late, gone = (asyncio.create_task(turns.take()) for _ in range(PER_PASS + 2))
    await asyncio.sleep(0)
    gone.cancel()
    clock.advance(3)
    with pytest.raises(SigningOverload, match="within 2 s"):
        await late
    await asyncio.gather(*served)
    assert turns.waiting == 0


def test_an_address_has_its_burst_and_then_its_rate() -> None:
    clock = ManualClock()
    shares = Shares(0.5, 3, clock)
    for _ in range(3):
        shares.take("a")
    with pytest.raises(OverBudget) as refused:
        shares.take("a")
    assert refused.value.seconds == 2
    shares.take("b")
    clock.advance(2)
    shares.take("a")
    with pytest.raises(OverBudget):
        shares.take("a")
    clock.advance(100)
    for _ in range(3):
        shares.take("a")
    with pytest.raises(OverBudget):
        shares.take("a")


def test_no_more_addresses_are_remembered_than_the_bound() -> None:
    shares = Shares(1, 1, ManualClock())
    shares.take("first")
    for number in range(ADDRESSES):
        shares.take(str(number))
    shares.take("first")  # forgotten
    with pytest.raises(OverBudget):
        shares.take(str(ADDRESSES - 1))


class Slow:
    """A signer that a test lets go, and which remembers the order."""

    public_key = b""
    algorithm = ECDSA_SHA256
    slow = True
    signature_size = 8

    def __init__(self) -> None:
        self.go = threading.Event()
        self.signed: list[bytes] = []

    def sign(self, data: bytes) -> bytes:
        self.signed.append(data)
        assert self.go.wait(30)
        return data


async def test_the_patient_wait_behind_the_others_and_take_no_place_from_them() -> None:
    gate = SigningGate(in_flight=1, waiters=1, deadline=30)
    signer = Slow()
    first = asyncio.create_task(gate.sign(signer, b"first", patient=True))
    while not signer.signed:
        await asyncio.sleep(0.001)
    tasks = [first, asyncio.create_task(gate.sign(signer, b"patient", patient=True))]
    await asyncio.sleep(0)
    with pytest.raises(SigningOverload):
        await gate.sign(signer, b"one too many", patient=True)
    tasks += [asyncio.create_task(gate.sign(signer, each)) for each in (b"urgent", b"urgent too")]
    await asyncio.sleep(0)
    with pytest.raises(SigningOverload):
        await gate.sign(signer, b"one too many")
    signer.go.set()
    await asyncio.gather(*tasks)
    assert signer.signed == [b"first", b"urgent", b"urgent too", b"patient"]
    gate.close()


async def test_over_its_share_a_client_is_told_when_to_come_back() -> None:
    world = World(settings=Settings(nonce_rate=0.1, nonce_burst=2))
    world.store.issue(world.ca.issuer.id, SERIAL)
    request = request_for(world.ca, nonce=bytes(32))
    outcomes = [(await world.responder.answer(request, "192.0.2.1")).outcome for _ in range(3)]
    assert outcomes == ["good", "good", "tryLater"]
    assert (await world.responder.answer(request, "192.0.2.1")).retry_after == 10
    assert (await world.responder.answer(request, "192.0.2.2")).outcome == "good"
    assert (await world.responder.answer(request_for(world.ca), "192.0.2.1")).outcome == "good"
    assert world.responder.over_budget == 2


async def test_the_fallback_is_the_answer_that_everyone_gets() -> None:
    signer = p256_signer()
    world = World(settings=Settings(nonce_rate=0.1, nonce_burst=1, nonce_fallback=True), signer=signer)
    world.store.issue(world.ca.issuer.id, SERIAL)
    request = request_for(world.ca, nonce=bytes(32))
    assert (await world.responder.answer(request, "192.0.2.1")).nonce
    plain = await world.responder.answer(request_for(world.ca))
    signatures = signer.signatures
    fallen = [await world.responder.answer(request, "192.0.2.1") for _ in range(3)]
    assert all(each is plain for each in fallen)
    assert signer.signatures == signatures
    world.store.revoke(world.ca.issuer.id, SERIAL)
    world.deliver()
    assert (await world.responder.answer(request, "192.0.2.1")).outcome == "revoked"
