"""Signatures under way and waiting are bounded."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

import pytest

from ca_store.errors import KeyUnavailable, SigningOverload
from ca_store.gate import SigningGate
from ca_store.signing import SHA256_RSA, SignatureAlgorithm


@dataclass
class Held:
    """A signer that finishes when it is let go."""

    slow: bool = True
    public_key: bytes = b""
    algorithm: SignatureAlgorithm = SHA256_RSA
    signature_size: int = 8
    go: threading.Event = field(default_factory=threading.Event)
    threads: set[int] = field(default_factory=set)
    signed: list[bytes] = field(default_factory=list)

    def sign(self, data: bytes) -> bytes:
        self.threads.add(threading.get_ident())
        self.signed.append(data)
        assert self.go.wait(30)
        return b"signed " + data


async def begun(signer: Held) -> None:
    """Wait until a thread has taken its first job."""
    while not signer.signed:
        await asyncio.sleep(0.001)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_quick_signer_stays_on_the_loop() -> None:
    gate = SigningGate(1, 0, 1)
    signer = Held(slow=False)
    signer.go.set()
    assert await gate.sign(signer, b"a") == b"signed a"
    assert signer.threads == {threading.get_ident()}
    gate.close()


async def test_waiters_past_the_bound_are_refused_at_once() -> None:
    gate = SigningGate(in_flight=1, waiters=2, deadline=30)
    signer = Held()
    tasks = [asyncio.create_task(gate.sign(signer, bytes((65 + number,)))) for number in range(3)]
    await turn()
    assert gate.waiting == 2
    with pytest.raises(SigningOverload, match="2 signatures are waiting"):
        await gate.sign(signer, b"x")
    signer.go.set()
    assert await asyncio.gather(*tasks) == [b"signed A", b"signed B", b"signed C"]
    assert (gate.waiting, gate.refused) == (0, 1)
    assert threading.get_ident() not in signer.threads
    gate.close()


@dataclass
class Stopped:
    """A clock that moves when it is told."""

    moment: float = 0.0

    def now(self) -> float:
        return self.moment

    def monotonic(self) -> float:
        return self.moment


async def test_a_wait_past_the_deadline_is_refused() -> None:
    clock = Stopped()
    gate = SigningGate(in_flight=1, waiters=5, deadline=2, clock=clock)
    signer = Held()
    first = asyncio.create_task(gate.sign(signer, b"a"))
    await begun(signer)
    late = asyncio.create_task(gate.sign(signer, b"b"))
    await turn()
    clock.moment = 2.5
    in_time = asyncio.create_task(gate.sign(signer, b"c"))
    await turn()
    signer.go.set()
    assert await first == b"signed a"
    with pytest.raises(SigningOverload, match="no turn to sign within 2 s"):
        await late
    assert await in_time == b"signed c"
    assert (gate.waiting, gate.refused) == (0, 1)
    gate.close()


async def test_a_caller_that_goes_away_leaves_no_trace() -> None:
    gate = SigningGate(in_flight=1, waiters=1, deadline=30)
    signer = Held()
    running = asyncio.create_task(gate.sign(signer, b"a"))
    await begun(signer)
    waiting = asyncio.create_task(gate.sign(signer, b"b"))
    await turn()
    for task in (running, waiting):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    last = asyncio.create_task(gate.sign(signer, b"c"))
    await turn()
    signer.go.set()
    assert await last == b"signed c"
    assert (gate.waiting, gate.refused, signer.signed) == (0, 0, [b"a", b"c"])
    gate.close()


class Broken(Held):
    """A signer whose key has gone."""

    def sign(self, data: bytes) -> bytes:
        raise KeyUnavailable(f"no key for {data!r}")


async def test_what_a_signer_raises_reaches_the_one_who_waits() -> None:
    gate = SigningGate(in_flight=1, waiters=1, deadline=30)
    with pytest.raises(KeyUnavailable, match="no key for b'a'"):
        await gate.sign(Broken(), b"a")
    gate.close()


async def test_closing_finishes_what_is_under_way_and_gives_up_what_waits() -> None:
    gate = SigningGate(in_flight=1, waiters=1, deadline=30)
    signer = Held()
    running = asyncio.create_task(gate.sign(signer, b"a"))
    await begun(signer)
    waiting = asyncio.create_task(gate.sign(signer, b"b"))
    await turn()
    threading.Timer(0.2, signer.go.set).start()  # while close waits for the one under way
    gate.close()
    assert await running == b"signed a"
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert signer.signed == [b"a"]


async def test_quick_signatures_of_one_pass_are_made_together() -> None:
    gate = SigningGate(1, 0, 1)

    @dataclass
    class Quick(Held):
        def sign(self, data: bytes) -> bytes:
            if data == b"b":
                raise KeyUnavailable("it has gone")
            self.signed.append(data)
            return data

    signer = Quick(slow=False)
    tasks = [asyncio.create_task(gate.sign(signer, each)) for each in (b"a", b"b", b"c", b"d")]
    await asyncio.sleep(0)
    assert signer.signed == []
    tasks[2].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in results] == [bytes, KeyUnavailable, asyncio.CancelledError, bytes]
    assert signer.signed == [b"a", b"d"]
    gate.close()
