"""The online server's side of a PostgreSQL database."""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING, Any, Final

import psycopg
from sqlalchemy import select

from ca_store.blocks import ATTEMPTS, INSERT, block_row, draw_block
from ca_store.changes import decode_payload
from ca_store.connections import Connections, Query
from ca_store.credentials import credentials_of, crl_of, make_credential, make_crl
from ca_store.engine import CHANNEL, RECORDED_CHANNEL, postgresql_arguments
from ca_store.errors import Conflict, NotFound, StoreUnavailable
from ca_store.feed import Feed
from ca_store.horizon import Horizon
from ca_store.issuers import HASHES, ISSUERS, make_issuers
from ca_store.replica import REPLICA_SECONDS, Replica, read_position
from ca_store.schema import pack_serial, unpack_serial
from ca_store.statuses import EXAMPLES, STATUS, make_revocation, make_status, never_used, revocations_of
from ca_store.types import MAX_SERIAL, CertificateState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ca_store.clock import Clock
    from ca_store.types import CRL, Change, Credential, CredentialKind, Issuer, IssuerID, SerialBlock, Status

log = logging.getLogger(__name__)

CONFIRM_SECONDS: Final = 0.1
"""How often a round trip on the listening connection confirms that nothing is outstanding."""

SOON_SECONDS: Final = 0.01
"""The same as long as a change is not older than CONFIRM_SECONDS. Who is the first to answer with a revocation makes
the other workers read rows until their feeds are confirmed once more: under many revocations they would hardly do
anything else if that took long.
"""

ROUND_TRIP_SECONDS: Final = 3
"""A round trip that takes longer means that the connection is lost."""

POOL_SIZE: Final = 4
"""Connections a worker reads through; past it a look-up waits for one."""

_STATUS: Final = Query(STATUS)
_EXAMPLES: Final = {state: Query(EXAMPLES[state]) for state in CertificateState}
_ISSUERS: Final = Query(ISSUERS)
_HASHES: Final = Query(HASHES)
_INSERT_BLOCK: Final = Query(INSERT)
_PING: Final = Query(select(1))
_CONFIRM: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"


