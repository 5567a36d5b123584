"""What a whole run comes to: plain data, which the table and the page are made of."""

from __future__ import annotations

import os
import platform
import statistics
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.backends.openssl import backend

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scenarios import Measurements, Scenario

P99_MS: Final = 5.0
"""For answers from memory at half the greatest rate of server or generator."""
GENERATOR: Final = 10_000
"""Checked answers that `responders load` should manage for a second of its own processor time."""

_PACKAGES: Final = ("aiohttp", "uvloop", "cryptography", "SQLAlchemy", "certomancer")


def summarise(
    scenarios: Sequence[Scenario],
    measured: Measurements,
    half_load: dict[str, Any] | None,
    full_load: dict[str, Any] | None,
) -> dict[str, Any]:
    """Everything, with plain keys. ``half_load`` and ``full_load`` are what ``responders load`` wrote about an open
    loop at half a greatest rate, and about a closed one.
    """
    middle = statistics.median
    by_generator = [] if half_load is None or full_load is None else list(_load(half_load, full_load))
    return {
        "made": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": _machine(),
        "rows": [_row(each, measured) for each in scenarios],
        "comparisons": [
            *(found for each in scenarios for found in _comparisons(each, scenarios, measured)),
            *by_generator,
        ],
        "signing": [{"key": key, "rate": middle(rates)} for key, rates in measured.signing.items()],
        "remarks": [] if half_load is None else [*half_load["remarks"]],
    }


def _row(scenario: Scenario, measured: Measurements) -> dict[str, Any]:
    middle, ratios = statistics.median, measured.ratios[scenario.key]
    ratio = middle(ratios) if ratios else None
    return {
        "key": scenario.key,
        "name": scenario.name,
        "rate": middle(measured.rates[scenario.key]),
        "rates": measured.rates[scenario.key],
        "bound": scenario.bound if ratios else None,
        "bound_rate": middle(measured.bounds[scenario.key]) if ratios else None,
        "ratio": ratio,
        "ratios": ratios,
        "target": scenario.target,
        "reached": None if scenario.target is None or ratio is None else ratio >= scenario.target,
        "cpu_us": middle(measured.cpu_us[scenario.key]),
        "p99_ms": middle(measured.p99_us[scenario.key]) / 1000,
    }


def _comparisons(scenario: Scenario, scenarios: Sequence[Scenario], measured: Measurements) -> Iterator[dict[str, Any]]:
    others = {each.key: each for each in scenarios}
    for key, least in scenario.times:
        if key in others:
            other = others[key]
            # What was held against the same thing right beside it: the machine's speed may have changed meanwhile.
            alike = (scenario.ceiling, scenario.signature, scenario.bound) == (
                other.ceiling, other.signature, other.bound
            )  # fmt: skip
            value = _quotient(measured.ratios if alike else measured.rates, scenario.key, key)
            yield _comparison(f"rate: {scenario.name} ÷ {other.name}", value, least=least)
    if scenario.costs is not None and scenario.costs[0] in others:
        key, most = scenario.costs
        value = _quotient(measured.cpu_us, scenario.key, key)
        yield _comparison(f"CPU time: {scenario.name} ÷ {others[key].name}", value, most=most)


def _quotient(figures: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """The median over the rounds."""
    return statistics.median([mine / its for mine, its in zip(figures[one], figures[other], strict=True)])


def _load(half: dict[str, Any], full: dict[str, Any]) -> Iterator[dict[str, Any]]:
    name = f"p99 in ms of answers from memory at {half['rate']:,.0f}/s, half of what server and generator make"
    yield _comparison(name, half["latency_ms"]["p99"], most=P99_MS)
    own = full["generator"]["answers_per_cpu_second"]
    share = full["verified"] / full["right"]
    yield _comparison(
        f"checked answers for a second of the load generator's own processor time ({share:.0%} of the signatures)",
        own,
        least=GENERATOR,
    )


def _comparison(name: str, value: float, *, least: float | None = None, most: float | None = None) -> dict[str, Any]:
    reached = value >= least if least is not None else most is None or value <= most
    return {"name": name, "value": value, "least": least, "most": most, "reached": reached}


def _machine() -> dict[str, str]:
    told = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    model = next((value.strip() for name, _, value in told if name.strip() == "model name"), platform.machine())
    return {
        "processor": f"{model}, {len(os.sched_getaffinity(0))} cores",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_version()}; {backend.openssl_version_text()}",
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def markdown(document: dict[str, Any]) -> Iterator[str]:
    """Lines of two tables, ratios first."""
    yield "| what | ratio | held against | target | requests/s | CPU µs | p99 ms |"
    yield "|---|---:|---|---:|---:|---:|---:|"
    for row in document["rows"]:
        ratio = against = verdict = ""
        if row["ratio"] is not None:
            ratio, against = f"{row['ratio']:.2f}", f"{row['bound']} {row['bound_rate']:,.0f}"
        if row["reached"] is not None:
            verdict = f"≥ {row['target']:g} {_mark(row)}"
        yield (
            f"| {row['name']} | {ratio} | {against} | {verdict} | {row['rate']:,.0f} | {row['cpu_us']:.0f} "
            f"| {row['p99_ms']:.1f} |"
        )
    for each in document["signing"]:
        yield f"| bare signatures, {each['key']} | | | | {each['rate']:,.0f} | {1e6 / each['rate']:.0f} | |"
    yield ""
    yield "| compared | value | target |"
    yield "|---|---:|---:|"
    for each in document["comparisons"]:
        yield f"| {each['name']} | {shown(each['value'])} | {bound(each)} {_mark(each)} |"
    for sentence in document["remarks"]:
        yield f"\n{sentence}"


def shown(value: float) -> str:
    """As many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def bound(comparison: dict[str, Any]) -> str:
    """A target in words."""
    if comparison["least"] is not None:
        return f"≥ {comparison['least']:,g}"
    return f"≤ {comparison['most']:,g}"


def _mark(row: dict[str, Any]) -> str:
    return "✓" if row["reached"] else "✗"
