"""What is measured, and the table it ends up in."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CEILING_POST: Final = "ceiling-post"
CEILING_GET: Final = "ceiling-get"


@dataclass(frozen=True)
class Scenario:
    """One kind of request against one server."""

    key: str
    name: str
    url: str
    method: str
    content_type: str
    requests: Sequence[bytes]
    pid: int
    ceiling: str | None = None
    """The key of the ceiling it is compared with."""
    signature: str | None = None
    """The key type whose bare signing rate every answer costs."""
    target: float | None = None
    """The least ratio to its bound that is good enough."""
    bound: str = "ceiling"
    """``ceiling``, ``combined`` (one request and one signature in turn) or ``signing``."""


class Measurements:
    """Rates by scenario, one a round, and bare signing rates by key type."""

    def __init__(self) -> None:
        self.rates: dict[str, list[float]] = defaultdict(list)
        self.cpu_us: dict[str, list[float]] = defaultdict(list)
        self.p99_us: dict[str, list[float]] = defaultdict(list)
        self.signing: dict[str, list[float]] = defaultdict(list)

    def add(self, key: str, rate: float, cpu_us: float, p99_us: float) -> None:
        """One run of one scenario."""
        self.rates[key].append(rate)
        self.cpu_us[key].append(cpu_us)
        self.p99_us[key].append(p99_us)

    def add_signing(self, rates: Mapping[str, float]) -> None:
        """Signatures a second by key type."""
        for key, rate in rates.items():
            self.signing[key].append(rate)

    def bound(self, scenario: Scenario, middle: Callable[[Sequence[float]], float]) -> float | None:
        """The rate that the scenario is held against, from this same run."""
        ceiling = middle(self.rates[scenario.ceiling]) if scenario.ceiling else None
        signing = middle(self.signing[scenario.signature]) if scenario.signature else None
        if scenario.bound == "signing":
            return signing
        if ceiling is None:
            return None
        return ceiling if signing is None else 1 / (1 / ceiling + 1 / signing)


def print_table(
    scenarios: Sequence[Scenario], measured: Measurements, middle: Callable[[Sequence[float]], float]
) -> None:
    """Markdown, ready for the documentation."""
    print("| what | requests/s | bound | ratio | target | CPU µs | p99 ms |")
    print("|---|---:|---|---:|---:|---:|---:|")
    for scenario in scenarios:
        rate = middle(measured.rates[scenario.key])
        bound = measured.bound(scenario, middle)
        ratio, named = ("", "")
        if bound is not None:
            ratio = f"{rate / bound:.2f}"
            named = f"{scenario.bound} {bound:,.0f}"
        verdict = ""
        if scenario.target is not None and bound is not None:
            verdict = f"≥ {scenario.target} {'✓' if rate / bound >= scenario.target else '✗'}"
        print(
            f"| {scenario.name} | {rate:,.0f} | {named} | {ratio} | {verdict} "
            f"| {middle(measured.cpu_us[scenario.key]):.0f} | {middle(measured.p99_us[scenario.key]) / 1000:.1f} |"
        )
    for key_type, rates in measured.signing.items():
        print(f"| bare signatures, {key_type} | {middle(rates):,.0f} | | | | {1e6 / middle(rates):.0f} | |")
