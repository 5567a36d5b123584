"""Two writers at once: the second one judges what the first one left, and a status never goes back."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
from store_world import LATER, NOW, issue

from ca_store.database import open_issuance_store
from ca_store.errors import Conflict, IllegalMove
from ca_store.statuses import make_revoked
from ca_store.types import CRL, CertificateState, Credential, CredentialKind, IssuerID, Reason, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from ca_store.contracts import IssuanceStore

pytest_plugins = ("store_fixtures",)


def wait_until_blocked(url: str, thread: threading.Thread) -> None:
    """Until the thread's transaction waits for another one's lock."""
    if url.startswith("sqlite"):
        time.sleep(0.2)  # SQLite shows no waiters; a thread that has not come to BEGIN yet meets the same order later
    else:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as admin:
            query = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            deadline = time.monotonic() + 20
            while (admin.execute(query).fetchone() or (0,))[0] == 0:
                assert time.monotonic() < deadline
                time.sleep(0.01)
    assert thread.is_alive()


@pytest.mark.parametrize("late", ["record", "add_credential", "revoke"])
def test_who_comes_while_a_revocation_is_being_committed(
    url: str, store: IssuanceStore, root: IssuerID, late: str
) -> None:
    store.reserve(root, 5, "server", LATER, NOW)
    if late != "record":
        store.record(root, 5, b"der", "CN=a", NOW, LATER, NOW)
    new = Credential(0, CredentialKind.OCSP, "root", root, 5, b"der", "file:keys/ocsp.key", NOW, LATER)
    calls: dict[str, Callable[[IssuanceStore], object]] = {
        "record": lambda other: other.record(root, 5, b"der", "CN=a", NOW, LATER, NOW + 2),
        "add_credential": lambda other: other.add_credential(new, NOW + 2),
        "revoke": lambda other: other.revoke(root, 5, Reason.keyCompromise, NOW, NOW + 2),
    }
    outcome: list[object] = []

    def come_late() -> None:
        other = open_issuance_store(url)
        try:
            outcome.append(calls[late](other))
        except IllegalMove as refusal:
            outcome.append(str(refusal))
        other.close()

    thread = threading.Thread(target=come_late)
    with store._transaction() as connection:  # type: ignore[attr-defined]  # held open to be met in the middle
        make_revoked(connection, root, 5, Reason.keyCompromise, NOW, NOW + 1)
        thread.start()
        wait_until_blocked(url, thread)
    thread.join(30)
    first = Status(CertificateState.REVOKED, NOW + 1, LATER, NOW, Reason.keyCompromise)
    assert store.certificate(root, 5).status == first
    if late == "revoke":
        assert outcome == [first]  # equal values: it changed nothing
    else:
        assert "serial 5 is revoked" in str(outcome[0])
    assert store.credentials() == []


@pytest.mark.parametrize("move", ["reserve", "add_crl", "record"])
def test_of_many_at_once_one_succeeds(url: str, store: IssuanceStore, root: IssuerID, move: str) -> None:
    if move == "record":
        store.reserve(root, 5, "server", LATER, NOW)
    ready = threading.Barrier(6)

    def attempt(number: int) -> bool:
        other = open_issuance_store(url)
        ready.wait(30)
        try:
            if move == "reserve":
                other.reserve(root, 5, "server", LATER, NOW + number)
            elif move == "add_crl":
                other.add_crl(CRL(root, 1, NOW, LATER, b"crl %d" % number))
            else:
                other.record(root, 5, b"der %d" % number, "CN=a", NOW, LATER, NOW + number)
        except (Conflict, IllegalMove):
            return False
        finally:
            other.close()
        return True

    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(attempt, range(6)))
    assert outcomes.count(True) == 1
    winner = outcomes.index(True)
    if move == "add_crl":
        assert store.latest_crl(root).der == b"crl %d" % winner
    else:
        row = store.certificate(root, 5)
        assert row.status.changed_at == NOW + winner
        assert row.der == (b"der %d" % winner if move == "record" else None)


def test_writers_of_different_certificates_all_succeed(url: str, store: IssuanceStore, root: IssuerID) -> None:
    def work(number: int) -> None:
        other = open_issuance_store(url)
        for serial in range(1 + number * 20, 1 + number * 20 + 20):
            issue(other, root, serial)
            other.revoke(root, serial, Reason.superseded, NOW, NOW + 5)
        other.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert [serial for serial, _ in store.revoked(root)] == list(range(1, 81))
