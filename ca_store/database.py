"""Opening and migrating the CA database: the composition root of this package."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

from ca_store.certificates import CertificateWriter
from ca_store.credentials import CredentialWriter, CRLWriter, InstitutionWriter
from ca_store.engine import SchemaMismatch, check_revision, is_sqlite, sqlite_path, store_errors, writing_engine
from ca_store.issuers import IssuerWriter
from ca_store.postgresql import PostgreSQLReadStore
from ca_store.sqlite import SQLiteReadStore

if TYPE_CHECKING:
    from ca_store.clock import Clock
    from ca_store.contracts import IssuanceStore, ReadStore

__all__ = ["SQLIssuanceStore", "SchemaMismatch", "migrate", "open_issuance_store", "open_read_store"]


class SQLIssuanceStore(IssuerWriter, CertificateWriter, CredentialWriter, CRLWriter, InstitutionWriter):
    """``ca_store.contracts.IssuanceStore`` on either dialect."""


def migrate(url: str) -> None:
    """Bring the database to the schema of this code, creating what is missing. Safe to repeat.

    Raises StoreUnavailable.
    """
    engine = writing_engine(url)
    try:
        with as_file(files("ca_store") / "migrations") as folder, store_errors(), engine.begin() as connection:
            configuration = Config()
            configuration.set_main_option("script_location", str(folder))
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")
    finally:
        engine.dispose()


def open_issuance_store(url: str) -> IssuanceStore:
    """The store that issuance writes. Raises SchemaMismatch and StoreUnavailable."""
    _check_file(url)
    engine = writing_engine(url)
    try:
        with store_errors(), engine.connect() as connection:
            check_revision(connection)
    except BaseException:
        engine.dispose()
        raise
    return SQLIssuanceStore(engine)


async def open_read_store(url: str, clock: Clock) -> ReadStore:
    """The store that the online server reads. Raises SchemaMismatch and StoreUnavailable."""
    _check_file(url)
    if is_sqlite(url):
        return SQLiteReadStore(url, clock)
    store = PostgreSQLReadStore(url, clock)
    try:
        await store.check()
    except BaseException:
        await store.close()
        raise
    return store


def _check_file(url: str) -> None:
    # SQLite would quietly create an empty one.
    if is_sqlite(url) and not sqlite_path(url).exists():
        raise SchemaMismatch(f"the database {sqlite_path(url)} does not exist: run `issuance init`")
