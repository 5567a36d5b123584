"""The guard between the host's clock and genTime: no time is given out that is not known good.

RFC 3161 §2.1 item 1 wants a trustworthy time; by EN 319 421 §7.7.2 time-stamps shall not be issued out of the stated
accuracy; CSBR §6.8 wants drift and jumps detected.

Steps show at once, because the monotonic clock takes part in every slewing but in no step. What only a comparison with
others can show comes as a ``Measurement``, from whoever makes it.
"""

from __future__ import annotations

import enum
import logging
import math
from typing import TYPE_CHECKING, Final, NamedTuple

from ca_store.errors import SigningOverload
from tsa.errors import TimeNotAvailable

if TYPE_CHECKING:
    from ca_store.clock import Clock
    from tsa.settings import ClockSettings

_DAY: Final = 86_400
_LEAP_MARGIN: Final = 2.0
"""Seconds before and after midnight UTC in which no time is given out when a leap second is due."""
_LEAP: Final = 1.0
_APART: Final = 0.01
"""Seconds that may pass around a reading of the clock that is compared with the monotonic one."""
_LOOKS: Final = 4
"""How often it is read again when it was more."""

log = logging.getLogger(__name__)


class ClockFault(enum.StrEnum):
    """Why the clock cannot be trusted: the names that metrics, ``/readyz`` and the log use."""

    STEP = "step"
    BACKWARD = "backward"
    LEAP_SECOND = "leap_second"
    SOURCE_LOST = "source_lost"
    UNSYNCHRONISED = "unsynchronised"
    ERROR_BOUND = "error_bound"


SENTENCES: Final = {
    ClockFault.STEP: "the clock was set; no token is issued until it has run evenly for a while",
    ClockFault.BACKWARD: "the clock was set back; no token is issued until it has caught up",
    ClockFault.LEAP_SECOND: "a leap second is at hand",
    ClockFault.SOURCE_LOST: "nothing has been heard of the clock's error",
    ClockFault.UNSYNCHRONISED: "the clock is not synchronised",
    ClockFault.ERROR_BOUND: "the clock's error may be greater than the stated accuracy leaves for it",
}


class Measurement(NamedTuple):
    """What a source says of the host's clock."""

    at: float
    """Monotonic seconds."""
    synchronised: bool
    error_bound: float
    """Seconds by which the clock is wrong at most."""
    leap_due: bool = False
    """Whether the present UTC day ends with a leap second, or one is under way."""


