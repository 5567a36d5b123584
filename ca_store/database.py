"""Opening and migrating the CA database: the composition root of this package."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ca_store.certificates import CertificateWriter
from ca_store.credentials import CredentialWriter, CRLWriter, InstitutionWriter
from ca_store.engine import (
    READS,
    SchemaMismatch,
    check_revision,
    is_sqlite,
    no_schema,
    read_revision,
    sqlite_path,
    store_errors,
    writing_engine,
)
from ca_store.issuers import IssuerWriter
from ca_store.postgresql import PostgreSQLReadStore
from ca_store.registration import RecordWriter, RegistrationWriter
from ca_store.sqlite import SQLiteReadStore

if TYPE_CHECKING:
    from ca_store.clock import Clock
    from ca_store.contracts import IssuanceStore, ReadStore

__all__ = ["SQLIssuanceStore", "SchemaMismatch", "migrate", "open_issuance_store", "open_read_store", "schema_revision"]


class SQLIssuanceStore(
    IssuerWriter,
    CertificateWriter,
    CredentialWriter,
    CRLWriter,
    InstitutionWriter,
    RegistrationWriter,
    RecordWriter,
):
    """``ca_store.contracts.IssuanceStore`` on either dialect."""


def migrate(url: str) -> bool:
    """Bring the database to the schema of this code, creating what is missing; whether anything was. Safe to repeat.

    Raises StoreUnavailable, and SchemaMismatch when a newer version has been here.
    """
    # Alembic takes longer to import than a worker takes to start, and only this needs it.
    from ca_store.migration import upgrade  # noqa: PLC0415

    return upgrade(url)


def schema_revision(url: str) -> str:
    """The schema that the database has now. Raises SchemaMismatch when it has none, StoreUnavailable."""
    _check_file(url)
    engine = writing_engine(url)
    try:
        with store_errors(), engine.execution_options(**READS).connect() as connection:
            found = read_revision(connection)
    finally:
        engine.dispose()
    if found is None:
        raise no_schema()
    return found


def open_issuance_store(url: str) -> IssuanceStore:
    """The store that issuance writes. Raises SchemaMismatch and StoreUnavailable."""
    _check_file(url)
    engine = writing_engine(url)
    try:
        with store_errors(), engine.execution_options(**READS).connect() as connection:
            check_revision(connection)
    except BaseException:
        engine.dispose()
        raise
    return SQLIssuanceStore(engine)


async def open_read_store(url: str, clock: Clock, read_url: str | None = None) -> ReadStore:
    """The store that the online server reads; status rows are read at ``read_url`` where they can be. Raises
    SchemaMismatch and StoreUnavailable.
    """
    # A short-lived connection of the other kind looks at the schema: it alone knows SQLAlchemy's inspector.
    await asyncio.to_thread(lambda: open_issuance_store(url).close())
    return SQLiteReadStore(url, clock) if is_sqlite(url) else PostgreSQLReadStore(url, clock, read_url)


def _check_file(url: str) -> None:
    # SQLite would quietly create an empty one.
    if is_sqlite(url) and not sqlite_path(url).exists():
        raise SchemaMismatch(f"the database {sqlite_path(url)} does not exist: run `issuance init`")
