"""Serial numbers of tokens, by block (RFC 3161 §2.4.2: unique for a TSA name, also after a crash)."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final

from ca_store.errors import StoreUnavailable

if TYPE_CHECKING:
    from ca_store.clock import Clock
    from ca_store.contracts import SerialBlockStore
    from ca_store.types import SerialBlock

SERIAL_SIZE: Final = 13
"""Octets of every serial: positive, minimal and of one length, so that it never changes a token's size."""

_PREFIX_SIZE: Final = 9
_COUNTER_SIZE: Final = SERIAL_SIZE - _PREFIX_SIZE
_FIRST_OCTETS: Final = range(0x40, 0x80)

log = logging.getLogger(__name__)


class SerialAllocator:
    """Hands out the serials of one TSA name in one process.

    A spare block is reserved in the background while the present one still lasts, so that a request waits for the
    store only at the very start, or when the store fails for as long as a block lasts. One reservation is under way at
    a time. What fails is never looked at again: a block exists here only after the store returned it.
    """

    def __init__(self, store: SerialBlockStore, tsa_name: bytes, clock: Clock, size: int, pause: float) -> None:
        self._store = store
        self._name = tsa_name
        self._clock = clock
        self._size = size
        self._pause = pause
        self._prefix = b""
        self._next = self._end = self._low = 0
        self._spare: SerialBlock | None = None
        self._refill: asyncio.Task[None] | None = None
        self._failed_at: float | None = None
        self._pid = os.getpid()

    async def take(self) -> bytes:
        """Contents octets of an INTEGER that no token of this name has. Raises StoreUnavailable."""
        if self._pid != os.getpid():
            self._forget()
        while self._next >= self._end:
            if self._spare is None:
                await self._reserve()
            else:
                self._open(self._spare)
        counter = self._next
        self._next = counter + 1
        if counter >= self._low and self._spare is None:
            self._start_refill()
        return self._prefix + counter.to_bytes(_COUNTER_SIZE, "big")

    async def close(self) -> None:
        """Stop a reservation that is under way."""
        if self._refill is not None:
            self._refill.cancel()
            await asyncio.gather(self._refill, return_exceptions=True)

    def _forget(self) -> None:
        """After a fork the block belongs to the parent."""
        self._pid = os.getpid()
        self._next = self._end = self._low = 0
        self._spare = self._refill = self._failed_at = None

    def _open(self, block: SerialBlock) -> None:
        self._spare = None
        self._prefix, self._next, self._end = block.prefix, 0, block.size
        self._low = block.size // 2

    async def _reserve(self) -> None:
        """Wait for the one reservation that is under way. Raises StoreUnavailable when it or one just before failed."""
        task = self._start_refill()
        if task is not None:
            # A client that hangs up must not take the block away from the others that wait for it.
            await asyncio.shield(task)
        if self._failed_at is not None:
            raise StoreUnavailable("no block of serials could be reserved")

    def _start_refill(self) -> asyncio.Task[None] | None:
        if self._refill is None or self._refill.done():
            failed_at = self._failed_at
            if failed_at is not None and self._clock.monotonic() - failed_at < self._pause:
                return None
            self._refill = asyncio.get_running_loop().create_task(self._fill())
        return self._refill

    async def _fill(self) -> None:
        try:
            block = await self._store.reserve_serials(self._name, self._size, int(self._clock.now()))
            _check_block(block)
        except Exception as error:  # noqa: BLE001 - whatever failed, the block is not ours; told once per outage
            if self._failed_at is None:
                log.error("time-stamp serials cannot be reserved: %s", error)  # noqa: TRY400 - a store's outage has no use for our stack
            self._failed_at = self._clock.monotonic()
        else:
            if self._failed_at is not None:
                log.warning("time-stamp serials can be reserved again")
            self._failed_at = None
            self._spare = block


def _check_block(block: SerialBlock) -> None:
    """Raise StoreUnavailable when serials of this block would not be positive, minimal and of one length."""
    if (
        len(block.prefix) != _PREFIX_SIZE
        or block.prefix[0] not in _FIRST_OCTETS
        or not 0 < block.size <= 1 << (8 * _COUNTER_SIZE)
    ):
        raise StoreUnavailable("the store returned a block of serials that does not keep its promise")
