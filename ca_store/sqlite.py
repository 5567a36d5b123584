"""The online server's side of an SQLite database.

Look-ups are synchronous statements on a connection kept open: they take less time than a hop to another thread would.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from sqlalchemy import create_engine, event, func, select
from sqlalchemy.pool import StaticPool

from ca_store.blocks import ATTEMPTS, INSERT, block_row, draw_block
from ca_store.changes import make_change
from ca_store.credentials import CREDENTIALS, make_credential, make_crl
from ca_store.engine import check_revision, store_errors, writing_engine
from ca_store.errors import Conflict, NotFound, StoreUnavailable
from ca_store.issuers import HASHES, ISSUERS, make_issuers
from ca_store.queries import crl_of
from ca_store.schema import change, credential, pack_serial
from ca_store.statuses import STATUS, make_status
from ca_store.types import MAX_SERIAL, CredentialKind, format_serial

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from ca_store.clock import Clock
    from ca_store.types import CRL, Change, Credential, Issuer, IssuerID, SerialBlock, Status

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.05
"""How often the feed looks whether anyone committed; one look is a few microseconds."""

RETRY_SECONDS: Final = 0.5
"""Pause before a lost database is tried again."""

_READ_BUSY_MILLISECONDS: Final = 250
"""WAL readers do not wait for writers; only recovery after a crash can make them wait."""


def _open(url: str) -> Connection:
    """A connection for this thread in which every statement is a transaction of its own."""
    engine = create_engine(url, poolclass=StaticPool, isolation_level="AUTOCOMMIT")
    event.listen(engine, "connect", _prepare)
    with store_errors():
        return engine.connect()


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    connection.execute(f"PRAGMA busy_timeout = {_READ_BUSY_MILLISECONDS}")
    connection.execute("PRAGMA query_only = ON")


class SQLiteChangeFeed:
    """Watches ``PRAGMA data_version`` and reads the change table when it moved.

    SQLite has one writer at a time, so rows become visible in the order of their ids.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self.confirmed = float("-inf")

    async def run(self, deliver: Callable[[Sequence[Change]], None], reset: Callable[[], None]) -> None:
        while True:
            try:
                await self._follow(deliver, reset)
            except StoreUnavailable as error:
                log.error("change feed lost: %s", error)  # noqa: TRY400 - the sentence says it all
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, deliver: Callable[[Sequence[Change]], None], reset: Callable[[], None]) -> None:
        connection = _open(self._url)
        try:
            last = seen = None
            while True:
                started = self._clock.monotonic()
                with store_errors():
                    version = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
                    if last is None:
                        last = connection.execute(select(func.coalesce(func.max(change.c.id), 0))).scalar_one()
                        reset()
                    elif version != seen:
                        last = self._read(connection, last, deliver, reset)
                seen = version
                self.confirmed = started
                await asyncio.sleep(POLL_SECONDS)
        finally:
            connection.close()
            connection.engine.dispose()

    @staticmethod
    def _read(
        connection: Connection, last: int, deliver: Callable[[Sequence[Change]], None], reset: Callable[[], None]
    ) -> int:
        rows = connection.execute(select(change).where(change.c.id > last).order_by(change.c.id)).all()
        if not rows:
            return last
        if rows[0].id != last + 1:
            reset()  # pruned before we read it
        deliver([make_change(row) for row in rows])
        newest: int = rows[-1].id
        return newest


class SQLiteReadStore:
    """``ca_store.contracts.ReadStore`` over one SQLite file. Lives on the event loop of one thread."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._connection = _open(url)
        self._writer = writing_engine(url)
        self.feed = SQLiteChangeFeed(url, clock)
        with store_errors():
            check_revision(self._connection)

    async def status(self, issuer: IssuerID, serial: int) -> Status:
        row = None
        if 0 < serial <= MAX_SERIAL:
            with store_errors():
                row = self._connection.execute(STATUS, {"issuer": issuer, "serial": pack_serial(serial)}).first()
        if row is None:
            raise NotFound(f"serial {format_serial(serial)} was never used by this CA")
        return make_status(row)

    async def reserve_serials(self, tsa_name: bytes, size: int, now: int) -> SerialBlock:
        return await asyncio.to_thread(self._reserve, tsa_name, size, now)

    def _reserve(self, tsa_name: bytes, size: int, now: int) -> SerialBlock:
        for _ in range(ATTEMPTS):
            block = draw_block(size)
            try:
                with store_errors(), self._writer.begin() as connection:
                    connection.execute(INSERT, block_row(tsa_name, block, now))
            except Conflict:
                continue
            return block
        raise StoreUnavailable(f"no unused block of serials in {ATTEMPTS} draws")

    async def issuers(self) -> Sequence[Issuer]:
        with store_errors():
            return make_issuers(self._connection.execute(ISSUERS).all(), self._connection.execute(HASHES))

    async def credentials(self, kind: CredentialKind) -> Sequence[Credential]:
        with store_errors():
            rows = self._connection.execute(CREDENTIALS.where(credential.c.kind == kind.value))
            return [make_credential(row) for row in rows]

    async def crl(self, label: str) -> CRL:
        with store_errors():
            row = self._connection.execute(crl_of(label)).first()
        if row is None:
            raise NotFound(f"there is no CRL of a CA labelled {label!r}")
        return make_crl(row)

    async def ping(self) -> None:
        with store_errors():
            self._connection.execute(select(1))

    async def close(self) -> None:
        self._connection.close()
        self._connection.engine.dispose()
        self._writer.dispose()
