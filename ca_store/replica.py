"""Status rows from a streaming replica, as far as it is known to have what was heard of.

A statement cannot say how far the replica was when its snapshot was taken, only an earlier one on the same connection
can. So each connection remembers the last place its server was seen at, and looks again when that is not far enough.
"""

from __future__ import annotations

import logging
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import psycopg

from ca_store.engine import postgresql_arguments, store_errors
from ca_store.errors import StoreError, StoreUnavailable
from ca_store.horizon import Position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ca_store.clock import Clock
    from ca_store.connections import Connections, Query

log = logging.getLogger(__name__)

REPLICA_SECONDS: Final = 0.5
"""How long a look-up may take there before the primary is asked instead."""

REST_SECONDS: Final = 1.0
"""After a failure one look-up in this time tries the replica again; the others go to the primary at once."""

LOOK_SECONDS: Final = 0.05
"""A connection whose server was not far enough looks again after this."""

TOLD_SECONDS: Final = 5.0
"""A replica that is behind for so long is worth a line in the log."""

# On a standby the timeline is that of the last restart point or of the last page written, whichever is newer: after a
# promotion it may lag, and then the primary is asked; it is never ahead.
_POSITION: Final = """
SELECT (SELECT system_identifier FROM pg_control_system()),
    CASE WHEN pg_is_in_recovery()
        THEN (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)
            FROM pg_control_checkpoint() c, pg_control_recovery() r)::bigint
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint END,
    ((CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)
        - '0/0'::pg_lsn)::bigint
"""


class ForeignReplica(StoreError):  # noqa: N818 - named as its meaning
    """What should be a replica follows another history than the primary."""


async def read_position(connection: psycopg.AsyncConnection[Any]) -> Position:
    """How far a server is: on a standby what it has replayed, on a primary the end of its log."""
    row = await (await connection.execute(_POSITION)).fetchone()
    if row is None or None in row:
        raise StoreUnavailable("the database does not say how far it is")
    return Position(*row)


async def replica_lag(url: str, read_url: str) -> int:
    """Octets of the log that a replica lacks of what the primary has now. Raises ForeignReplica, StoreUnavailable."""
    places = []
    for each, reads in ((url, False), (read_url, True)):
        with store_errors():
            async with await psycopg.AsyncConnection.connect(**postgresql_arguments(each, reads=reads)) as connection:
                places.append(await read_position(connection))
    primary, replica = places
    if (fault := _foreign(replica, primary)) is not None:
        raise ForeignReplica(f"the read replica {fault}")
    return max(0, primary.lsn - replica.lsn)


def _foreign(position: Position, primary: Position) -> str | None:
    if position.system != primary.system:
        return "belongs to another database cluster"
    if position.timeline != primary.timeline:
        return f"is on timeline {position.timeline}, and the primary is on {primary.timeline}"
    return None


class _Behind(Exception):  # noqa: N818 - no fault of anybody's
    """The server does not have what is needed."""

    def __init__(self, position: Position) -> None:
        super().__init__()
        self.position = position


class Replica:
    """One or several hosts behind one URL. What fails there costs a detour, never an answer.

    Args:
        connections: to the replicas; bounded more tightly than those to the primary.
        clock: for the pauses.
    """

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._connections = connections
        self._clock = clock
        self._seen: WeakKeyDictionary[psycopg.AsyncConnection[Any], tuple[Position, float]] = WeakKeyDictionary()
        self._rests_until = -inf
        self._behind_since: float | None = None
        self._fault: str | None = None

    async def rows(self, query: Query, parameters: Mapping[str, Any], needed: Position) -> Sequence[Any] | None:
        """The rows as of ``needed`` or later; None when no replica can say."""
        now = self._clock.monotonic()
        if now < self._rests_until:
            return None
        if self._fault is not None:
            self._rests_until = now + REST_SECONDS
        try:
            rows = await self._connections.run(partial(self._look_up, query, parameters, needed))
        except StoreUnavailable as error:
            self._rest(f"cannot be asked: {error}")
            return None
        except _Behind as behind:
            self._note_behind(behind.position, needed)
            return None
        if self._fault is not None:
            log.warning("the read replica is used again")
            self._fault = None
            self._rests_until = -inf
        return rows

    async def close(self) -> None:
        """Close what is open."""
        await self._connections.close()

    async def _look_up(
        self, query: Query, parameters: Mapping[str, Any], needed: Position, connection: psycopg.AsyncConnection[Any]
    ) -> Sequence[Any]:
        seen, at = self._seen.get(connection, (None, -inf))
        if seen is None or not seen.covers(needed):
            now = self._clock.monotonic()
            if seen is None or now - at >= LOOK_SECONDS:
                seen = await read_position(connection)
                self._seen[connection] = seen, now
            if not seen.covers(needed):
                raise _Behind(seen)
            self._behind_since = None
        return await query.rows(parameters, connection)

    def _note_behind(self, position: Position, needed: Position) -> None:
        now = self._clock.monotonic()
        if (fault := _foreign(position, needed)) is not None:
            self._rest(fault)
        elif self._behind_since is None:
            self._behind_since = now
        elif now - self._behind_since >= TOLD_SECONDS:
            # Not at rest: rows that did not change are the same there.
            log.warning("the read replica is %d octets of the log behind", needed.lsn - position.lsn)
            self._behind_since = inf

    def _rest(self, fault: str) -> None:
        self._rests_until = self._clock.monotonic() + REST_SECONDS
        if self._fault is None:
            log.error("the read replica %s: the primary is asked instead", fault)
        self._fault = fault
