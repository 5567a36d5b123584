"""Migrations of the CA database: the only user of Alembic."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Final

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import func, select, text

from ca_store.engine import other_revision, read_revision, store_errors, writing_engine

if TYPE_CHECKING:
    from sqlalchemy import Connection

_MIGRATION_LOCK: Final = 0x63615F73746F7265
"""An advisory lock that nothing else in the database takes: the octets of ``ca_store``."""


def upgrade(url: str) -> bool:
    """Bring the database to the newest schema; whether it had another. ``ca_store.database.migrate`` says what this
    raises.
    """
    engine = writing_engine(url, create=True)
    try:
        with as_file(files("ca_store") / "migrations") as folder, store_errors(), engine.begin() as connection:
            _take_turns(connection)
            before = read_revision(connection)
            configuration = Config()
            configuration.set_main_option("script_location", str(folder))
            configuration.attributes["connection"] = connection
            try:
                command.upgrade(configuration, "head")
            except CommandError as error:  # Alembic knows no way from where the database is
                raise other_revision(before) from error
            return before != read_revision(connection)
    finally:
        engine.dispose()


def _take_turns(connection: Connection) -> None:
    """Wait for another migration to end; an SQLite transaction has done that by beginning."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        connection.execute(text("SET LOCAL statement_timeout = 0"))  # rewriting a large table takes its time
