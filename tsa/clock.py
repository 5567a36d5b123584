"""The guard between the host's clock and genTime."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ca_store.errors import SigningOverload
from tsa.errors import TimeNotAvailable

if TYPE_CHECKING:
    from ca_store.clock import Clock

log = logging.getLogger(__name__)


class TokenClock:
    """Whole seconds for genTime that never go back within one process.

    ``tolerance`` (seconds) is how far the clock may be set back behind the last genTime and still be taken for right:
    the last genTime is repeated then. Behind that nothing is issued until the clock has caught up (RFC 3161 §2.1
    item 1; EN 319 421 §7.7.2: out of the stated accuracy, time-stamps shall not be issued).
    """

    def __init__(self, clock: Clock, tolerance: float) -> None:
        self._clock = clock
        self._tolerance = tolerance
        self._last = 0
        self._set_back = False

    def gen_time(self) -> int:
        """POSIX seconds, cut and never rounded up. Raises TimeNotAvailable."""
        reading = self._clock.now()
        seconds = int(reading)
        if seconds >= self._last:
            self._last = seconds
        elif reading < self._last - self._tolerance:
            if not self._set_back:
                log.error("the clock went back by %.3f s or more: no time-stamps", self._last - reading)
            self._set_back = True
            raise TimeNotAvailable("The clock was set back; no token is issued until it has caught up.")
        if self._set_back:
            log.warning("the clock has caught up: time-stamps again")
            self._set_back = False
        return self._last

    def check_covers(self, gen_time: int, accuracy: int) -> None:
        """Refuse a token whose time is not that of its creation: ``gen_time`` and ``accuracy`` (seconds) must still
        contain the present when the signature is made. Raises SigningOverload when it waited too long, TimeNotAvailable
        when the clock was set back meanwhile.
        """
        reading = self._clock.now()
        if reading > gen_time + accuracy - self._tolerance:
            raise SigningOverload("the signature came too late for the time it states")
        if reading < gen_time - self._tolerance:
            raise TimeNotAvailable("The clock was set back; no token is issued until it has caught up.")
