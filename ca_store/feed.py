"""What the change feeds of both dialects share: the moment they vouch for, and following again after a loss."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from ca_store.engine import store_errors
from ca_store.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ca_store.clock import Clock
    from ca_store.types import Change

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 0.5
"""Pause before a lost database is tried again: steady, because answers cost a look-up each until it is back."""


class Feed(ABC):
    """``ca_store.contracts.ChangeFeed``; subclasses say how to follow one connection."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.confirmed = 0.0  # a monotonic clock is past that

    async def run(self, deliver: Callable[[Sequence[Change]], None], reset: Callable[[], None]) -> None:
        lost = False

        def connected() -> None:
            nonlocal lost
            if lost:
                log.warning("change feed is back")
            lost = False
            reset()

        while True:
            try:
                with store_errors():
                    await self._follow(deliver, connected)
            except StoreUnavailable as error:
                if not lost:
                    log.error("change feed lost: %s", error)  # noqa: TRY400 - the sentence says it all
                lost = True
            await asyncio.sleep(RETRY_SECONDS)

    @abstractmethod
    async def _follow(self, deliver: Callable[[Sequence[Change]], None], connected: Callable[[], None]) -> None:
        """Connect, call ``connected``, then deliver and move ``confirmed`` until the connection fails."""
