"""How far a replica must have come before a row read there can be believed.

A change is announced by the primary, and may be heard before a replica has it. So the row of a certificate that changed
is the primary's to tell until a replica is known to have passed a place in the write-ahead log that lies behind the
change. Rows that did not change are the same everywhere, however far behind a replica is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from ca_store.types import IssuerID

    Key = tuple[IssuerID, int]

REMEMBERED: Final = 4096
"""Changes told apart; past it every row asks for the place behind the newest one."""


class Position(NamedTuple):
    """A place in one history of one database cluster."""

    system: int
    """The identifier that a cluster has in common with its replicas alone."""
    timeline: int
    """Another one after each promotion: places of two timelines cannot be compared."""
    lsn: int

    def covers(self, other: Position) -> bool:
        """Whether a server at this place has everything that lies before ``other``."""
        return self[:2] == other[:2] and self.lsn >= other.lsn


class Horizon:
    """What one change feed has delivered, in places of the log. Belongs to one event loop."""

    def __init__(self) -> None:
        self._floor: Position | None = None
        self._changed: dict[Key, Position | None] = {}
        self._unplaced: dict[Key, int] = {}
        self.heard = 0
        """Changes heard of since the start."""

    def reset(self) -> None:
        """Changes may have been missed: no replica is believed before the next ``place``."""
        self._floor = None
        self._changed = {}
        self._unplaced = {}

    def hear(self, key: Key) -> None:
        """A certificate's status changed, at a place not known yet."""
        self.heard += 1
        self._changed[key] = None
        self._unplaced[key] = self.heard

    def place(self, position: Position, heard: int) -> None:
        """The primary was at ``position`` when it was asked, and it was asked when so many changes had been heard:
        whoever has come there has these.
        """
        if self._floor is None:
            self._floor = position
        for key in [key for key, number in self._unplaced.items() if number <= heard]:
            self._changed[key] = position
            del self._unplaced[key]
        if len(self._changed) > REMEMBERED:
            self._floor = position
            self._changed = dict.fromkeys(self._unplaced)

    def needed(self, key: Key) -> Position | None:
        """Where a server must be for its row of this certificate to be believed; None when only the primary can say."""
        return self._changed.get(key, self._floor)
