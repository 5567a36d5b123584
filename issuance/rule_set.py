"""What applications had to meet, and from when: dated data, so that the rules of 2018 and today's are one table.

A rule set is everything that holds from its moment to the next one's. Dates are those of the university service that
this is modelled on, in Japan's time (UTC+9); SBR is the CA/Browser Forum's S/MIME Baseline Requirements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Final

from issuance.errors import SetupRefused

JST: Final = timezone(timedelta(hours=9))


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules in force from one moment on."""

    name: str
    """The year and month of that moment."""
    effective: int
    """POSIX seconds."""
    academe: bool = True
    """L is ``Academe`` for whoever states no municipality, and ST is not stated at all."""
    places_as_recorded: bool = False
    """ST and L are spelled as in the institution's record; else any spelling of its prefecture will do."""
    both_places: bool = False
    """Server certificates state both ST and L; else one of them is enough."""
    units: bool = True
    """OU may be stated."""
    telling_units: bool = False
    """An OU is more than one letter and more than digits and symbols."""
    renewal_by_common_name: bool = False
    """Whoever has had the same CN and OU must renew; else whoever has had the same whole name."""
    client_columns: int = 14
    """Of an application for a client certificate; the fifteenth is the access PIN."""
    mailbox_only: bool = False
    """The subject of an S/MIME certificate is its mailbox (SBR §7.1.4.2.3)."""
    mail_caa: bool = False
    """``issuemail`` is looked up for S/MIME certificates (RFC 9495, SBR §4.2.2.1)."""
    old_pkcs12: bool = True
    """PKCS #12 files for the systems of 2018, which know no AES there."""


def _moment(year: int, month: int, day: int, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=JST).timestamp())


def _history() -> tuple[RuleSet, ...]:
    first = RuleSet("2018-03", _moment(2018, 3, 26, 19))
    second = replace(first, name="2018-07", effective=_moment(2018, 7, 9), academe=False, client_columns=15)
    third = replace(
        second,
        name="2020-07",
        effective=_moment(2020, 7, 15),
        places_as_recorded=True,
        telling_units=True,
        renewal_by_common_name=True,
    )
    fourth = replace(third, name="2020-12", effective=_moment(2020, 12, 22), both_places=True)
    fifth = replace(fourth, name="2022-07", effective=_moment(2022, 7, 26), units=False, old_pkcs12=False)
    sixth = replace(fifth, name="2023-09", effective=_moment(2023, 9, 1), mailbox_only=True)
    seventh = replace(sixth, name="2025-03", effective=_moment(2025, 3, 15), mail_caa=True)
    return first, second, third, fourth, fifth, sixth, seventh


RULE_SETS: Final = _history()
"""From the oldest to today's."""


def rule_set(at: int) -> RuleSet:
    """The rules in force at a time (POSIX seconds). Raises SetupRefused for a time before the first of them."""
    for rules in reversed(RULE_SETS):
        if at >= rules.effective:
            return rules
    first = datetime.fromtimestamp(RULE_SETS[0].effective, JST)
    raise SetupRefused(f"no rules are known from before {first.isoformat()}")


def parse_as_of(text: str) -> int:
    """POSIX seconds of a date, which begins at midnight in Japan, or of an RFC 3339 time. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        if "T" in text.upper() or ":" in text:
            raise ValueError(f"{text!r} names no offset")
        moment = moment.replace(tzinfo=JST)
    return int(moment.timestamp() // 1)


def describe(rules: RuleSet) -> str:
    """Which rules these are, for whoever reads what a run has printed."""
    since = datetime.fromtimestamp(rules.effective, JST)
    return f"rules of {rules.name}, in force since {since.isoformat(timespec='minutes')}"
