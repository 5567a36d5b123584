"""Bounded signing: slow signatures leave the event loop, and too many of them are refused rather than queued."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from ca_store.clock import Clock, SystemClock
from ca_store.errors import SigningOverload

if TYPE_CHECKING:
    from ca_store.signing import Signer

_SYSTEM_CLOCK: Final = SystemClock()


class SigningGate:
    """Lets a bounded number of slow signatures run and a bounded number wait.

    What waits, waits in the threads' own queue, so that a thread goes from one signature to the next without asking the
    event loop in between.

    Args:
        in_flight: signatures under way at once; about the core count plus one (the GIL is released while RSA signs).
        waiters: requests that may wait for a turn; beyond, the next one is refused at once.
        deadline: seconds after which a request whose turn has not come is refused when it comes.
        clock: measures the waiting.
    """

    def __init__(self, in_flight: int, waiters: int, deadline: float, clock: Clock = _SYSTEM_CLOCK) -> None:
        self._threads = ThreadPoolExecutor(in_flight, thread_name_prefix="signing")
        self._in_flight = in_flight
        self._waiters = waiters
        self._deadline = deadline
        self._clock = clock
        self._pending = 0
        self.refused = 0
        """How many were refused since the start."""

    @property
    def waiting(self) -> int:
        """How many wait for a turn now."""
        return max(0, self._pending - self._in_flight)

    async def sign(self, signer: Signer, data: bytes) -> bytes:
        """Sign ``data``: in place when the signer is quick, in a thread when it is slow. Raises SigningOverload."""
        if not signer.slow:
            return signer.sign(data)
        if self._pending >= self._in_flight + self._waiters:
            self.refused += 1
            raise SigningOverload(f"{self.waiting} signatures are waiting already")
        due = self._clock.monotonic() + self._deadline
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._sign, signer, data, due)
        except SigningOverload:
            self.refused += 1
            raise
        finally:
            self._pending -= 1

    def _sign(self, signer: Signer, data: bytes, due: float) -> bytes:
        if self._clock.monotonic() > due:
            raise SigningOverload(f"no turn to sign within {self._deadline:g} s")
        return signer.sign(data)

    def close(self) -> None:
        """Let signatures under way finish and take no new ones."""
        self._threads.shutdown(wait=True, cancel_futures=True)
