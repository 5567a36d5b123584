"""Lengths of validity, and the RFC 3339 spelling of times."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

DAY: Final = 86_400
"""Seconds: a day of the BR is never longer (BR §6.3.2)."""


@dataclass(frozen=True, slots=True)
class Period:
    """Calendar months, then days."""

    months: int = 0
    days: int = 0

    def end(self, start: int) -> int:
        """Add the period to POSIX seconds. A day that the last month lacks becomes that month's last day."""
        moment = datetime.fromtimestamp(start, UTC)
        month = moment.year * 12 + moment.month - 1 + self.months
        year, month = month // 12, month % 12 + 1
        day = min(moment.day, calendar.monthrange(year, month)[1])
        return int(moment.replace(year=year, month=month, day=day).timestamp()) + self.days * DAY

    def last_second(self, start: int) -> int:
        """The notAfter of a validity of this length: both ends of a validity count (RFC 5280 §4.1.2.5)."""
        return self.end(start) - 1


def format_time(seconds: int) -> str:
    """RFC 3339 in UTC, to the second: ``2026-11-25T04:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> int:
    """POSIX seconds of an RFC 3339 time, fractions cut off. Raises ValueError, also when it names no offset."""
    moment = datetime.fromisoformat(text)
    if "T" not in text.upper() or moment.tzinfo is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time such as 2026-11-25T04:00:00Z")
    return int(moment.timestamp() // 1)
