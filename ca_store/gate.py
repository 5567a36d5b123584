"""Bounded signing: slow signatures leave the event loop, and too many of them are refused rather than queued.

Quick ones stay on it, but those that are wanted in one pass of the loop are made one after another at its end: what a
signature needs of the processor's caches it then finds there, which makes it a third cheaper.

The threads are a plain queue's: ``concurrent.futures`` and its way back to the loop cost 45 µs more for each signature,
which is two in a hundred of an RSA-3072 one.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from ca_store.clock import Clock, SystemClock
from ca_store.errors import SigningOverload

if TYPE_CHECKING:
    from ca_store.signing import Signer

_SYSTEM_CLOCK: Final = SystemClock()


class _Job(NamedTuple):
    """One signature that somebody waits for."""

    loop: asyncio.AbstractEventLoop
    result: asyncio.Future[bytes]
    signer: Signer
    data: bytes
    due: float


class _Wish(NamedTuple):
    """One quick signature that is wanted in this pass of the loop."""

    result: asyncio.Future[bytes]
    signer: Signer
    data: bytes


class SigningGate:
    """Lets a bounded number of slow signatures run and a bounded number wait.

    What waits, waits in the threads' own queues, so that a thread goes from one signature to the next without asking
    the event loop in between. There are two of them, each with the same bounds: what is *patient* is signed when none
    of the others waits, and takes no place from them.

    Args:
        in_flight: signatures under way at once; about the core count plus one (the GIL is released while RSA signs).
        waiters: requests that may wait for a turn; beyond, the next one is refused at once.
        deadline: seconds after which a request whose turn has not come is refused when it comes.
        clock: measures the waiting.
    """

    def __init__(self, in_flight: int, waiters: int, deadline: float, clock: Clock = _SYSTEM_CLOCK) -> None:
        self._turns: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """True for each job that was put into a queue, False for each thread that is to end."""
        self._queues: tuple[deque[_Job], deque[_Job]] = (deque(), deque())
        """What is urgent, and what is patient."""
        self._threads = [
            threading.Thread(target=self._work, name=f"signing-{number}", daemon=True) for number in range(in_flight)
        ]
        for thread in self._threads:
            thread.start()
        self.waiters = waiters
        self.deadline = deadline
        self._most = in_flight + waiters
        self._clock = clock
        self._pending = [0, 0]
        self._wishes: list[_Wish] = []
        self.refused = 0
        """How many were refused since the start."""

    @property
    def waiting(self) -> int:
        """How many wait for a turn now."""
        return max(0, sum(self._pending) - len(self._threads))

    async def sign(self, signer: Signer, data: bytes, *, patient: bool = False) -> bytes:
        """Sign ``data``: on the loop when the signer is quick, in a thread when it is slow. Raises SigningOverload."""
        loop = asyncio.get_running_loop()
        if not signer.slow:
            if not self._wishes:
                loop.call_soon(self._grant)
            wish = _Wish(loop.create_future(), signer, data)
            self._wishes.append(wish)
            return await wish.result
        if self._pending[patient] >= self._most:
            self.refused += 1
            raise SigningOverload(f"{self.waiting} signatures are waiting already")
        job = _Job(loop, loop.create_future(), signer, data, self._clock.monotonic() + self.deadline)
        self._pending[patient] += 1
        self._queues[patient].append(job)
        self._turns.put(True)
        try:
            return await job.result
        except SigningOverload:
            self.refused += 1
            raise
        finally:
            self._pending[patient] -= 1

    def _grant(self) -> None:
        """Make every quick signature that is wanted by now."""
        wishes, self._wishes = self._wishes, []
        for result, signer, data in wishes:
            if result.done():  # its caller has gone
                continue
            try:
                result.set_result(signer.sign(data))
            except Exception as error:  # noqa: BLE001 - whatever it is, the one who waits must learn of it
                result.set_exception(error)

    def _work(self) -> None:
        """One thread's life: sign what comes until it is told to end."""
        while self._turns.get():
            job = self._next()
            if job.result.done():  # its caller has gone
                continue
            signature: bytes | BaseException
            try:
                signature = self._signature(job)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the one who waits must learn of it
                signature = error
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                job.loop.call_soon_threadsafe(_settle, job.result, signature)

    def _next(self) -> _Job:
        """The job of one turn; there is one for each."""
        urgent, patient = self._queues
        try:
            return urgent.popleft()
        except IndexError:
            return patient.popleft()

    def _signature(self, job: _Job) -> bytes:
        if self._clock.monotonic() > job.due:
            raise SigningOverload(f"no turn to sign within {self.deadline:g} s")
        return job.signer.sign(job.data)

    def close(self) -> None:
        """Let signatures under way finish and give up those that wait."""
        with contextlib.suppress(queue.Empty):
            while self._turns.get_nowait():
                self._next().result.cancel()
        for _ in self._threads:
            self._turns.put(False)
        for thread in self._threads:
            thread.join()


def _settle(result: asyncio.Future[bytes], signature: bytes | BaseException) -> None:
    """On the loop: hand over what the thread has, unless the one who waited has gone."""
    if result.done():
        return
    if isinstance(signature, BaseException):
        result.set_exception(signature)
    else:
        result.set_result(signature)