class ClockGuard:
    """Readings of one clock, or TimeNotAvailable. Belongs to one event loop.

    Time never goes back within one process: behind the last reading nothing is given out until the clock has caught up,
    but for ``tolerance``, within which the last reading is repeated.
    """

    def __init__(self, clock: Clock, settings: ClockSettings) -> None:
        self._clock = clock
        self._settings = settings
        self._tolerance = settings.tolerance
        self._measured = settings.source != "host"
        reading, moment = self._look()
        self._offset = reading - moment
        self._last = 0.0
        self._held_until = -math.inf
        self._measurement: Measurement | None = None
        self._fault: ClockFault | None = None
        self.faults: dict[ClockFault, int] = dict.fromkeys(ClockFault, 0)
        """How often each began."""

    @property
    def error_bound(self) -> float:
        """Seconds by which the clock is taken to be wrong at most; without a measurement the tolerance."""
        return self._bound(self._clock.monotonic())

    def report(self, measurement: Measurement) -> None:
        """Take note of what a source says."""
        self._measurement = measurement

    def check(self, slack: float) -> ClockFault | None:
        """What is wrong with the clock at present, for the token that leaves it the least: ``slack`` seconds."""
        reading, moment = self._look()
        fault = self._judge(reading, moment, slack)
        self._note(fault, reading)
        return fault

    def read(self, slack: float) -> float:
        """POSIX seconds, for a token that leaves ``slack`` seconds for the clock's error. Raises TimeNotAvailable."""
        reading, moment = self._look()
        fault = self._judge(reading, moment, slack)
        if fault is not None:
            self._note(fault, reading)
            raise _refusal(fault)
        # Where the error fits one unit's accuracy and not another's, only ``check`` says that it is over.
        if self._fault not in (None, ClockFault.ERROR_BOUND):
            self._note(None, reading)
        self._last = max(self._last, reading)
        return self._last

    def check_covers(self, gen_time: float, accuracy: float) -> None:
        """Refuse a token whose time is not that of its creation: ``gen_time`` and ``accuracy`` (seconds) must still
        contain the present when the signature is made. Raises SigningOverload when it waited too long, TimeNotAvailable
        when the clock was set meanwhile.
        """
        reading, moment = self._look()
        if abs(reading - moment - self._offset) > self._tolerance or reading < gen_time - self._tolerance:
            fault = self._judge(reading, moment, math.inf) or ClockFault.BACKWARD
            self._note(fault, reading)
            raise _refusal(fault)
        if reading + self._bound(moment) > gen_time + accuracy:
            raise SigningOverload("the signature came too late for the time it states")

    def _look(self) -> tuple[float, float]:
        """POSIX and monotonic seconds of one moment. A process that is put to sleep between two readings, by a busy
        host or a paused machine, would take the pause for a step.
        """
        before, reading, moment = self._clock.monotonic(), self._clock.now(), self._clock.monotonic()
        for _ in range(_LOOKS):
            if moment - before <= _APART:
                break
            before, reading, moment = moment, self._clock.now(), self._clock.monotonic()
        return reading, moment

    def _bound(self, moment: float) -> float:
        measurement = self._measurement
        if measurement is None:
            return self._tolerance
        return measurement.error_bound + max(0.0, moment - measurement.at) * self._settings.drift_ppm * 1e-6

    def _judge(self, reading: float, moment: float, slack: float) -> ClockFault | None:
        step = reading - moment - self._offset
        if abs(step) > self._tolerance:
            self._offset += step
            if not (self._at_leap(reading) and abs(abs(step) - _LEAP) <= self._tolerance):
                log.error("the clock was set by %+.3f s", step)
                self._held_until = moment + self._settings.settle_seconds
        if reading < self._last - self._tolerance:
            return ClockFault.BACKWARD
        if moment < self._held_until:
            return ClockFault.STEP
        if self._at_leap(reading):
            return ClockFault.LEAP_SECOND
        if self._measured:
            return self._judge_measurement(moment, slack)
        return None if self._tolerance <= slack else ClockFault.ERROR_BOUND

    def _judge_measurement(self, moment: float, slack: float) -> ClockFault | None:
        measurement = self._measurement
        if measurement is None or moment - measurement.at > self._settings.patience:
            return ClockFault.SOURCE_LOST
        if not measurement.synchronised:
            return ClockFault.UNSYNCHRONISED
        return ClockFault.ERROR_BOUND if self._bound(moment) > slack else None

    def _at_leap(self, reading: float) -> bool:
        measurement = self._measurement
        if measurement is None or not measurement.leap_due:
            return False
        return not _LEAP_MARGIN <= reading % _DAY < _DAY - _LEAP_MARGIN

    def _note(self, fault: ClockFault | None, reading: float) -> None:
        """Count and log what begins and what ends."""
        if fault is self._fault:
            return
        self._fault = fault
        if fault is None:
            log.warning("the clock is good again: time-stamps again")
            return
        self.faults[fault] += 1
        log.error(
            "no time-stamps: %s (clock %.3f, last time given out %.3f, error at most %.3f s)",
            SENTENCES[fault],
            reading,
            self._last,
            self.error_bound,
        )


def _refusal(fault: ClockFault) -> TimeNotAvailable:
    sentence = SENTENCES[fault]
    return TimeNotAvailable(f"{sentence[0].upper()}{sentence[1:]}.")
