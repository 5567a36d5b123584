"""Where CAA records are found (RFC 8659 §3): at a name, or at the nearest domain above it that has any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from issuance.errors import IssuanceError

if TYPE_CHECKING:
    from ca_store.clock import Clock
    from issuance.caa import Property

_LONGEST: Final = 60.0
"""Seconds for one name, however many labels it has."""


class LookUpFailed(IssuanceError):  # noqa: N818 - named as its meaning
    """DNS did not say whether there are records. Never means that there are none."""


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one domain, aliases followed; none for a domain that has none or does not exist."""

    properties: tuple[Property, ...] = ()
    ttl: int = 0
    """Seconds that DNS allows them to be kept."""


class Resolver(Protocol):
    """Asks DNS about one domain."""

    def records(self, domain: str) -> Records:
        """Raises LookUpFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """The relevant records of a name."""

    records: Records
    source: str | None
    """The domain that they stand at; None when there are none."""


def relevant(resolver: Resolver, name: str, clock: Clock) -> Found:
    """Climb from a host name, or from what follows ``*.``, up to its top-level domain. An alias is followed for its
    own records only: the next domain is the parent of the name, not of what it is an alias for (erratum 5065 to
    RFC 6844). Raises LookUpFailed.
    """
    began = clock.monotonic()
    labels = name.removeprefix("*.").split(".")
    for start in range(len(labels)):
        if clock.monotonic() - began > _LONGEST:
            raise LookUpFailed(f"looking up {name} took longer than {_LONGEST:.0f} s")
        domain = ".".join(labels[start:])
        records = resolver.records(domain)
        if records.properties:
            return Found(records, domain)
    return Found(Records(), None)
