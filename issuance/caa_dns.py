"""CAA records from DNS: the only user of dnspython, which takes its time to import.

The name server is a recursive one near by. It follows aliases and validates DNSSEC; where that fails it says SERVFAIL,
which permits nothing (BR §3.2.2.8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import dns.exception
import dns.flags
import dns.name
import dns.rdatatype
import dns.resolver

from issuance.caa import Property
from issuance.caa_records import LookUpFailed, Records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dns.message import Message
    from dns.rdtypes.ANY.CAA import CAA

    from ca_store.clock import Clock

SECONDS: Final = 10.0
"""For one domain, repeated questions included."""
_KEPT: Final = 60.0
"""Seconds that an answer stays here, so that the lines of one file do not ask about ``ac.jp`` a hundred times."""
_ALIASES: Final = 8
"""Answers that may end in an alias; each holds up to eleven."""


class DNSResolver:
    """``issuance.caa_records.Resolver`` by a recursive name server.

    Args:
        clock: tells when an answer is too old.
        server: (address, port) of the name server; None: those of the operating system.
        seconds: how long one domain may take.
    """

    def __init__(self, clock: Clock, server: tuple[str, int] | None = None, seconds: float = SECONDS) -> None:
        self._clock = clock
        self._seconds = seconds
        self._seen: dict[str, tuple[float, Records]] = {}
        try:
            self._resolver = dns.resolver.Resolver(configure=server is None)
        except dns.exception.DNSException as error:
            raise LookUpFailed(f"the operating system names no name server: {error}") from None
        if server is not None:
            self._resolver.nameservers = [server[0]]
            self._resolver.port = server[1]

    def records(self, domain: str) -> Records:
        now = self._clock.monotonic()
        if domain in self._seen and now - self._seen[domain][0] < _KEPT:
            return self._seen[domain][1]
        found = self._ask(domain)
        self._seen[domain] = (now, found)
        return found

    def _ask(self, domain: str) -> Records:
        name = dns.name.from_text(f"{domain}.")
        for _ in range(_ALIASES):
            try:
                answer = self._resolver.resolve(
                    name, dns.rdatatype.CAA, raise_on_no_answer=False, lifetime=self._seconds
                )
            except dns.resolver.NXDOMAIN as error:
                responses = error.responses()  # type: ignore[no-untyped-call]  # dnspython states no types there
                _check_recursion(domain, responses.values())
                return Records()
            except dns.exception.DNSException as error:
                raise LookUpFailed(f"looking up CAA at {domain} failed: {' '.join(str(error).split())}") from None
            _check_recursion(domain, [answer.response])
            if answer.rrset is not None:
                return Records(tuple(map(_property, answer.rrset)), answer.rrset.ttl)
            if answer.canonical_name == name:
                return Records()
            # Servers follow so many aliases and no more; then their answer looks as if the last one had no records.
            name = answer.canonical_name
        raise LookUpFailed(f"looking up CAA at {domain} failed: alias follows alias")


def _property(record: CAA) -> Property:
    return Property(record.flags, record.tag.decode("latin-1"), record.value.decode("latin-1"))


def _check_recursion(domain: str, responses: Iterable[Message]) -> None:
    """An authoritative server knows its own names only: for the target of an alias, its silence means nothing."""
    if not all(response.flags & dns.flags.RA for response in responses):
        raise LookUpFailed(f"looking up CAA at {domain} failed: the name server does not ask others")
