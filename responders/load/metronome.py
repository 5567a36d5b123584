"""Ticks that come when they are due: asyncio's own timers are as coarse as a millisecond."""

from __future__ import annotations

import ctypes
import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_NONBLOCK_CLOEXEC: Final = 0o4000 | 0o2000000
_SHORTEST: Final = 200e-6
"""Seconds. Questions due within one tick are sent together; ticks any faster would cost more than they tell."""


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("first", _TimeSpec))


class Metronome:
    """Calls ``tick`` every ``interval`` seconds, or as often as makes sense, until it is stopped. Uses Linux's timerfd,
    where there is none the loop's timers.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float, tick: Callable[[], None]) -> None:
        self._loop, self._tick = loop, tick
        self._interval = max(interval, _SHORTEST)
        self._handle: asyncio.TimerHandle | None = None
        self._timer = _open_timer(self._interval)
        if self._timer is None:
            self._again()
        else:
            loop.add_reader(self._timer, self._expired)

    def stop(self) -> None:
        """No more ticks."""
        if self._timer is not None:
            self._loop.remove_reader(self._timer)
            os.close(self._timer)
            self._timer = None
        if self._handle is not None:
            self._handle.cancel()

    def _expired(self) -> None:
        if self._timer is None:
            return
        try:
            os.read(self._timer, 8)
        except BlockingIOError:
            return
        self._tick()

    def _again(self) -> None:
        self._handle = self._loop.call_later(self._interval, self._again)
        self._tick()


def _open_timer(interval: float) -> int | None:
    """A descriptor that is readable every ``interval`` seconds; None when the system has no such thing."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "timerfd_create"):
        return None
    timer: int = library.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
    if timer < 0:
        return None
    seconds, fraction = divmod(interval, 1)
    each = _TimeSpec(int(seconds), int(fraction * 1e9))
    if library.timerfd_settime(timer, 0, ctypes.byref(_Timer(each, each)), None) != 0:
        os.close(timer)
        return None
    return timer
