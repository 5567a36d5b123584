"""What answers with a nonce may cost. Each is made for one client and needs a signature, so they must not take the time
of those that everyone shares.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from ca_store.errors import SigningOverload

if TYPE_CHECKING:
    from ca_store.clock import Clock

PER_PASS: Final = 16
"""Answers with a nonce in one pass of the event loop; about a millisecond's worth with ECDSA."""
ADDRESSES: Final = 65_536
"""The most addresses that are remembered; who asked longest ago is forgotten first."""


class OverBudget(SigningOverload):
    """An address has had its share; ``seconds`` until it may have one more."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"this address may ask with a nonce again in {seconds} s")
        self.seconds = seconds


class Turns:
    """Spreads answers with a nonce over the passes of the event loop.

    One pass serves every connection that has something to say. However many of them ask with a nonce, only so many are
    served in it, and a connection that asks without one waits for no more than those.

    Args:
        waiters: how many may wait for a later pass; beyond, the next one is refused at once.
        deadline: seconds after which one whose turn has not come is refused.
        clock: measures the waiting.
    """

    def __init__(self, waiters: int, deadline: float, clock: Clock) -> None:
        self._most = waiters
        self._deadline = deadline
        self._clock = clock
        self._left = PER_PASS
        self._counting = False
        """Whether the next pass will call."""
        self._waiting: deque[tuple[asyncio.Future[None], float]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a turn now."""
        return len(self._waiting)

    async def take(self) -> None:
        """Return when it is this request's turn. Raises SigningOverload."""
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._next_pass)
        if self._left:
            self._left -= 1
            return
        if len(self._waiting) >= self._most:
            raise SigningOverload(f"{len(self._waiting)} requests with a nonce are waiting already")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, self._clock.monotonic() + self._deadline))
        await turn

    def _next_pass(self) -> None:
        idle = self._left == PER_PASS
        self._left = PER_PASS
        now = self._clock.monotonic()
        while self._left and self._waiting:
            turn, due = self._waiting.popleft()
            if turn.done():  # its client has gone
                continue
            if now > due:
                turn.set_exception(SigningOverload(f"no turn to answer with a nonce within {self._deadline:g} s"))
            else:
                turn.set_result(None)
                self._left -= 1
        self._counting = not idle or self._left < PER_PASS
        if self._counting:
            asyncio.get_running_loop().call_soon(self._next_pass)


class Shares:
    """So many answers with a nonce for each address, by the generic cell rate algorithm.

    Args:
        rate: answers per second and address.
        burst: answers at once for an address that has not asked for a while.
        clock: measures the time between them.
    """

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        self._interval = 1 / rate
        self._slack = (burst - 1) * self._interval
        self._clock = clock
        self._spent: OrderedDict[str, float] = OrderedDict()
        """Address to when all that it had would have been due."""

    def take(self, address: str) -> None:
        """Count one answer. Raises OverBudget."""
        now = self._clock.monotonic()
        spent = max(now, self._spent.get(address, now))
        wait = spent - now - self._slack
        if wait > 0:
            raise OverBudget(math.ceil(wait))
        self._spent[address] = spent + self._interval
        self._spent.move_to_end(address)
        if len(self._spent) > ADDRESSES:
            self._spent.popitem(last=False)
