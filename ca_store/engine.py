"""Connections for both dialects, and the one place where driver errors become the store's own."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from sqlalchemy import create_engine, event, inspect, select, text
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ca_store.errors import Conflict, StoreError, StoreUnavailable
from ca_store.schema import REVISION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Dialect, Engine, FromClause

BUSY_SECONDS: Final = 5
"""How long an SQLite writer waits for another before StoreUnavailable."""

_PAUSE: Final = 0.05

CONNECT_SECONDS: Final = 5
CONNECT_EACH_SECONDS: Final = 2
"""The same for each of several hosts; libpq's least."""
STATEMENT_SECONDS: Final = 10

CHANNEL: Final = "ca_store_change"
"""PostgreSQL's notification channel of the change feed."""

RECORDED_CHANNEL: Final = "ca_store_change_recorded"
"""Where each change is preceded by the time at which it was written. A channel of its own, because a responder of an
earlier version would not know its change any more by a payload with one field more."""

READS: Final = {"ca_store_reads": True}
"""Execution options of a transaction that writes nothing, and so need not wait for SQLite's one writer."""


class SchemaMismatch(StoreError):  # noqa: N818 - named as its meaning
    """The database has another schema than this code. The message says what to do."""


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn SQLAlchemy's and the drivers' errors into Conflict and StoreUnavailable."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict(_sentence(error.orig)) from error
    except psycopg.IntegrityError as error:
        raise Conflict(_sentence(error)) from error
    except DBAPIError as error:
        raise StoreUnavailable(_sentence(error.orig)) from error
    except (SQLAlchemyError, psycopg.Error, sqlite3.Error) as error:
        raise StoreUnavailable(_sentence(error)) from error
    except TimeoutError as error:
        raise StoreUnavailable("the database did not answer in time") from error
    except OSError as error:
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


def connect_sqlite(url: str, busy_seconds: float, *, create: bool = False) -> sqlite3.Connection:
    """Open the file of an SQLite URL, which must exist unless ``create``. BEGIN is the caller's to say."""
    return sqlite3.connect(
        f"{sqlite_path(url).absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
    )


def postgresql_dialect() -> Dialect:
    """PostgreSQL as psycopg 3 speaks it."""
    return make_url("postgresql+psycopg://").get_dialect()()


def postgresql_arguments(url: str, *, reads: bool = False) -> dict[str, Any]:
    """What psycopg connects with: the URL's own settings, and bounds where it has none, so that nothing hangs. Of
    several hosts it takes the one that can be written, unless it only ``reads``.
    """
    bounds: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": STATEMENT_SECONDS * 1000,
    }
    _, given = postgresql_dialect().create_connect_args(make_url(url))
    if "," in str(given.get("host", "")):
        bounds["connect_timeout"] = CONNECT_EACH_SECONDS
        bounds |= {} if reads else {"target_session_attrs": "read-write"}
    options = f"-c statement_timeout={STATEMENT_SECONDS * 1000} -c timezone=UTC {given.get('options', '')}"
    return {**bounds, **given, "options": options.strip()}


class _SQLiteCompiler(SQLiteCompiler):
    """Writes ``Select.with_hint`` for a table, which SQLAlchemy leaves out for SQLite."""

    def get_from_hint_text(self, _: FromClause, text: str | None) -> str | None:
        return text


def sqlite_engine(url: str, **arguments: Any) -> Engine:  # noqa: ANN401 - whatever create_engine takes
    """An engine that takes hints."""
    engine = create_engine(url, **arguments)
    engine.dialect.statement_compiler = _SQLiteCompiler
    return engine


def writing_engine(url: str, *, create: bool = False) -> Engine:
    """A synchronous engine whose transactions are durable once committed."""
    if not is_sqlite(url):
        return create_engine(url, poolclass=NullPool, connect_args=postgresql_arguments(url))
    engine = sqlite_engine(url, poolclass=NullPool, creator=lambda: connect_sqlite(url, BUSY_SECONDS, create=create))
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    _switch_to_wal(connection)
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait when two processes switch the journal of a new file at once: one of them is refused."""
    for _ in range(int(BUSY_SECONDS / _PAUSE)):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(_PAUSE)
        else:
            return
    connection.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that starts by reading cannot become a writer when another one was first.
    reads = READS.keys() <= connection.get_execution_options().keys()
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


_REVISION_QUERY: Final = select(text("version_num")).select_from(text("alembic_version"))


def check_revision(connection: Connection) -> None:
    """Raise SchemaMismatch unless the database has the schema of this code."""
    found = read_revision(connection)
    if found is None:
        raise no_schema()
    if found != REVISION:
        raise other_revision(found)


def read_revision(connection: Connection) -> str | None:
    """The Alembic revision of a database, None when it has none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(_REVISION_QUERY).scalar_one_or_none()


def no_schema() -> SchemaMismatch:
    """The refusal of a database that nothing was done to."""
    return SchemaMismatch("the database has no tables of this service: run `issuance init`")


def other_revision(found: str | None) -> SchemaMismatch:
    """The refusal of a database that another version of this code made; revisions are numbers in order."""
    remedy = "run the version that made the database" if found is None or found > REVISION else "run `issuance migrate`"
    return SchemaMismatch(f"the database has schema {found} and this program needs {REVISION}: {remedy}")
