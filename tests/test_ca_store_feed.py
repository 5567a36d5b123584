"""The change feed: what was committed, once, in the order of the commits, whoever committed it."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy
from store_world import LATER, NOW, following, issue, make_issuer

from ca_store.clock import SystemClock
from ca_store.errors import Conflict, IllegalMove
from ca_store.sqlite import POLL_SECONDS
from ca_store.types import CRL, CertificateState, Change, ChangeKind, Credential, CredentialKind, IssuerID, Reason

if TYPE_CHECKING:
    from ca_store.contracts import IssuanceStore, ReadStore

pytest_plugins = ("store_fixtures",)

on_postgresql = pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)

_REVOKES = """
import sys
from ca_store.database import open_issuance_store
from ca_store.types import Reason
store = open_issuance_store(sys.argv[1])
store.revoke(1, 5, Reason.keyCompromise, 1_800_000_000, 1_800_000_000)
store.close()
"""


async def test_what_was_committed_arrives_in_order(store: IssuanceStore, reader: ReadStore, root: IssuerID) -> None:
    async with following(reader) as heard:
        for serial in range(1, 40):
            await asyncio.to_thread(issue, store, root, serial)  # the feed is lost when its loop stands still
        store.revoke(root, 3, Reason.superseded, NOW, NOW)
        store.revoke(root, 3, Reason.superseded, NOW, NOW + 9)  # changes nothing, so nothing is heard of it
        store.add_crl(CRL(root, 1, NOW, LATER, b"crl"))
        new = Credential(0, CredentialKind.OCSP, "root", root, 5, b"der", "file:keys/ocsp.key", NOW, LATER)
        store.retire_credential(store.add_credential(new, NOW), NOW)
        other = store.add_issuer(make_issuer("other"), "file:keys/other.key", NOW)
        await heard.until(45)
        assert heard.changes[:39] == [Change(ChangeKind.STATUS, root, serial) for serial in range(1, 40)]
        assert heard.changes[39:] == [
            Change(ChangeKind.STATUS, root, 3),
            Change(ChangeKind.CRL, root),
            Change(ChangeKind.CREDENTIAL, root),
            Change(ChangeKind.CREDENTIAL, root),
            Change(ChangeKind.STATUS, other, make_issuer("other").serial),
            Change(ChangeKind.ISSUER, other),
        ]
        assert heard.resets == 1


async def test_a_change_by_another_process_arrives(
    url: str, store: IssuanceStore, reader: ReadStore, root: IssuerID
) -> None:
    issue(store, root, 5)
    async with following(reader) as heard:
        command = [sys.executable, "-c", _REVOKES, url]
        await asyncio.to_thread(subprocess.run, command, cwd=Path(__file__).parents[1], check=True, timeout=60)
        await heard.until(1)
        assert heard.changes == [Change(ChangeKind.STATUS, root, 5)]
        assert (await reader.status(root, 5)).state is CertificateState.REVOKED


async def test_each_change_says_since_when_it_may_be_on_record(
    store: IssuanceStore, reader: ReadStore, root: IssuerID
) -> None:
    """Never later than it was, and not earlier by more than a look or a round trip, by the reader's clock."""
    clock = SystemClock()
    async with following(reader) as heard:
        await asyncio.sleep(2 * POLL_SECONDS)  # behind the first look
        begun = clock.monotonic()
        issue(store, root, 1)
        done = clock.monotonic()
        await heard.until(1)
        store.revoke(root, 1, Reason.superseded, NOW, NOW)
        again = clock.monotonic()
        await heard.until(2)
    first, second = (change.recorded_at for change in heard.changes)
    assert first is not None
    assert second is not None
    assert begun - 1 < first < done
    assert first <= second < again


@on_postgresql
async def test_the_time_of_a_change_is_what_its_own_writer_said_right_before_it(
    url: str, store: IssuanceStore, reader: ReadStore, root: IssuerID
) -> None:
    """Who says none, as a writer of an earlier version, must not be given that of another."""
    plain = url.replace("+psycopg", "")
    async with following(reader) as heard:
        with psycopg.connect(plain, autocommit=True) as one, psycopg.connect(plain, autocommit=True) as other:
            one.execute("SELECT pg_notify('ca_store_change_recorded', '1')")
            other.execute("SELECT pg_notify('ca_store_change', 'status:1:a1')")
            issue(store, root, 2)
            one.execute("SELECT pg_notify('ca_store_change', 'status:1:a3')")
            one.execute("SELECT pg_notify('ca_store_change_recorded', 'noon')")
            one.execute("SELECT pg_notify('ca_store_change', 'status:1:a4')")
            await heard.until(4)
    assert [change.serial for change in heard.changes if change.recorded_at is None] == [0xA1, 0xA3, 0xA4]
    assert [change.serial for change in heard.changes] == [0xA1, 2, 0xA3, 0xA4]


