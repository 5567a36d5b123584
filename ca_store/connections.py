"""A few PostgreSQL connections kept open for look-ups, each look-up bounded in time.

Statements are SQLAlchemy's, compiled once; psycopg runs them. By way of SQLAlchemy's asynchronous engine the same
look-up takes more than three times the processor time, and could not be given up while the server does not answer.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row

from ca_store.engine import postgresql_dialect, store_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy.sql.compiler import Compiled
    from sqlalchemy.sql.elements import ClauseElement

ANSWER_SECONDS: Final = 3
"""How long a look-up may take, waiting for a connection included. Relying parties give up after five or so."""

_T = TypeVar("_T")


class Query:
    """A Core statement as psycopg takes it."""

    def __init__(self, statement: ClauseElement) -> None:
        compiled: Compiled = statement.compile(
            dialect=postgresql_dialect(), compile_kwargs={"render_postcompile": True}
        )
        self.text: Final = str(compiled).encode()
        self.parameters: Final[Mapping[str, Any]] = dict(compiled.params)

    async def rows(
        self, parameters: Mapping[str, Any] | None, connection: psycopg.AsyncConnection[Any]
    ) -> Sequence[Any]:
        """Carry it out on a connection."""
        cursor = await connection.execute(self.text, {**self.parameters, **(parameters or {})})
        return await cursor.fetchall() if cursor.description else ()


class Connections:
    """Opened when they are needed and kept; at most ``size`` at once.

    Args:
        arguments: what psycopg connects with.
        size: connections; past it a look-up waits for one.
        seconds: how long a look-up may take, if not ANSWER_SECONDS.
    """

    def __init__(self, arguments: Mapping[str, Any], size: int, seconds: float | None = None) -> None:
        self._arguments = arguments
        self._seconds = seconds
        self._idle: list[psycopg.AsyncConnection[Any]] = []
        self._turns = asyncio.Semaphore(size)
        self._forsaken: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def rows(self, query: Query, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """The rows, as named tuples. The statement may run twice when a connection is lost under it, and may
        still run to its end after this has given up. Raises StoreUnavailable, Conflict.
        """
        return await self.run(partial(query.rows, parameters))

    async def run(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[_T]]) -> _T:
        """What ``work`` makes of a connection, under the same conditions."""
        asked = asyncio.create_task(self._ask(work))
        with store_errors():
            try:
                await asyncio.wait({asked}, timeout=self._seconds or ANSWER_SECONDS)
            finally:
                if not asked.done():
                    self._forsake(asked)
            if not asked.done():
                raise TimeoutError
            return asked.result()

    def _forsake(self, asked: asyncio.Task[Any]) -> None:
        # psycopg first asks the server to give up, which takes its time when that is what does not answer.
        asked.cancel()
        self._forsaken.add(asked)
        asked.add_done_callback(self._forget)

    def _forget(self, asked: asyncio.Task[Any]) -> None:
        self._forsaken.discard(asked)
        if not asked.cancelled():
            asked.exception()

    async def _ask(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[_T]]) -> _T:
        async with self._turns:
            while True:
                kept = bool(self._idle)
                connection = self._idle.pop() if kept else await self._connect()
                try:
                    return await work(connection)
                except psycopg.OperationalError:
                    # A kept connection may have died long ago, with the server or on the way to it.
                    if not (kept and connection.broken):
                        raise
                finally:
                    await self._give_back(connection)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(
            autocommit=True,  # each look-up is a transaction of its own
            row_factory=namedtuple_row,
            **self._arguments,
        )

    async def _give_back(self, connection: psycopg.AsyncConnection[Any]) -> None:
        if self._closed or connection.info.transaction_status is not TransactionStatus.IDLE:
            await connection.close()
        else:
            self._idle.append(connection)

    async def close(self) -> None:
        """Close what is open; connections in use follow when they are given back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()
