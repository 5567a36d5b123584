"""Signatures under way and waiting are bounded."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

import pytest

from ca_store.errors import SigningOverload
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

    def sign(self, data: bytes) -> bytes:
        self.threads.add(threading.get_ident())
        assert self.go.wait(30)
        return b"signed " + data


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


async def test_a_wait_past_the_deadline_is_refused() -> None:
    gate = SigningGate(in_flight=1, waiters=5, deadline=0.02)
    signer = Held()
    first = asyncio.create_task(gate.sign(signer, b"a"))
    await turn()
    with pytest.raises(SigningOverload, match="no turn to sign within 0.02 s"):
        await gate.sign(signer, b"b")
    signer.go.set()
    assert await first == b"signed a"
    assert await gate.sign(signer, b"c") == b"signed c"
    gate.close()


async def test_a_caller_that_goes_away_gives_its_turn_back_when_the_thread_is_done() -> None:
    gate = SigningGate(in_flight=1, waiters=1, deadline=30)
    signer = Held()
    first = asyncio.create_task(gate.sign(signer, b"a"))
    await turn()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(gate.sign(signer, b"b"))
    await turn()
    assert gate.waiting == 1
    signer.go.set()
    assert await second == b"signed b"
    gate.close()
