"""Migrations make the schema that the code states, from anywhere, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from store_world import NOW, make_issuer

from ca_store.database import migrate, open_issuance_store
from ca_store.errors import Conflict
from ca_store.schema import certificate_status, metadata, pack_serial

if TYPE_CHECKING:
    from pathlib import Path

    from ca_store.contracts import IssuanceStore
    from ca_store.types import IssuerID

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
