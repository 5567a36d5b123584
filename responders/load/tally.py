"""Counts and latencies of one second of one process, and of a whole run."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from hdrh.histogram import HdrHistogram

HIGHEST: Final = 600_000_000
"""Microseconds: the longest latency that is told from longer ones."""
_DIGITS: Final = 3


def make_histogram() -> HdrHistogram:
    """Of microseconds, three digits exact."""
    return HdrHistogram(1, HIGHEST, _DIGITS)


@dataclass(slots=True)
class Counts:
    """What can be added up."""

    due: int = 0
    """In an open loop."""
    sent: int = 0
    right: int = 0
    slow: int = 0
    """Of the right ones, those that took longer than was allowed."""
    verified: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    """What was asked."""
    late: int = 0
    """Questions that were sent more than ``LATE`` after they were due although a connection was free."""
    waited: int = 0
    """Questions that were due while every connection was busy."""
    cpu: float = 0.0
    """Seconds of processor time."""
    wall: float = 0.0

    def add(self, other: Counts) -> None:
        """Add the other's."""
        for name in ("due", "sent", "right", "slow", "verified", "late", "waited", "cpu", "wall"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.wrong.update(other.wrong)
        self.failed.update(other.failed)
        self.kinds.update(other.kinds)


LATE: Final = 0.01
"""Seconds."""


@dataclass(slots=True)
class Interval:
    """One second of one process."""

    number: int
    counts: Counts
    latencies: bytes
    """An encoded histogram."""
    lag: float
    """Seconds by which the process was late at the worst."""
    examples: dict[str, str]
    """By label of what was wrong or failed: the sentence of the first such case, when this process had seen none."""


class Tally:
    """One process's counting."""

    def __init__(self, slow: float) -> None:
        self._slow = int(slow * 1e6)
        self._histogram = make_histogram()
        self._seen: set[str] = set()
        self._examples: dict[str, str] = {}
        self.counts = Counts()
        self.lag = 0.0

    def right(self, seconds: float, *, verified: bool) -> None:
        """A right answer and its latency."""
        took = self._record(seconds)
        counts = self.counts
        counts.right += 1
        counts.verified += verified
        if took > self._slow:
            counts.slow += 1

    def wrong(self, seconds: float, label: str, sentence: str) -> None:
        """A wrong answer; it counts among the latencies, since the client had to wait for it."""
        self._record(seconds)
        self.counts.wrong[label] += 1
        self._remember(label, sentence)

    def failed(self, label: str, sentence: str, *, seconds: float | None = None) -> None:
        """No answer. ``seconds`` when someone waited until time ran out: leaving these out would flatter."""
        if seconds is not None:
            self._record(seconds)
        self.counts.failed[label] += 1
        self._remember(label, sentence)

    def late(self, seconds: float) -> None:
        """A question was sent so long after it was due, for no reason but this process."""
        self.lag = max(self.lag, seconds)
        if seconds > LATE:
            self.counts.late += 1

    def cut(self, number: int) -> Interval:
        """What was counted since the last cut."""
        interval = Interval(number, self.counts, self._histogram.encode(), self.lag, self._examples)
        self.counts, self._examples, self.lag = Counts(), {}, 0.0
        self._histogram.reset()
        return interval

    def _record(self, seconds: float) -> int:
        took = min(max(int(seconds * 1e6), 1), HIGHEST)
        self._histogram.record_value(took)
        return took

    def _remember(self, label: str, sentence: str) -> None:
        if label not in self._seen:
            self._seen.add(label)
            self._examples[label] = sentence


@dataclass(frozen=True, slots=True)
class Second:
    """One second of the whole run. Latencies are milliseconds, None when nothing was answered."""

    number: int
    sent: int
    right: int
    slow: int
    wrong: int
    failed: int
    p50: float | None
    p99: float | None
    max: float | None


class Totals:
    """The run so far, from the intervals of all processes."""

    def __init__(self, processes: int, duration: float = math.inf) -> None:
        """``duration`` in seconds, after which questions are only waited for."""
        self._processes, self._duration = processes, duration
        self.busy_cpu = self.busy_wall = 0.0
        """Seconds of processor time, and what they are of, while questions were due."""
        self._open: dict[int, list[Interval]] = {}
        self.counts = Counts()
        self.histogram = make_histogram()
        self.lag = 0.0
        self.examples: dict[str, str] = {}
        self.seconds: list[Second] = []

    def add(self, interval: Interval) -> None:
        """Count one process's second; when all have told theirs, it becomes a point of the time series."""
        self.counts.add(interval.counts)
        self.histogram.decode_and_add(interval.latencies)
        self.lag = max(self.lag, interval.lag)
        if interval.number < self._duration:
            self.busy_cpu += interval.counts.cpu
            self.busy_wall += interval.counts.wall
        self.examples = interval.examples | self.examples
        waiting = self._open.setdefault(interval.number, [])
        waiting.append(interval)
        if len(waiting) == self._processes:
            self._close(interval.number)

    def finish(self) -> None:
        """No more intervals will come."""
        for number in sorted(self._open):
            self._close(number)

    def _close(self, number: int) -> None:
        intervals = self._open.pop(number)
        histogram, counts = make_histogram(), Counts()
        for interval in intervals:
            histogram.decode_and_add(interval.latencies)
            counts.add(interval.counts)
        any_answer = histogram.get_total_count() > 0
        self.seconds.append(
            Second(
                number=number,
                sent=counts.sent,
                right=counts.right,
                slow=counts.slow,
                wrong=counts.wrong.total(),
                failed=counts.failed.total(),
                p50=percentile(histogram, 50) if any_answer else None,
                p99=percentile(histogram, 99) if any_answer else None,
                max=histogram.get_max_value() / 1000 if any_answer else None,
            )
        )


def percentile(histogram: HdrHistogram, percent: float) -> float:
    """Milliseconds."""
    microseconds: int = histogram.get_value_at_percentile(percent)
    return microseconds / 1000
