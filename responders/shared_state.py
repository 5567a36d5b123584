"""What the processes of one server share: one page of 64-bit words that every process maps.

Each worker owns one row (counters, gauges, a sign of life) and is the only writer of it; the supervisor reads all rows.
A replaced worker goes on with the row of the one before, so counters only grow. One word in front of the rows, the
epoch, is written by all (see ``ocsp.types.Epoch``).
"""

from __future__ import annotations

import mmap
import os
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from responders.counters import BUCKETS, COUNTERS, GAUGES, HISTOGRAMS
from tsa.clock import ClockFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WORD: Final = 8
_ROWS: Final = 2
_GAUGE_AT: Final = {name: len(COUNTERS) + at for at, name in enumerate(GAUGES)}
_LAST_BUCKET: Final = len(BUCKETS)
# The buckets, one for what is beyond them, and the sum in microseconds.
_HISTOGRAM_AT: Final = {
    name: len(COUNTERS) + len(GAUGES) + at * (_LAST_BUCKET + 2) for at, name in enumerate(HISTOGRAMS)
}
_BEGIN: Final = len(COUNTERS) + len(GAUGES) + len(HISTOGRAMS) * (_LAST_BUCKET + 2)
_HEARTBEAT, _READY, _CONFIRMED, _STORE, _SIGNERS, _CLOCK, _CLOCK_ERROR, _LOG = _STATE = range(_BEGIN, _BEGIN + 8)
_ROW: Final = _STATE.stop
_CLOCK_FAULTS: Final[tuple[ClockFault | None, ...]] = (None, *ClockFault)
_NANO: Final = 1_000_000_000
_MICRO: Final = 1_000_000
_MOST_SECONDS: Final = 1e9


class SharedState:
    """The mapped words of a server with ``workers`` seats, each of which has two rows: a worker and its successor live
    side by side while one takes over from the other.
    """

    def __init__(self, descriptor: int, workers: int) -> None:
        self.descriptor = descriptor
        self.workers = workers
        self.seated = list(range(workers))
        """The row in use at each seat, as far as this process knows: the supervisor is the one that does."""
        self._words = memoryview(mmap.mmap(descriptor, _size(workers))).cast("Q")

    @classmethod
    def create(cls, workers: int) -> SharedState:
        """Fresh words, all zero, in memory that has no name and goes away with the last process."""
        descriptor = os.memfd_create("responders")
        os.ftruncate(descriptor, _size(workers))
        return cls(descriptor, workers)

    @property
    def epoch(self) -> SharedEpoch:
        """The word that all workers share."""
        return SharedEpoch(self._words[:1])

    def row(self, number: int) -> Row:
        """One row, counted from 0: those of the first workers, then those of their successors."""
        if not 0 <= number < _ROWS * self.workers:
            raise ValueError(f"there is no worker {number}")
        begin = 1 + number * _ROW
        return Row(self._words[begin : begin + _ROW])

    def rows(self) -> Iterator[Row]:
        """The row of every seat's worker."""
        return (self.row(number) for number in self.seated)

    def all_rows(self) -> Iterator[Row]:
        """Every row there is: what was counted in one stays counted."""
        return (self.row(number) for number in range(_ROWS * self.workers))

    def successor(self, seat: int) -> int:
        """The row of a seat that is not in use."""
        return (self.seated[seat] + self.workers) % (_ROWS * self.workers)


def _size(workers: int) -> int:
    return (1 + _ROWS * workers * _ROW) * _WORD


class SharedEpoch:
    """An ``ocsp.types.Epoch`` over one word; a write of a word is atomic on every 64-bit machine."""

    __slots__ = ("_word",)

    def __init__(self, word: memoryview) -> None:
        self._word = word

    def read(self) -> int:
        """The present value."""
        value: int = self._word[0]
        return value

    def advance(self) -> None:
        """Two that advance at once may write the same value; each then still differs from all values seen before."""
        self._word[0] = max(time.monotonic_ns(), self._word[0] + 1)


