"""The online server's side of an SQLite database.

Look-ups are synchronous statements on a connection kept open: they take less time than a hop to another thread would.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import event, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import StaticPool

from ca_store.blocks import ATTEMPTS, INSERT, block_row, draw_block
from ca_store.changes import make_change
from ca_store.credentials import credentials_of, crl_of, make_credential, make_crl
from ca_store.engine import READS, connect_sqlite, sqlite_engine, store_errors, writing_engine
from ca_store.errors import Conflict, NotFound, StoreUnavailable
from ca_store.feed import Feed
from ca_store.issuers import HASHES, ISSUERS, make_issuers
from ca_store.schema import change, pack_serial, unpack_serial
from ca_store.statuses import EXAMPLES, STATUS, make_revocation, make_status, never_used, revocations_of
from ca_store.types import MAX_SERIAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from ca_store.clock import Clock
    from ca_store.types import (
        CRL,
        CertificateState,
        Change,
        Credential,
        CredentialKind,
        Issuer,
        IssuerID,
        SerialBlock,
        Status,
    )

POLL_SECONDS: Final = 0.02
"""How often the feed looks whether anyone committed; one look is a few microseconds."""

BATCH: Final = 1000
"""Changes delivered at once; between batches the event loop has its turn."""

_READ_BUSY_SECONDS: Final = 0.25
"""WAL readers do not wait for writers; only recovery after a crash can make them wait."""

# Executed by SQLAlchemy the hot path's one statement costs six times what the driver takes for it.
_COMPILED: Final = STATUS.compile(dialect=sqlite.dialect(paramstyle="qmark"))
_STATUS_TEXT: Final = str(_COMPILED)
if _COMPILED.positiontup != ["issuer", "serial"]:
    raise AssertionError("the look-up's parameters have another order")

_CACHE_KIBIBYTES: Final = 16 * 1024
"""Pages that a connection for look-ups keeps; the driver's default is 2 MB, which a million rows overflow."""
_MAPPED_OCTETS: Final = 1 << 30
"""So much of the file is read from the kernel's pages directly; address space, not memory."""


def _open(url: str) -> Connection:
    """A connection for this thread in which every statement is a transaction of its own."""
    engine = sqlite_engine(
        url,
        poolclass=StaticPool,
        isolation_level="AUTOCOMMIT",
        creator=lambda: connect_sqlite(url, _READ_BUSY_SECONDS),
    )
    event.listen(engine, "connect", _prepare)
    with store_errors():
        return engine.connect()


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    for pragma in ("query_only = ON", f"cache_size = -{_CACHE_KIBIBYTES}", f"mmap_size = {_MAPPED_OCTETS}"):
        connection.execute(f"PRAGMA {pragma}")


def _close(connection: Connection) -> None:
    connection.close()
    connection.engine.dispose()


def _version_reader(connection: Connection) -> Callable[[], int]:
    """What reads ``PRAGMA data_version``: by the driver, because it is done fifty times a second."""
    cursor = cast("sqlite3.Connection", connection.connection.dbapi_connection).cursor()

    def read() -> int:
        version: int = cursor.execute("PRAGMA data_version").fetchone()[0]
        return version

    return read


class SQLiteChangeFeed(Feed):
    """Watches ``PRAGMA data_version`` and reads the change table when it moved.

    SQLite has one writer at a time, so rows become visible in the order of their ids. What a look finds was recorded
    after the look before.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(clock)
        self._url = url

    async def _follow(self, deliver: Callable[[Sequence[Change]], None], connected: Callable[[], None]) -> None:
        looked = self._clock.monotonic()
        connection = _open(self._url)
        try:
            version_of = _version_reader(connection)
            seen = version_of()
            last: int = connection.execute(select(func.coalesce(func.max(change.c.id), 0))).scalar_one()
            connected()
            while True:
                started = self._clock.monotonic()
                version = version_of()
                if version != seen:
                    last = await self._read(connection, last, looked, deliver, connected)
                    seen = version
                self.confirmed = looked = started
                await asyncio.sleep(POLL_SECONDS)
        finally:
            _close(connection)

    @staticmethod
    async def _read(
        connection: Connection,
        last: int,
        looked: float,
        deliver: Callable[[Sequence[Change]], None],
        connected: Callable[[], None],
    ) -> int:
        """Deliver what is behind ``last`` and was recorded after ``looked``; the id of the newest change delivered."""
        while rows := connection.execute(
            select(change).where(change.c.id > last).order_by(change.c.id).limit(BATCH)
        ).all():
            if rows[0].id != last + 1:
                connected()  # pruned before it was read
            deliver([make_change(row, looked) for row in rows])
            last = rows[-1].id
            await asyncio.sleep(0)
        return last


class SQLiteReadStore:
    """``ca_store.contracts.ReadStore`` over one SQLite file. Lives on the event loop of one thread."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._connection = _open(url)
        self._look_up = cast("sqlite3.Connection", self._connection.connection.dbapi_connection).cursor()
        self._writer = writing_engine(url)
        self.feed = SQLiteChangeFeed(url, clock)

    async def status(self, issuer: IssuerID, serial: int, *, as_heard: bool = False) -> Status:  # noqa: ARG002 - there is one file
        if not 0 < serial <= MAX_SERIAL:
            raise never_used(serial)
        try:
            row = self._look_up.execute(_STATUS_TEXT, (issuer, pack_serial(serial))).fetchone()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the database says: {error}") from error
        if row is None:
            raise never_used(serial)
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
            return [make_credential(row) for row in self._connection.execute(credentials_of(kind))]

    async def crl(self, label: str, number: int | None = None) -> CRL:
        with store_errors():
            row = self._connection.execute(crl_of(label, number)).first()
        if row is None:
            raise NotFound(f"there is no such CRL of a CA labelled {label!r}")
        return make_crl(row)

    async def example(self, issuer: IssuerID, state: CertificateState, after: int) -> int | None:
        with store_errors():
            row = self._connection.execute(EXAMPLES[state], {"issuer": issuer, "after": after}).first()
        return None if row is None else unpack_serial(row.serial)

    async def revocations(
        self, since: int, *, after: tuple[IssuerID, int] | None = None, limit: int = 1000
    ) -> Sequence[tuple[IssuerID, int]]:
        # It looks at every revoked row: not on the loop.
        return await asyncio.to_thread(self._revocations, since, after, limit)

    def _revocations(
        self, since: int, after: tuple[IssuerID, int] | None, limit: int
    ) -> Sequence[tuple[IssuerID, int]]:
        with store_errors(), self._writer.connect().execution_options(**READS) as connection, connection.begin():
            return [make_revocation(row) for row in connection.execute(revocations_of(since, after, limit))]

    async def ping(self) -> None:
        with store_errors():
            self._connection.execute(select(1)).all()

    async def close(self) -> None:
        _close(self._connection)
        self._writer.dispose()
