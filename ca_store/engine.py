"""Connections for both dialects, and the one place where driver errors become the store's own."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ca_store.errors import Conflict, StoreError, StoreUnavailable
from ca_store.schema import REVISION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

BUSY_SECONDS: Final = 5
"""How long an SQLite writer waits for another before StoreUnavailable."""

CONNECT_SECONDS: Final = 5
STATEMENT_SECONDS: Final = 10

CHANNEL: Final = "ca_store_change"
"""PostgreSQL's notification channel of the change feed."""


class SchemaMismatch(StoreError):  # noqa: N818 - named as its meaning
    """The database has another schema than this code. The message names the command to run."""


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn SQLAlchemy's and the drivers' errors into Conflict and StoreUnavailable."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict(_sentence(error.orig)) from error
    except DBAPIError as error:
        raise StoreUnavailable(_sentence(error.orig)) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreUnavailable(_sentence(error)) from error
    except (OSError, TimeoutError) as error:
        raise StoreUnavailable(f"the database cannot be reached: {error}") from error


def _sentence(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    return f"the database says: {lines[0] if lines else type(error).__name__}"


def is_sqlite(url: str) -> bool:
    """Whether the URL names an SQLite file; otherwise it is PostgreSQL."""
    return make_url(url).get_backend_name() == "sqlite"


def sqlite_path(url: str) -> Path:
    """The file of an SQLite URL."""
    return Path(make_url(url).database or "")


def writing_engine(url: str) -> Engine:
    """A synchronous engine whose transactions are durable once committed."""
    if not is_sqlite(url):
        return create_engine(url, poolclass=NullPool, connect_args=postgresql_arguments())
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    # A deferred transaction that starts by reading cannot become a writer when another one was first.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # BEGIN is ours to say
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"busy_timeout = {BUSY_SECONDS * 1000}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def postgresql_arguments() -> dict[str, Any]:
    """What every PostgreSQL connection is opened with: nothing may hang for ever."""
    return {
        "connect_timeout": CONNECT_SECONDS,
        "options": f"-c statement_timeout={STATEMENT_SECONDS * 1000} -c timezone=UTC",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": STATEMENT_SECONDS * 1000,
    }


def reading_engine(url: str, pool_size: int) -> AsyncEngine:
    """An asynchronous PostgreSQL engine for look-ups, each a transaction of its own."""
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        isolation_level="AUTOCOMMIT",
        connect_args=postgresql_arguments(),
    )


_REVISION_QUERY: Final = select(text("version_num")).select_from(text("alembic_version"))


def check_revision(connection: Connection) -> None:
    """Raise SchemaMismatch unless the database has the schema of this code."""
    try:
        found = connection.execute(_REVISION_QUERY).scalar_one_or_none()
    except DBAPIError as error:
        if not isinstance(error.orig, sqlite3.DatabaseError) or "no such table" in str(error.orig):
            found = None
            connection.rollback()
        else:
            raise
    compare_revision(found)


async def check_revision_async(connection: AsyncConnection) -> None:
    """The same over an asynchronous connection."""
    await connection.run_sync(check_revision)


def compare_revision(found: str | None) -> None:
    """Raise SchemaMismatch unless ``found`` is the revision of this code."""
    if found is None:
        raise SchemaMismatch("the database has no tables of this service: run `issuance init`")
    if found != REVISION:
        raise SchemaMismatch(
            f"the database has schema {found} and this program needs {REVISION}: run `issuance migrate`"
        )
