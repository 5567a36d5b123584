"""What is measured, and what was measured."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runs import Result

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
    requests: Iterable[bytes]
    pid: int
    ceiling: str | None = None
    """The key of the ceiling it is compared with."""
    signature: str | None = None
    """The key type whose bare signing rate every answer costs."""
    target: float | None = None
    """The least ratio to its bound that is good enough."""
    bound: str = "ceiling"
    """``ceiling``, ``combined`` (one request and one signature in turn) or ``signing`` (a signature alone)."""
    fresh: int = 0
    """``requests`` is an iterator, of which each run takes so many; 0 sends the same ones every time."""
    tool: str = "wrk"
    """``ab`` sends the first request alone, each time over a new connection."""
    times: tuple[tuple[str, float], ...] = ()
    """Keys of other scenarios, and how many times their rate this one's should be at least."""
    costs: tuple[str, float] | None = None
    """The key of another scenario, and how many times its CPU time for a request this one's may be at most."""

    @property
    def is_ceiling(self) -> bool:
        """Whether others are held against this one."""
        return self.key in {CEILING_POST, CEILING_GET}

    def bounded_by(self, ceiling: float | None, signing: float | None) -> float | None:
        """The rate that this scenario could reach at the most."""
        if self.bound == "signing" or ceiling is None:
            return signing
        return ceiling if signing is None else 1 / (1 / ceiling + 1 / signing)


class Measurements:
    """Rates by scenario, one a round, and bare signing rates by key type."""

    def __init__(self) -> None:
        self.rates: dict[str, list[float]] = defaultdict(list)
        self.cpu_us: dict[str, list[float]] = defaultdict(list)
        self.p99_us: dict[str, list[float]] = defaultdict(list)
        self.signing: dict[str, list[float]] = defaultdict(list)
        self.bounds: dict[str, list[float]] = defaultdict(list)
        self.ratios: dict[str, list[float]] = defaultdict(list)

    def add(self, key: str, result: Result, bound: float | None) -> None:
        """One run of one scenario, and what it is held against."""
        self.rates[key].append(result.rate)
        if bound is not None:
            self.bounds[key].append(bound)
            self.ratios[key].append(result.rate / bound)
        self.cpu_us[key].append(result.cpu_us)
        self.p99_us[key].append(result.p99_us)

    def add_signing(self, key_type: str, rate: float) -> None:
        """Signatures a second."""
        self.signing[key_type].append(rate)