class PostgreSQLChangeFeed(Feed):
    """LISTENs on a connection of its own.

    Notifications arrive in the order of commits, whatever the order in which transactions began; a sequence number
    would not (a late committer has an early number). When a change was recorded the primary's clock has said, and each
    round trip tells anew how far it is from the monotonic clock here.
    """

    def __init__(self, url: str, clock: Clock, horizon: Horizon | None = None) -> None:
        super().__init__(clock)
        self._arguments = postgresql_arguments(url)
        self._horizon = horizon
        self._heard_at = -inf
        self._behind = 0.0
        self._recorded: tuple[int, float] | None = None

    async def _follow(self, deliver: Callable[[Sequence[Change]], None], connected: Callable[[], None]) -> None:
        async with await psycopg.AsyncConnection.connect(autocommit=True, **self._arguments) as connection:
            for channel in (CHANNEL, RECORDED_CHANNEL):
                await connection.execute(f"LISTEN {channel}")
            if self._horizon is not None:
                self._horizon.reset()
            connected()
            while True:
                started = self._clock.monotonic()
                # The server sends what was notified before it says that this statement is done.
                async with asyncio.timeout(ROUND_TRIP_SECONDS):
                    await self._confirm(connection)
                await self._drain(connection, deliver, 0)
                self.confirmed = started
                recent = started - self._heard_at < CONFIRM_SECONDS
                await self._drain(connection, deliver, SOON_SECONDS if recent else CONFIRM_SECONDS)

    async def _confirm(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await self._compare(connection)
        horizon = self._horizon
        if horizon is None:
            return
        # A change is notified of once it is committed, so its record lies before the end that the log has now.
        heard = horizon.heard
        horizon.place(await read_position(connection), heard)

    async def _compare(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """How far the monotonic clock here is behind the primary's clock: at most by so much, and less by the time that
        the question was on its way. So no change is taken for newer than it is.
        """
        asked = self._clock.monotonic()
        row = await (await connection.execute(_CONFIRM)).fetchone()
        if row is None:
            raise StoreUnavailable("the database does not say what time it is")
        self._behind = row[0] - asked

    async def _drain(
        self, connection: psycopg.AsyncConnection[Any], deliver: Callable[[Sequence[Change]], None], seconds: float
    ) -> None:
        """Deliver what has come in, and what comes in within so many seconds up to the first arrival."""
        async for notification in connection.notifies(timeout=seconds, stop_after=1):
            try:
                change = self._change(notification)
            except ValueError:
                log.warning("change feed: %r is not a change of this service", notification.payload)
                continue
            if change is None:
                continue
            if self._horizon is not None and change.serial is not None:
                self._horizon.hear((change.issuer, change.serial))
            self._heard_at = self._clock.monotonic()
            deliver([change])

    def _change(self, notification: psycopg.Notify) -> Change | None:
        """What was notified of; None for the time of a change, which comes right before it from the same writer. Raises
        ValueError for something else.
        """
        if notification.channel == RECORDED_CHANNEL:
            self._recorded = notification.pid, float(notification.payload)
            return None
        recorded, self._recorded = self._recorded, None
        if recorded is None or recorded[0] != notification.pid:
            return decode_payload(notification.payload)
        return decode_payload(notification.payload, recorded[1] - self._behind)


class PostgreSQLReadStore:
    """``ca_store.contracts.ReadStore`` over PostgreSQL; with a ``read_url``, status rows from there as far as they can
    be believed, and everything else from the primary.
    """

    def __init__(self, url: str, clock: Clock, read_url: str | None = None) -> None:
        self._connections = Connections(postgresql_arguments(url), POOL_SIZE)
        self._horizon = Horizon()
        self._replica = None
        if read_url is not None:
            arguments = postgresql_arguments(read_url, reads=True)
            self._replica = Replica(Connections(arguments, POOL_SIZE, REPLICA_SECONDS), clock)
        self.feed = PostgreSQLChangeFeed(url, clock, None if read_url is None else self._horizon)

    async def status(self, issuer: IssuerID, serial: int, *, as_heard: bool = False) -> Status:
        if not 0 < serial <= MAX_SERIAL:
            raise never_used(serial)
        parameters = {"issuer": issuer, "serial": pack_serial(serial)}
        rows = None
        if as_heard and self._replica is not None:
            rows = await self._from_replica(self._replica, (issuer, serial), parameters)
        if rows is None:
            rows = await self._connections.rows(_STATUS, parameters)
        if not rows:
            raise never_used(serial)
        return make_status(rows[0])

    async def _from_replica(
        self, replica: Replica, key: tuple[IssuerID, int], parameters: Mapping[str, Any]
    ) -> Sequence[Any] | None:
        needed = self._horizon.needed(key)
        if needed is None:
            return None
        rows = await replica.rows(_STATUS, parameters, needed)
        # Not if its change was heard of meanwhile.
        return rows if self._horizon.needed(key) == needed else None

    async def reserve_serials(self, tsa_name: bytes, size: int, now: int) -> SerialBlock:
        for _ in range(ATTEMPTS):
            block = draw_block(size)
            try:
                await self._connections.rows(_INSERT_BLOCK, block_row(tsa_name, block, now))
            except Conflict:
                continue
            return block
        raise StoreUnavailable(f"no unused block of serials in {ATTEMPTS} draws")

    async def issuers(self) -> Sequence[Issuer]:
        return make_issuers(await self._connections.rows(_ISSUERS), await self._connections.rows(_HASHES))

    async def credentials(self, kind: CredentialKind) -> Sequence[Credential]:
        return [make_credential(row) for row in await self._connections.rows(Query(credentials_of(kind)))]

    async def crl(self, label: str, number: int | None = None) -> CRL:
        rows = await self._connections.rows(Query(crl_of(label, number)))
        if not rows:
            raise NotFound(f"there is no such CRL of a CA labelled {label!r}")
        return make_crl(rows[0])

    async def example(self, issuer: IssuerID, state: CertificateState, after: int) -> int | None:
        rows = await self._connections.rows(_EXAMPLES[state], {"issuer": issuer, "after": after})
        return unpack_serial(bytes(rows[0].serial)) if rows else None

    async def revocations(
        self, since: int, *, after: tuple[IssuerID, int] | None = None, limit: int = 1000
    ) -> Sequence[tuple[IssuerID, int]]:
        rows = await self._connections.rows(Query(revocations_of(since, after, limit)))
        return [make_revocation(row) for row in rows]

    async def ping(self) -> None:
        await self._connections.rows(_PING)

    async def close(self) -> None:
        await self._connections.close()
        if self._replica is not None:
            await self._replica.close()
