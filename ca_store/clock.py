"""The one place that reads a clock. Everything else is handed a ``Clock``."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall-clock and monotonic time."""

    def now(self) -> float:
        """POSIX seconds, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never step back."""
        ...


class SystemClock:
    """The host's clocks."""

    def now(self) -> float:
        """POSIX seconds, UTC, from the host."""
        return time.time()

    def monotonic(self) -> float:
        """The host's CLOCK_MONOTONIC."""
        return time.monotonic()
