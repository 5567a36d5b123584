"""Prometheus metrics: the workers' words, summed when somebody asks."""

from __future__ import annotations

from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from ocsp.selfcheck import Severity
from responders.counters import BUCKETS, COUNTERS, GAUGE_HELP, HELP, HISTOGRAMS, counter_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client import Metric

    from ca_store.clock import Clock
    from responders.selfcheck import SelfCheck
    from responders.shared_state import SharedState

_PREFIX: Final = "responders"


class WorkerCollector(Collector):
    """Collects from shared words; ``restarts`` is how many workers were replaced."""

    def __init__(self, state: SharedState, clock: Clock, restarts: Callable[[], int]) -> None:
        self._state = state
        self._clock = clock
        self._restarts = restarts

    def collect(self) -> Iterator[Metric]:
        """Every metric, with a fixed set of labels."""
        rows = list(self._state.rows())
        everything = list(self._state.all_rows())
        for metric, names in groupby(COUNTERS, lambda each: each[0]):
            labels, description = HELP[metric]
            counter = CounterMetricFamily(f"{_PREFIX}_{metric}", description, labels=labels)
            for _, values in names:
                counter.add_metric(values, sum(row.counter(counter_index(metric, *values)) for row in everything))
            yield counter
        for name, description in HISTOGRAMS.items():
            yield _histogram(name, description, [row.histogram(name) for row in everything])
        for gauge, description in GAUGE_HELP.items():
            yield GaugeMetricFamily(
                f"{_PREFIX}_{gauge}", description, value=sum(row.gauge(gauge) for row in everything)
            )
        ready = [row for row in rows if row.ready]
        yield GaugeMetricFamily(f"{_PREFIX}_workers", "Workers that should run.", value=len(rows))
        yield GaugeMetricFamily(f"{_PREFIX}_workers_ready", "Workers that accept connections.", value=len(ready))
        yield CounterMetricFamily(f"{_PREFIX}_worker_restarts", "Workers that were replaced.", value=self._restarts())
        yield GaugeMetricFamily(
            f"{_PREFIX}_tsa_clock_good",
            "Whether every worker takes the clock for good enough for time-stamps.",
            value=all(row.clock_fault is None for row in ready),
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_tsa_clock_error_seconds",
            "By how much the clock may be wrong at most, as the most cautious worker takes it.",
            value=max((row.clock_error for row in ready), default=0.0),
        )
        now = self._clock.monotonic()
        yield GaugeMetricFamily(
            f"{_PREFIX}_feed_age_seconds",
            "Age of the oldest confirmation of the change feed among the workers.",
            value=max((now - row.confirmed for row in ready), default=0.0),
        )


def _histogram(name: str, description: str, parts: Sequence[tuple[Sequence[int], float]]) -> HistogramMetricFamily:
    """Prometheus counts in each bucket what is in the lower ones, too."""
    sums = accumulate(sum(each) for each in zip(*(counts for counts, _ in parts), strict=True))
    bounds = (*map(str, BUCKETS), "+Inf")
    histogram = HistogramMetricFamily(f"{_PREFIX}_{name}", description)
    histogram.add_metric([], list(zip(bounds, map(float, sums), strict=True)), sum(seconds for _, seconds in parts))
    return histogram


class SelfCheckCollector(Collector):
    """What the last self-check found, signer by signer; nothing but zeros before the first has finished."""

    def __init__(self, selfcheck: SelfCheck) -> None:
        self._selfcheck = selfcheck

    def collect(self) -> Iterator[Metric]:
        """Labels are the operator's own: CAs and the serials of their delegates."""
        found = self._selfcheck.found
        yield GaugeMetricFamily(
            f"{_PREFIX}_selfcheck_timestamp_seconds",
            "When the last self-check finished (POSIX seconds).",
            value=self._selfcheck.finished_at,
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_selfcheck_linted",
            "Whether a linter took part in the last self-check.",
            value=bool(found and found.linter),
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_selfcheck_refused", "Delegates that may not speak.", value=len(found.refused) if found else 0
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_selfcheck_silent", "CAs that nobody speaks for.", value=len(found.silent) if found else 0
        )
        findings = GaugeMetricFamily(
            f"{_PREFIX}_selfcheck_findings",
            "What the last self-check found about a delegate's answers.",
            labels=["issuer", "signer", "severity"],
        )
        ends = GaugeMetricFamily(
            f"{_PREFIX}_signer_not_after_seconds",
            "When a delegate's certificate ends (POSIX seconds).",
            labels=["issuer", "signer"],
        )
        for signer in found.signers if found else ():
            ends.add_metric([signer.issuer, signer.serial], signer.not_after)
            for severity in Severity:
                count = sum(each.severity is severity for each in signer.findings)
                findings.add_metric([signer.issuer, signer.serial, severity.value], count)
        yield findings
        yield ends


def make_registry(
    state: SharedState, clock: Clock, restarts: Callable[[], int], selfcheck: SelfCheck | None = None
) -> CollectorRegistry:
    """A registry with nothing else in it."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(state, clock, restarts))
    if selfcheck is not None:
        registry.register(SelfCheckCollector(selfcheck))
    return registry
