"""CAA records: what a set of them permits (RFC 8659 §4). Looks nothing up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

ISSUE: Final = "issue"
ISSUE_WILD: Final = "issuewild"
ISSUE_MAIL: Final = "issuemail"  # RFC 9495

_CRITICAL: Final = 0x80
"""The issuer critical flag is bit 0, the highest; the others are reserved and mean nothing (RFC 8659 §4.1)."""
_KNOWN: Final = frozenset({ISSUE, ISSUE_WILD, ISSUE_MAIL, "iodef", "issuevmc", "contactemail", "contactphone"})
"""Properties that a CA may find critical and go on. All are for CAs; the last two say whom to reach."""

_WORD: Final = r"[A-Za-z0-9](?:-*[A-Za-z0-9])*"
_DOMAIN: Final = rf"{_WORD}(?:\.{_WORD})*"
_PARAMETER: Final = rf"{_WORD}[ \t]*=[ \t]*[\x21-\x3a\x3c-\x7e]*"
_VALUE: Final = re.compile(
    rf"[ \t]*(?:({_DOMAIN})[ \t]*)?(?:;[ \t]*(?:{_PARAMETER}[ \t]*(?:;[ \t]*{_PARAMETER}[ \t]*)*;?[ \t]*)?)?"
)
"""issue-value of RFC 8659 §4.2; a semicolon at the end is what people write."""


class Property(NamedTuple):
    """One CAA record."""

    flags: int
    tag: str
    """As it was written; upper and lower case are the same."""
    value: str

    def __str__(self) -> str:
        """In presentation format."""
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{self.flags} {self.tag} "{escaped}"'


@dataclass(frozen=True, slots=True)
class Policy:
    """Who we are, and how much we read into silence."""

    identities: Collection[str]
    """Our issuer domain names, in lower case."""
    strict: bool = False
    """Records that are there must name us. RFC 8659 §4.3 lets those without the property in question permit."""


class Verdict(NamedTuple):
    """Whether a certificate may be issued, and why."""

    permitted: bool
    sentence: str


def judge(properties: Sequence[Property], tag: str, policy: Policy) -> Verdict:
    """What the relevant records of one name permit; ``tag`` is ``issuewild`` for a wildcard, ``issuemail`` for mail."""
    if not properties:
        return Verdict(permitted=True, sentence="there are no CAA records")
    for each in properties:
        if each.flags & _CRITICAL and each.tag.lower() not in _KNOWN:
            return Verdict(permitted=False, sentence=f"the property {each.tag} is critical and not known here")
    relevant = _tagged(properties, tag)
    if tag == ISSUE_WILD and not relevant:
        relevant = _tagged(properties, ISSUE)
    if not relevant:
        return Verdict(not policy.strict, f"the CAA records say nothing about {tag}")
    named = [issuer_domain(each.value) for each in relevant]
    if any(domain in policy.identities for domain in named if domain is not None):
        return Verdict(permitted=True, sentence="the CAA records name us")
    others = ", ".join(sorted({domain for domain in named if domain})) or "nobody"
    return Verdict(permitted=False, sentence=f"the CAA records name {others}")


def issuer_domain(value: str) -> str | None:
    """The domain that a value authorises, in lower case: empty for none, None for a value that does not parse."""
    parsed = _VALUE.fullmatch(value)
    return None if parsed is None else (parsed[1] or "").lower()


def _tagged(properties: Sequence[Property], tag: str) -> list[Property]:
    return [each for each in properties if each.tag.lower() == tag]
