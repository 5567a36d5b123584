"""Answers by the exact octets of the request, bounded in octets.

A *lease* is taken before the rows behind an answer are read. A change that comes in meanwhile makes the lease stale,
and what was made under it is not stored.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ca_store.types import IssuerID, Status
    from ocsp.types import Answer

    Key = tuple[IssuerID, int]

_OVERHEAD: Final = 1024
"""What an entry holds beside the octets of request and answer: objects, index, table slots."""


class Entry(NamedTuple):
    """A signed answer, the span in which it is the right one, and the rows it was made from."""

    answer: Answer
    begins: int
    ends: int
    keys: Sequence[Key]
    statuses: Sequence[Status | None]
    """In the order of the CertIDs."""

    def holds(self, now: float) -> bool:
        """Whether ``now`` lies in the span; a clock that was set back leaves it at the other end."""
        return self.begins <= now < self.ends


class Lease:
    """A watch over certificates, from before their rows are read until its block ends. Stale once one has changed."""

    __slots__ = ("_leases", "keys", "stale")

    def __init__(self, keys: Sequence[Key], leases: set[Lease]) -> None:
        self.keys = keys
        self.stale = False
        self._leases = leases

    def __enter__(self) -> Self:
        self._leases.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._leases.remove(self)


class Cache:
    """Least recently used answers, with an index from each certificate to the requests about it."""

    def __init__(self, octets: int) -> None:
        self._bound = octets
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._requests: dict[Key, set[bytes]] = {}
        self._leases: set[Lease] = set()
        self.octets = 0
        """What is held at present."""
        self.evictions = 0
        """Entries that made room for others, since the start."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, request: bytes) -> Entry | None:
        """The entry of a request, now the most recently used."""
        entry = self._entries.get(request)
        if entry is not None:
            self._entries.move_to_end(request)
        return entry

    def lease(self, keys: Sequence[Key]) -> Lease:
        """What ``store`` needs, for use in a ``with`` block."""
        return Lease(keys, self._leases)

    def store(self, request: bytes, answer: Answer, statuses: Sequence[Status | None], lease: Lease) -> None:
        """Keep an answer. It is not kept when its lease is stale, when it says nothing about its freshness, or when it
        is larger than the whole cache.
        """
        begins, ends, size = answer.this_update, answer.fresh_until, _size(request, answer)
        if lease.stale or begins is None or ends is None or size > self._bound:
            return
        self._remove(request)
        self._entries[request] = Entry(answer, begins, ends, lease.keys, statuses)
        for key in lease.keys:
            self._requests.setdefault(key, set()).add(request)
        self.octets += size
        while self.octets > self._bound:
            self._remove(next(iter(self._entries)))
            self.evictions += 1

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget every answer about these certificates, and those about them that are being made."""
        changed = set(keys)
        for lease in self._leases:
            lease.stale = lease.stale or not changed.isdisjoint(lease.keys)
        for key in changed:
            for request in tuple(self._requests.get(key, ())):
                self._remove(request)

    def clear(self) -> None:
        """Forget everything, also what is being made."""
        for lease in self._leases:
            lease.stale = True
        self._entries.clear()
        self._requests.clear()
        self.octets = 0

    def _remove(self, request: bytes) -> None:
        entry = self._entries.pop(request, None)
        if entry is None:
            return
        self.octets -= _size(request, entry.answer)
        for key in set(entry.keys):
            requests = self._requests[key]
            requests.remove(request)
            if not requests:
                del self._requests[key]


def _size(request: bytes, answer: Answer) -> int:
    return len(request) + len(answer.der) + _OVERHEAD
