"""A database that cannot be asked is unavailable: never NotFound, never a hang, never a driver's exception."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy
from store_world import LATER, NOW, following, issue

from ca_store.clock import SystemClock
from ca_store.database import SchemaMismatch, migrate, open_issuance_store, open_read_store
from ca_store.engine import postgresql_arguments
from ca_store.errors import StoreUnavailable
from ca_store.types import CertificateState, IssuerID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ca_store.contracts import IssuanceStore, ReadStore

pytest_plugins = ("store_fixtures",)

on_postgresql = pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)


@contextmanager
def frozen_server(url: str) -> Iterator[None]:
    """Stop the server's processes without ending them: connections stay open and nothing answers."""
    with psycopg.connect(url.replace("+psycopg", "")) as admin:
        found = admin.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'").fetchall()
        folder = admin.execute("SHOW data_directory").fetchone()
        assert folder is not None
        backends = [pid for (pid,) in found if pid != admin.info.backend_pid]
    with open(f"{folder[0]}/postmaster.pid", encoding="ascii") as file:  # noqa: PTH123 - one line of it
        processes = [int(file.readline()), *backends]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


@on_postgresql
async def test_a_server_that_stopped_answering(
    url: str, store: IssuanceStore, reader: ReadStore, root: IssuerID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ca_store.connections.ANSWER_SECONDS", 0.3)
    issue(store, root, 5)
    async with following(reader):
        assert (await reader.status(root, 5)).state is CertificateState.GOOD
        with frozen_server(url):
            # More than the pool has connections: those that wait for one give up in time as well.
            asked = await asyncio.gather(*(reader.status(root, 5) for _ in range(9)), return_exceptions=True)
            assert {str(answer) for answer in asked} == {"the database did not answer in time"}
            assert {type(answer) for answer in asked} == {StoreUnavailable}
            with pytest.raises(StoreUnavailable):
                await reader.reserve_serials(b"name", 10, NOW)
            stopped = reader.feed.confirmed
        async with asyncio.timeout(30):
            while reader.feed.confirmed <= stopped:
                await asyncio.sleep(0.01)
            while True:
                try:
                    assert (await reader.status(root, 5)).state is CertificateState.GOOD
                    break
                except StoreUnavailable:
                    continue


@on_postgresql
async def test_connections_lost_while_idle_cost_no_answer(
    url: str, store: IssuanceStore, reader: ReadStore, root: IssuerID
) -> None:
    """A server that was restarted, or a firewall that forgot: the look-up after it must succeed."""
    issue(store, root, 5)
    await asyncio.gather(*(reader.status(root, 5) for _ in range(8)))
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as admin:
        ended = admin.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    assert len(ended) > 1
    answers = await asyncio.gather(*(reader.status(root, 5) for _ in range(8)))
    assert {answer.state for answer in answers} == {CertificateState.GOOD}
    assert (await reader.reserve_serials(b"name", 10, NOW)).size == 10


@on_postgresql
async def test_what_was_given_up_does_not_go_on_in_the_server(
    url: str, store: IssuanceStore, root: IssuerID, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = await open_read_store(f"{url}?options=-c%20statement_timeout%3D0", SystemClock())
    monkeypatch.setattr("ca_store.connections.ANSWER_SECONDS", 0.3)
    issue(store, root, 5)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    plain = url.replace("+psycopg", "")
    async with (
        await psycopg.AsyncConnection.connect(plain) as holder,
        await psycopg.AsyncConnection.connect(plain, autocommit=True) as admin,
    ):
        await holder.execute("LOCK TABLE certificate_status IN ACCESS EXCLUSIVE MODE")
        for _ in range(2):
            asked = await asyncio.gather(*(reader.status(root, 5) for _ in range(4)), return_exceptions=True)
            assert {type(answer) for answer in asked} == {StoreUnavailable}
            async with asyncio.timeout(20):
                while await (await admin.execute(waiting)).fetchone() != (0,):
                    await asyncio.sleep(0.01)
    assert (await reader.status(root, 5)).state is CertificateState.GOOD
    await reader.close()


@on_postgresql
async def test_a_caller_that_goes_away_takes_no_connection_with_it(
    store: IssuanceStore, reader: ReadStore, root: IssuerID
) -> None:
    issue(store, root, 5)
    for _ in range(3):
        asked = [asyncio.create_task(reader.status(root, 5)) for _ in range(20)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in asked:
            task.cancel()
        assert all(
            isinstance(gone, asyncio.CancelledError) for gone in await asyncio.gather(*asked, return_exceptions=True)
        )
    assert (await reader.status(root, 5)).state is CertificateState.GOOD


async def test_a_table_that_is_gone_is_unavailable(url: str, reader: ReadStore, root: IssuerID) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("ALTER TABLE certificate_status RENAME TO elsewhere"))
    engine.dispose()
    with pytest.raises(StoreUnavailable, match=r"does not exist|no such table"):
        await reader.status(root, 5)


def test_settings_of_the_url_are_kept() -> None:
    url = "postgresql+psycopg://u:p%20w%2B@h:5433/d?options=-c%20search_path%3Dca&connect_timeout=1&sslmode=require"
    arguments = postgresql_arguments(url)
    assert arguments["options"] == "-c statement_timeout=10000 -c timezone=UTC -c search_path=ca"
    assert (arguments["password"], arguments["port"], arguments["dbname"]) == ("p w+", 5433, "d")
    assert (str(arguments["connect_timeout"]), arguments["sslmode"]) == ("1", "require")
    assert arguments["tcp_user_timeout"] == 10_000


def test_of_several_hosts_the_one_that_can_be_written_is_taken() -> None:
    several = "postgresql+psycopg://u@/d?host=a:1&host=b:2"
    assert postgresql_arguments(several)["target_session_attrs"] == "read-write"
    assert postgresql_arguments(several + "&target_session_attrs=any")["target_session_attrs"] == "any"
    assert "target_session_attrs" not in postgresql_arguments(several, reads=True)
    assert postgresql_arguments(several)["connect_timeout"] == 2


@on_sqlite
async def test_a_writer_that_holds_on_too_long(
    url: str, store: IssuanceStore, reader: ReadStore, root: IssuerID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other writers give up; nobody who only reads waits at all."""
    monkeypatch.setattr("ca_store.engine.BUSY_SECONDS", 0.05)
    issue(store, root, 5)
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="database is locked"):
        store.reserve(root, 6, "server", LATER, NOW)
    with pytest.raises(StoreUnavailable, match="database is locked"):
        await reader.reserve_serials(b"name", 10, NOW)
    assert store.certificate(root, 5).status == await reader.status(root, 5)
    assert [certificate.serial for certificate in store.certificates(profile="server")] == [5]
    assert await reader.issuers() == store.issuers()
    holder.execute("ROLLBACK")
    holder.close()
    store.reserve(root, 6, "server", LATER, NOW)


@on_sqlite
async def test_no_look_up_leaves_a_transaction_open(
    url: str, store: IssuanceStore, reader: ReadStore, root: IssuerID
) -> None:
    """One that did would pin the write-ahead log, which then grows for ever."""
    issue(store, root, 5)
    async with following(reader) as heard:
        await reader.status(root, 5)
        await reader.issuers()
        await reader.ping()
        issue(store, root, 6)
        await heard.until(1)
        checkpoint = sqlite3.connect(url.removeprefix("sqlite:///"))
        assert checkpoint.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        checkpoint.close()


@on_sqlite
async def test_a_committed_revocation_is_on_the_disk(store: IssuanceStore) -> None:
    with store._transaction() as connection:  # type: ignore[attr-defined]  # the connection's own settings
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("synchronous", "journal_mode", "foreign_keys")
        ]
    assert settings == [2, "wal", 1]


@on_sqlite
async def test_the_online_connection_cannot_write(reader: ReadStore) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._look_up.execute("DELETE FROM change")  # type: ignore[attr-defined]  # the dialect's own connection


async def test_a_database_of_another_schema_is_refused(url: str) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    for call in (open_issuance_store, migrate):
        with pytest.raises(SchemaMismatch, match="schema 9999 and this program needs 0004"):
            call(url)
    with pytest.raises(SchemaMismatch, match="schema 9999 and this program needs 0004"):
        await open_read_store(url, SystemClock())


def test_a_file_that_does_not_exist_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch, match="does not exist: run `issuance init`"):
        open_issuance_store(f"sqlite:///{tmp_path}/ca.db")
    assert list(tmp_path.iterdir()) == []


async def test_a_database_without_tables_is_refused(empty_url: str) -> None:
    if empty_url.startswith("sqlite"):
        os.mknod(empty_url.removeprefix("sqlite:///"))
    for _ in range(2):
        with pytest.raises(SchemaMismatch, match="no tables of this service: run `issuance init`"):
            open_issuance_store(empty_url)
        with pytest.raises(SchemaMismatch, match="no tables of this service: run `issuance init`"):
            await open_read_store(empty_url, SystemClock())


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database " * 100)
    for call in (open_issuance_store, migrate):
        with pytest.raises(StoreUnavailable, match="not a database"):
            call(f"sqlite:///{tmp_path}/text.db")
    with pytest.raises(StoreUnavailable, match="not a database"):
        await open_read_store(f"sqlite:///{tmp_path}/text.db", SystemClock())


async def test_an_unreachable_server_is_unavailable_not_unknown() -> None:
    with pytest.raises(StoreUnavailable):
        open_issuance_store("postgresql+psycopg://ca@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable):
        await open_read_store("postgresql+psycopg://ca@127.0.0.1:1/none", SystemClock())
