"""What a run comes to: plain data for JSON, and sentences for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from responders.load.plan import OCSPMix
from responders.load.tally import LATE, percentile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from responders.load.plan import Plan
    from responders.load.tally import Totals

PERCENTILES: Final = (50, 75, 90, 95, 99, 99.9, 99.99)
_BUSY: Final = 0.9
"""A process that uses more of a core than this has no more to give."""
_LATE_SHARE: Final = 0.01
_LAG: Final = 0.25
"""Seconds for which a process may stand still before it is worth a sentence."""


def summarise(plan: Plan, totals: Totals, *, started: float, interrupted: bool) -> dict[str, Any]:
    """Everything, with plain keys; latencies are milliseconds. ``started`` is POSIX seconds."""
    counts, pace = totals.counts, plan.pace
    answered = counts.right + counts.wrong.total()
    elapsed = counts.wall / plan.processes
    busy = min(elapsed, pace.duration) if elapsed else pace.duration
    return {
        "protocol": "ocsp" if isinstance(plan.mix, OCSPMix) else "tsa",
        "url": f"http://{plan.target.authority}{plan.target.path}",
        "started": started,
        "interrupted": interrupted,
        "loop": "closed" if pace.rate is None else "open",
        "rate": pace.rate,
        "connections": pace.connections,
        "duration": pace.duration,
        "processes": plan.processes,
        "sent": counts.sent,
        "right": counts.right,
        "slow": counts.slow,
        "slow_after": pace.slow,
        "verified": counts.verified,
        "wrong": _reasons(counts.wrong, totals.examples),
        "failed": _reasons(counts.failed, totals.examples),
        "kinds": dict(sorted(counts.kinds.items())),
        "answers_per_second": answered / busy,
        "latency_ms": latencies(totals),
        "histogram": totals.histogram.encode().decode("ascii"),
        "series": [asdict(each) for each in sorted(totals.seconds, key=lambda each: each.number)],
        "generator": {
            "cpu_seconds": counts.cpu,
            "answers_per_cpu_second": answered / counts.cpu if counts.cpu else None,
            "core_share": core_share(totals),
            "late": counts.late,
            "waited": counts.waited,
            "longest_pause": totals.lag,
            "bottleneck": list(bottlenecks(totals)),
        },
        "remarks": list(remarks(plan, totals)),
    }


def latencies(totals: Totals) -> dict[str, float] | None:
    """Percentiles by name, in milliseconds; None when nothing was answered."""
    histogram = totals.histogram
    if histogram.get_total_count() == 0:
        return None
    return {
        "mean": histogram.get_mean_value() / 1000,
        **{f"p{percent:g}": percentile(histogram, percent) for percent in PERCENTILES},
        "max": histogram.get_max_value() / 1000,
    }


def bottlenecks(totals: Totals) -> Iterator[str]:
    """Why the figures may say more of the generator than of the server, a sentence each; none is good news."""
    counts, share = totals.counts, core_share(totals)
    if share > _BUSY:
        yield f"its processes used {share:.0%} of a core each: give it more --processes, or more machines"
    if counts.sent and counts.late > counts.sent * _LATE_SHARE:
        late = counts.late / counts.sent
        yield f"{late:.1%} of the questions were sent more than {LATE * 1000:g} ms late although a connection was free"
    if totals.lag > _LAG:
        yield f"a process of its own stood still for {totals.lag * 1000:.0f} ms"


def remarks(plan: Plan, totals: Totals) -> Iterator[str]:
    """What to know before the figures are believed, a sentence each."""
    for sentence in bottlenecks(totals):
        yield f"the generator may have been the bottleneck: {sentence}"
    counts = totals.counts
    if counts.waited > counts.due / 2:
        yield (
            f"{counts.waited / counts.due:.0%} of the questions had to wait for one of the {plan.pace.connections} "
            "connections: the server is slower than the rate, or --most-connections is too low"
        )


def core_share(totals: Totals) -> float:
    """The share of a core that each process used while questions were due."""
    return totals.busy_cpu / totals.busy_wall if totals.busy_wall else 0.0


def is_clean(totals: Totals) -> bool:
    """Whether there were answers and none was wrong or failed."""
    counts = totals.counts
    return counts.right > 0 and not counts.wrong and not counts.failed


def text_lines(summary: dict[str, Any]) -> Iterator[str]:
    """For a terminal."""
    if summary["loop"] == "open":
        how = f"{summary['rate']:g} questions/s due"
    else:
        how = f"{summary['connections']} connections"
    yield f"{summary['protocol']} {summary['url']}: {how}, {summary['duration']:g} s, {summary['processes']} processes"
    yield f"  answers       {summary['answers_per_second']:,.0f}/s"
    slow = f", {summary['slow']:,} of them slow (over {summary['slow_after'] * 1000:g} ms)" if summary["slow"] else ""
    yield f"  right         {summary['right']:,}{slow}; signature verified on {summary['verified']:,}"
    for what in ("wrong", "failed"):
        yield f"  {what:<13} {sum(each['count'] for each in summary[what].values()):,}"
        for label, reason in summary[what].items():
            example = "" if reason["example"] in ("", label) else f" ({reason['example']})"
            yield f"    {reason['count']:>9,} {label}{example}"
    latency = summary["latency_ms"]
    if latency is not None:
        yield "  latency ms    " + "  ".join(f"{name} {value:,.2f}" for name, value in latency.items())
    generator = summary["generator"]
    own = generator["answers_per_cpu_second"]
    if own is not None:
        yield f"  generator     {own:,.0f} answers per second of its own processor time"
    for sentence in summary["remarks"]:
        yield f"  {sentence}"


def _reasons(counter: dict[str, int], examples: dict[str, str]) -> dict[str, dict[str, Any]]:
    ordered = sorted(counter.items(), key=lambda each: -each[1])
    return {label: {"count": count, "example": examples.get(label, "")} for label, count in ordered}
