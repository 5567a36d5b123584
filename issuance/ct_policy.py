"""How many SCTs a certificate needs, and from whom: dated data, by the browsers' published policies.

Chrome demands SCTs of every certificate issued since 2018-04-30, Apple's platforms since 2018-10-15. Where their tables
differ the stricter number stands here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from issuance.period import DAY, Period

if TYPE_CHECKING:
    from collections.abc import Collection

    from issuance.ct_log import Log


@dataclass(frozen=True, slots=True)
class Tier:
    """Certificates up to a validity."""

    longest: Period | None
    """None: of any."""
    count: int
    """SCTs, each of another log."""
    less: bool = False
    """The validity is less than ``longest``; else up to it."""

    def holds(self, not_before: int, not_after: int) -> bool:
        """Whether a validity (both ends included) falls here or below."""
        return self.longest is None or not_after <= self.longest.last_second(not_before) - self.less


@dataclass(frozen=True, slots=True)
class CountRule:
    """What holds from a moment on."""

    name: str
    effective: int
    """POSIX seconds; the time of issuance decides."""
    demanded_by: tuple[str, ...]
    tiers: tuple[Tier, ...]
    operators: int = 2
    """Different ones among the logs."""
    required_operator: str | None = None
    """One that is among them, and not alone."""


def _moment(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp())


def _history() -> tuple[CountRule, ...]:
    months = (
        Tier(Period(months=15), 2, less=True),
        Tier(Period(months=27), 3),
        Tier(Period(months=39), 4),
        Tier(None, 5),
    )
    first = CountRule("2018-04", _moment(2018, 4, 30), ("Chrome",), months, required_operator="Google")
    second = replace(first, name="2018-10", effective=_moment(2018, 10, 15), demanded_by=("Chrome", "Apple"))
    days = Tier(Period(days=180), 2)
    # Apple's two or three by days; Chrome's, by months, are more than that from 27 months on.
    third = replace(
        second, name="2021-04", effective=_moment(2021, 4, 21), tiers=(days, replace(months[1], count=3), *months[2:])
    )
    fourth = replace(
        third, name="2022-04", effective=_moment(2022, 4, 15), tiers=(days, Tier(None, 3)), required_operator=None
    )
    return first, second, third, fourth


COUNT_RULES: Final = _history()
"""From the oldest to today's. What was issued before the first of them is held to it, too."""


def count_rule(at: int) -> CountRule:
    """The rule for what is issued at a time (POSIX seconds)."""
    return next((rule for rule in reversed(COUNT_RULES) if at >= rule.effective), COUNT_RULES[0])


def shortfall(rule: CountRule, logs: Collection[Log], not_before: int, not_after: int) -> str | None:
    """What is missing, in words, when each of these logs has given an SCT; None when they are enough."""
    count = next(tier.count for tier in rule.tiers if tier.holds(not_before, not_after))
    operators = {log.operator for log in logs}
    if len(logs) < count or len(operators) < rule.operators:
        days = (not_after - not_before + 1) / DAY
        return (
            f"a certificate of {days:.0f} days needs SCTs of {count} logs of {rule.operators} operators,"
            f" and has {len(logs)} of {len(operators)}"
        )
    if rule.required_operator is not None and rule.required_operator not in operators:
        return f"one of the SCTs must be of a log of {rule.required_operator}"
    return None