@on_postgresql
async def test_the_feed_confirms_itself_more_often_while_a_change_is_new(
    store: IssuanceStore, reader: ReadStore, root: IssuerID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ca_store.postgresql.CONFIRM_SECONDS", 60)
    async with following(reader) as heard:
        issue(store, root, 1)
        await heard.until(1)
        async with asyncio.timeout(20):
            for _ in range(5):
                before = reader.feed.confirmed
                while reader.feed.confirmed <= before:
                    await asyncio.sleep(0.001)


async def test_the_feed_confirms_itself(reader: ReadStore) -> None:
    """From a number that anyone can calculate with: workers share it before the feed is connected."""
    assert reader.feed.confirmed == 0
    async with following(reader):
        before = reader.feed.confirmed
        async with asyncio.timeout(20):
            while reader.feed.confirmed <= before:
                await asyncio.sleep(0.01)


async def test_what_was_rolled_back_is_never_delivered(store: IssuanceStore, reader: ReadStore, root: IssuerID) -> None:
    issue(store, root, 1)
    async with following(reader) as heard:
        with pytest.raises(IllegalMove):
            store.record(root, 1, b"again", "CN=1", NOW, LATER, NOW)
        with pytest.raises(Conflict):
            store.add_issuer(make_issuer("root"), "file:keys/x.key", NOW)
        crl = CRL(root, 1, NOW, LATER, b"crl")
        store.add_crl(crl)
        with pytest.raises(Conflict):
            store.add_crl(crl)
        issue(store, root, 2)
        await heard.until(2)
        assert heard.changes == [Change(ChangeKind.CRL, root), Change(ChangeKind.STATUS, root, 2)]


@on_postgresql
async def test_a_late_committer_is_delivered(url: str, store: IssuanceStore, reader: ReadStore, root: IssuerID) -> None:
    """A transaction that began first and commits last, which a poll by sequence number would skip for ever.

    SQLite has one writer at a time: transactions cannot overlap there.
    """
    async with following(reader) as heard:
        early = sqlalchemy.create_engine(url)
        with early.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT pg_notify('ca_store_change', 'status:1:aa')"))
            issue(store, root, 1)
            await heard.until(1)
            connection.commit()
        await heard.until(2)
        early.dispose()
        assert [change.serial for change in heard.changes] == [1, 0xAA]


@on_postgresql
async def test_what_is_no_change_of_ours_is_passed_over(
    url: str, store: IssuanceStore, reader: ReadStore, root: IssuerID
) -> None:
    async with following(reader) as heard:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as stranger:
            for payload in ("", "status", "status:x:1", "status:1:zz", "weather:1:", "status:1:1:1"):
                stranger.execute("SELECT pg_notify('ca_store_change', %s)", [payload])
        issue(store, root, 1)
        await heard.until(1)
        assert heard.changes == [Change(ChangeKind.STATUS, root, 1)]


@on_postgresql
async def test_a_lost_connection_resets_the_reader(
    url: str, store: IssuanceStore, reader: ReadStore, root: IssuerID, caplog: pytest.LogCaptureFixture
) -> None:
    """What was committed while no one listened is nowhere: whatever was remembered from before must go."""
    async with following(reader) as heard:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE 'SELECT extract(epoch%' AND datname = current_database() AND pid <> pg_backend_pid()"
            )
        await heard.until_reset(2)
        issue(store, root, 1)
        await heard.until(1)
        assert (await reader.status(root, 1)).state is CertificateState.GOOD
    lines = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line[:18] for line in lines] == ["change feed lost: ", "change feed is bac"]


@on_sqlite
async def test_a_backlog_is_delivered_in_batches(
    store: IssuanceStore, reader: ReadStore, root: IssuerID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ca_store.sqlite.BATCH", 2)
    async with following(reader) as heard:
        for serial in range(1, 8):  # all before the feed has its turn on this loop
            issue(store, root, serial)
        await heard.until(7)
        assert [change.serial for change in heard.changes] == list(range(1, 8))
        assert heard.resets == 1


@on_sqlite
async def test_a_reader_that_is_too_far_behind_starts_afresh(
    url: str, store: IssuanceStore, reader: ReadStore, root: IssuerID
) -> None:
    """Old changes are deleted in time; who has not read them must forget everything instead."""
    async with following(reader) as heard:
        for serial in (1, 2, 3):
            issue(store, root, serial)
        database = sqlite3.connect(url.removeprefix("sqlite:///"))
        database.execute("DELETE FROM change WHERE id < (SELECT max(id) FROM change)")
        database.commit()
        database.close()
        await heard.until(1)
        assert heard.resets == 2
        assert heard.changes == [Change(ChangeKind.STATUS, root, 3)]


@on_sqlite
async def test_the_change_table_does_not_grow_for_ever(
    url: str, store: IssuanceStore, root: IssuerID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ca_store.changes.KEPT", 3)
    monkeypatch.setattr("ca_store.changes._PRUNE_EVERY", 5)
    for serial in range(1, 9):  # with the issuer's own two changes: ten
        issue(store, root, serial)
    database = sqlite3.connect(url.removeprefix("sqlite:///"))
    assert [row[0] for row in database.execute("SELECT id FROM change ORDER BY id")] == [8, 9, 10]
    database.close()


@on_sqlite
async def test_a_file_that_is_lost_is_not_made_anew(
    url: str,
    store: IssuanceStore,
    reader: ReadStore,
    root: IssuerID,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An empty database in its place would look like one that knows no certificate."""
    monkeypatch.setattr("ca_store.feed.RETRY_SECONDS", 0.01)
    file = url.removeprefix("sqlite:///")
    store.close()
    await reader.close()
    os.rename(file, file + ".away")  # noqa: PTH104 - one system call, which the loop can wait for
    task = asyncio.create_task(reader.feed.run(lambda _: None, lambda: None))
    await asyncio.sleep(0.1)
    assert not task.done()
    os.link(file + ".away", file)  # fails if the file is there
    async with asyncio.timeout(20):
        while reader.feed.confirmed == 0:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    lines = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines == ["change feed lost: the database says: unable to open database file", "change feed is back"]
