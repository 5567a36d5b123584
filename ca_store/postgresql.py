"""The online server's side of a PostgreSQL database."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import psycopg
from sqlalchemy import select
from sqlalchemy.engine import make_url

from ca_store.blocks import ATTEMPTS, INSERT, block_row, draw_block
from ca_store.changes import decode_payload
from ca_store.credentials import CREDENTIALS, make_credential, make_crl
from ca_store.engine import (
    CHANNEL,
    STATEMENT_SECONDS,
    check_revision_async,
    postgresql_arguments,
    reading_engine,
    store_errors,
)
from ca_store.errors import Conflict, NotFound, StoreUnavailable
from ca_store.issuers import HASHES, ISSUERS, make_issuers
from ca_store.queries import crl_of
from ca_store.schema import credential, pack_serial
from ca_store.statuses import STATUS, make_status
from ca_store.types import MAX_SERIAL, CredentialKind, format_serial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Executable, Row

    from ca_store.clock import Clock
    from ca_store.types import CRL, Change, Credential, Issuer, IssuerID, SerialBlock, Status

log = logging.getLogger(__name__)

CONFIRM_SECONDS: Final = 0.1
"""How often a round trip on the listening connection confirms that nothing is outstanding."""

RETRY_SECONDS: Final = 0.5
"""Pause before a lost database is tried again."""

POOL_SIZE: Final = 4
"""Connections a worker reads through; past it a look-up waits for one."""


class PostgreSQLChangeFeed:
    """LISTENs on a connection of its own.

    Notifications arrive in the order of commits, whatever the order in which transactions began; a sequence number
    would not (a late committer has an early number).
    """

    def __init__(self, url: str, clock: Clock) -> None:
        parsed = make_url(url)
        self._conninfo = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
        self._clock = clock
        self.confirmed = float("-inf")

    async def run(self, deliver: Callable[[Sequence[Change]], None], reset: Callable[[], None]) -> None:
        while True:
            try:
                await self._follow(deliver, reset)
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.error("change feed lost: %s", str(error).strip() or type(error).__name__)  # noqa: TRY400 - as above
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, deliver: Callable[[Sequence[Change]], None], reset: Callable[[], None]) -> None:
        async with await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True, **postgresql_arguments()
        ) as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            reset()
            while True:
                started = self._clock.monotonic()
                async with asyncio.timeout(STATEMENT_SECONDS):
                    await connection.execute("SELECT 1")
                await self._drain(connection, deliver, 0)
                self.confirmed = started
                await self._drain(connection, deliver, CONFIRM_SECONDS)

    @staticmethod
    async def _drain(
        connection: psycopg.AsyncConnection[Any], deliver: Callable[[Sequence[Change]], None], seconds: float
    ) -> None:
        """Deliver what has come in, and what comes in within so many seconds up to the first arrival."""
        async for notification in connection.notifies(timeout=seconds, stop_after=1):
            try:
                change = decode_payload(notification.payload)
            except ValueError:
                log.warning("change feed: %r is not a change of this service", notification.payload)
            else:
                deliver([change])


class PostgreSQLReadStore:
    """``ca_store.contracts.ReadStore`` over PostgreSQL."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._engine = reading_engine(url, POOL_SIZE)
        self.feed = PostgreSQLChangeFeed(url, clock)

    async def check(self) -> None:
        """Raise SchemaMismatch when the database has another schema."""
        with store_errors():
            async with self._engine.connect() as connection:
                await check_revision_async(connection)

    async def _rows(
        self, query: Executable, parameters: dict[str, Any] | None = None
    ) -> Sequence[Row[*tuple[Any, ...]]]:
        with store_errors():
            async with self._engine.connect() as connection:
                return (await connection.execute(query, parameters)).all()

    async def status(self, issuer: IssuerID, serial: int) -> Status:
        rows: Sequence[Row[*tuple[Any, ...]]] = ()
        if 0 < serial <= MAX_SERIAL:
            rows = await self._rows(STATUS, {"issuer": issuer, "serial": pack_serial(serial)})
        if not rows:
            raise NotFound(f"serial {format_serial(serial)} was never used by this CA")
        return make_status(rows[0])

    async def reserve_serials(self, tsa_name: bytes, size: int, now: int) -> SerialBlock:
        for _ in range(ATTEMPTS):
            block = draw_block(size)
            try:
                with store_errors():
                    async with self._engine.connect() as connection:
                        await connection.execute(INSERT, block_row(tsa_name, block, now))
            except Conflict:
                continue
            return block
        raise StoreUnavailable(f"no unused block of serials in {ATTEMPTS} draws")

    async def issuers(self) -> Sequence[Issuer]:
        return make_issuers(await self._rows(ISSUERS), await self._rows(HASHES))

    async def credentials(self, kind: CredentialKind) -> Sequence[Credential]:
        return [make_credential(row) for row in await self._rows(CREDENTIALS.where(credential.c.kind == kind.value))]

    async def crl(self, label: str) -> CRL:
        rows = await self._rows(crl_of(label))
        if not rows:
            raise NotFound(f"there is no CRL of a CA labelled {label!r}")
        return make_crl(rows[0])

    async def ping(self) -> None:
        await self._rows(select(1))

    async def close(self) -> None:
        await self._engine.dispose()
