"""Migrations make the schema that the code states, from anywhere, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from store_world import NOW, make_issuer

from ca_store.clock import SystemClock
from ca_store.database import SchemaMismatch, migrate, open_issuance_store, open_read_store, schema_revision
from ca_store.engine import writing_engine
from ca_store.errors import Conflict
from ca_store.schema import REVISION, certificate_status, metadata, pack_serial
from ca_store.types import CertificateState, IssuerID, Reason, Status

if TYPE_CHECKING:
    from pathlib import Path

    from ca_store.contracts import IssuanceStore

pytest_plugins = ("store_fixtures",)


def test_migrations_lead_to_the_schema_of_the_code(url: str) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_constraints_that_autogeneration_does_not_compare(url: str) -> None:
    inspector = sqlalchemy.inspect(sqlalchemy.create_engine(url))
    for table in metadata.sorted_tables:
        stated = {str(c.name) for c in table.constraints if isinstance(c, sqlalchemy.CheckConstraint)}
        assert {c["name"] for c in inspector.get_check_constraints(table.name)} == stated
    inspector.engine.dispose()


def test_migrating_again_changes_nothing(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = open_issuance_store(url)
    store.add_issuer(make_issuer("root"), "file:keys/root.key", NOW)
    monkeypatch.chdir(tmp_path)
    migrate(url)
    assert [issuer.label for issuer in store.issuers()] == ["root"]
    store.close()


def make_old_database(url: str) -> None:
    """As the first version of this service left one: a CA and two certificates in schema 0001."""
    engine = writing_engine(url, create=True)
    with as_file(files("ca_store") / "migrations") as folder, engine.begin() as connection:
        configuration = Config()
        configuration.set_main_option("script_location", str(folder))
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "0001")
        connection.execute(
            sqlalchemy.text(
                "INSERT INTO issuer (id, label, certificate, serial, not_before, not_after, key_reference, created_at)"
                " VALUES (1, 'root', :one, :one, 0, 1, 'file:keys/root.key', 0)"
            ),
            {"one": pack_serial(1)},
        )
        for serial, state, reason, revoked_at in ((5, 1, None, None), (6, 2, 4, NOW)):
            connection.execute(
                sqlalchemy.text(
                    "INSERT INTO certificate_status"
                    " (issuer_id, serial, state, reason, revoked_at, changed_at, not_after)"
                    " VALUES (1, :serial, :state, :reason, :revoked_at, :at, :at)"
                ),
                {"serial": pack_serial(serial), "state": state, "reason": reason, "revoked_at": revoked_at, "at": NOW},
            )
    engine.dispose()


async def test_an_old_database_is_refused_by_name_of_the_command_and_keeps_its_rows_when_migrated(
    empty_url: str,
) -> None:
    make_old_database(empty_url)
    with pytest.raises(SchemaMismatch, match="schema 0001 and this program needs 0004: run `issuance migrate`"):
        open_issuance_store(empty_url)
    with pytest.raises(SchemaMismatch, match="run `issuance migrate`"):
        await open_read_store(empty_url, SystemClock())
    assert schema_revision(empty_url) == "0001"
    assert migrate(empty_url)
    assert schema_revision(empty_url) == REVISION
    assert not migrate(empty_url)
    reader = await open_read_store(empty_url, SystemClock())
    assert await reader.status(IssuerID(1), 5) == Status(CertificateState.GOOD, NOW, NOW)
    assert await reader.status(IssuerID(1), 6) == Status(CertificateState.REVOKED, NOW, NOW, NOW, Reason.superseded)
    await reader.close()


def test_two_migrations_at_once(empty_url: str) -> None:
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(migrate, [empty_url] * 3))
    open_issuance_store(empty_url).close()


@pytest.mark.parametrize(
    "wrong",
    [{"state": 3}, {"state": 2}, {"reason": 1}, {"revoked_at": 5}, {"serial": b"\1"}, {"issuer_id": 99}],
    ids=lambda wrong: next(iter(wrong)) + "=" + str(next(iter(wrong.values()))),
)
def test_rows_that_make_no_sense_are_refused_by_the_database(
    store: IssuanceStore, root: IssuerID, wrong: dict[str, object]
) -> None:
    row = {"issuer_id": root, "serial": pack_serial(9), "state": 1, "changed_at": NOW, "not_after": NOW} | wrong
    with pytest.raises(Conflict), store._transaction() as connection:  # type: ignore[attr-defined]  # below its methods
        connection.execute(sqlalchemy.insert(certificate_status).values(**row))
