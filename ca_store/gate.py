"""Bounded signing: slow signatures leave the event loop, and too many of them are refused rather than queued."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ca_store.errors import SigningOverload

if TYPE_CHECKING:
    from ca_store.signing import Signer


class SigningGate:
    """Lets a bounded number of slow signatures run and a bounded number wait.

    Args:
        in_flight: signatures under way at once; about the core count plus one (the GIL is released while RSA signs).
        waiters: requests that may wait for a turn; beyond, the next one is refused at once.
        deadline: seconds a request waits at the most.
    """

    def __init__(self, in_flight: int, waiters: int, deadline: float) -> None:
        self._threads = ThreadPoolExecutor(in_flight, thread_name_prefix="signing")
        self._turns = asyncio.Semaphore(in_flight)
        self._waiters = waiters
        self._deadline = deadline
        self.waiting = 0
        """How many wait now."""
        self.refused = 0
        """How many were refused since the start."""

    async def sign(self, signer: Signer, data: bytes) -> bytes:
        """Sign ``data``: in place when the signer is quick, in a thread when it is slow. Raises SigningOverload."""
        if not signer.slow:
            return signer.sign(data)
        if self._turns.locked():
            await self._wait()
        else:
            await self._turns.acquire()
        future = asyncio.get_running_loop().run_in_executor(self._threads, signer.sign, data)
        # The turn ends when the thread is done, not when an impatient caller goes away.
        future.add_done_callback(lambda _: self._turns.release())
        return await asyncio.shield(future)

    async def _wait(self) -> None:
        if self.waiting >= self._waiters:
            self.refused += 1
            raise SigningOverload(f"{self.waiting} signatures are waiting already")
        self.waiting += 1
        try:
            async with asyncio.timeout(self._deadline):
                await self._turns.acquire()
        except TimeoutError:
            self.refused += 1
            raise SigningOverload(f"no turn to sign within {self._deadline:g} s") from None
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """Let signatures under way finish and take no new ones."""
        self._threads.shutdown(wait=True, cancel_futures=True)