class Row:
    """One worker's words. Moments are seconds of CLOCK_MONOTONIC, which all processes of a machine share."""

    __slots__ = ("words",)

    def __init__(self, words: memoryview) -> None:
        self.words = words

    @property
    def heartbeat(self) -> float:
        """The last sign of life; 0 before the first."""
        return float(self.words[_HEARTBEAT]) / _NANO

    @property
    def ready(self) -> bool:
        """Whether the worker has loaded everything and is accepting connections."""
        return bool(self.words[_READY])

    @ready.setter
    def ready(self, value: bool) -> None:
        self.words[_READY] = value

    @property
    def confirmed(self) -> float:
        """The change feed's ``confirmed``."""
        return float(self.words[_CONFIRMED]) / _NANO

    @property
    def store_answered(self) -> float:
        """When the database last answered this worker."""
        return float(self.words[_STORE]) / _NANO

    @store_answered.setter
    def store_answered(self, moment: float) -> None:
        self.words[_STORE] = int(moment * _NANO)

    @property
    def signers(self) -> int:
        """The worker's ``Roster.signers``; 0 before the first."""
        value: int = self.words[_SIGNERS]
        return value

    @signers.setter
    def signers(self, value: int) -> None:
        self.words[_SIGNERS] = value

    @property
    def clock_fault(self) -> ClockFault | None:
        """Why the worker issues no time-stamps, where that is the clock's."""
        number: int = self.words[_CLOCK]
        return _CLOCK_FAULTS[number]

    @property
    def clock_error(self) -> float:
        """Seconds by which the worker takes the clock to be wrong at most."""
        return float(self.words[_CLOCK_ERROR]) / _NANO

    def set_clock(self, fault: ClockFault | None, error: float) -> None:
        """Show what the clock's guard says."""
        self.words[_CLOCK] = _CLOCK_FAULTS.index(fault)
        self.words[_CLOCK_ERROR] = int(min(error, _MOST_SECONDS) * _NANO)

    @property
    def log_writable(self) -> bool:
        """Whether the worker can record what it issues, or records nothing."""
        return not self.words[_LOG]

    @log_writable.setter
    def log_writable(self, value: bool) -> None:
        self.words[_LOG] = not value

    def beat(self, now: float, confirmed: float) -> None:
        """Show a sign of life, and how far the feed is."""
        self.words[_CONFIRMED] = max(0, int(confirmed * _NANO))
        self.words[_HEARTBEAT] = int(now * _NANO)

    def forget(self) -> None:
        """Make the row that of a worker which has not started yet; counters stay."""
        for at in (*_STATE, *_GAUGE_AT.values()):
            self.words[at] = 0

    def count(self, counter: int) -> None:
        """Add one to the counter with this ``counter_index``."""
        self.words[counter] += 1

    def counter(self, counter: int) -> int:
        """The present value of the counter with this ``counter_index``."""
        value: int = self.words[counter]
        return value

    def set_counter(self, counter: int, value: int) -> None:
        """Write a counter that is kept elsewhere."""
        self.words[counter] = value

    def observe(self, histogram: str, seconds: float) -> None:
        """Add one observation to a histogram."""
        at = _HISTOGRAM_AT[histogram]
        self.words[at + bisect_left(BUCKETS, seconds)] += 1
        self.words[at + _LAST_BUCKET + 1] += int(seconds * _MICRO)

    def histogram(self, name: str) -> tuple[Sequence[int], float]:
        """Observations in each bucket, those beyond the last one at the end, and their sum in seconds."""
        at = _HISTOGRAM_AT[name]
        return list(self.words[at : at + _LAST_BUCKET + 1]), self.words[at + _LAST_BUCKET + 1] / _MICRO

    def gauge(self, name: str) -> int:
        """The present value of a gauge."""
        value: int = self.words[_GAUGE_AT[name]]
        return value

    def set_gauge(self, name: str, value: int) -> None:
        """Write a gauge."""
        self.words[_GAUGE_AT[name]] = value
