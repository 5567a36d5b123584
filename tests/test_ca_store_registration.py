"""What ``ca_store.contracts`` promises about officers, applications and records, on SQLite and PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from store_world import LATER, NOW, issue

from ca_store.database import open_issuance_store
from ca_store.errors import Conflict, IllegalMove, NotFound, StoreError
from ca_store.types import Application, AuditRecord, CAACheck, CertificateState, Institution, Officer, Reason

if TYPE_CHECKING:
    from ca_store.contracts import IssuanceStore
    from ca_store.types import IssuerID

pytest_plugins = ("store_fixtures",)

UNIVERSITY = Institution("Example University", "JP", "Tokyo", "Chiyoda-ku", ("example.ac.jp",))


@pytest.fixture
def officer(store: IssuanceStore, root: IssuerID) -> Officer:
    store.add_institution(UNIVERSITY)
    issue(store, root, 5, "client")
    known = Officer("Hanako", "hanako@example.ac.jp", UNIVERSITY.name, root, 5)
    store.add_officer(known, NOW)
    return known


def application(officer: Officer, serial: int) -> Application:
    return Application(b"digest", "issue", officer, '{"mail": "a@example.ac.jp"}', officer.issuer, serial, NOW)


def test_officers(store: IssuanceStore, root: IssuerID, officer: Officer) -> None:
    assert store.officers() == [officer]
    with pytest.raises(Conflict, match="an officer's already"):
        store.add_officer(officer, NOW)
    with pytest.raises(NotFound, match="'Nowhere'"):
        store.add_officer(replace(officer, institution="Nowhere"), NOW)
    with pytest.raises(NotFound):
        store.add_officer(replace(officer, serial=99), NOW)
    issue(store, root, 6, "client")
    store.revoke(root, 6, Reason.superseded, NOW, NOW)
    with pytest.raises(IllegalMove, match="is revoked"):
        store.add_officer(replace(officer, serial=6), NOW)
    issue(store, root, 7, "client")
    store.add_officer(replace(officer, serial=7), NOW)
    assert [each.serial for each in store.officers()] == [5, 7]


def test_an_application_is_on_record_with_its_serial(store: IssuanceStore, root: IssuerID, officer: Officer) -> None:
    with pytest.raises(NotFound):
        store.application(b"digest")
    store.reserve_for(application(officer, 10), "server", LATER, NOW)
    assert store.application(b"digest") == application(officer, 10)
    assert store.certificate(root, 10).status.state is CertificateState.RESERVED
    with pytest.raises(NotFound, match="no officer"):
        store.reserve_for(application(replace(officer, serial=6), 11), "server", LATER, NOW)
    with pytest.raises(NotFound):
        store.certificate(root, 11)


def test_an_interrupted_application_leaves_nothing_that_can_still_be_issued(
    store: IssuanceStore, root: IssuerID, officer: Officer
) -> None:
    for serial in (10, 11):
        store.reserve_for(application(officer, serial), "server", LATER, NOW)
    assert store.application(b"digest").serial == 11
    with pytest.raises(IllegalMove, match="is revoked"):
        store.record(root, 10, b"der", "CN=a", NOW, LATER, NOW)
    store.record(root, 11, b"der", "CN=a", NOW, LATER, NOW)


def test_an_application_is_never_issued_twice(store: IssuanceStore, root: IssuerID, officer: Officer) -> None:
    store.reserve_for(application(officer, 10), "server", LATER, NOW)
    store.record(root, 10, b"der", "CN=a", NOW, LATER, NOW)
    for _ in range(2):
        with pytest.raises(Conflict, match="was issued for this application already"):
            store.reserve_for(application(officer, 11), "server", LATER, NOW)
        with pytest.raises(NotFound):
            store.certificate(root, 11)
        store.revoke(root, 10, Reason.superseded, NOW, NOW)
    assert store.application(b"digest").serial == 10


def test_of_two_at_once_one_is_issued(url: str, store: IssuanceStore, root: IssuerID, officer: Officer) -> None:
    def attempt(serial: int) -> bool:
        own = open_issuance_store(url)
        try:
            own.reserve_for(application(officer, serial), "server", LATER, NOW)
            own.record(root, serial, b"der", "CN=a", NOW, LATER, NOW)
        except StoreError:
            return False
        else:
            return True
        finally:
            own.close()

    with ThreadPoolExecutor(8) as threads:
        issued = [
            serial for serial, done in zip(range(20, 28), threads.map(attempt, range(20, 28)), strict=True) if done
        ]
    assert len(issued) == 1
    assert store.application(b"digest").serial == issued[0]


def test_subjects_are_found_by_their_beginning(store: IssuanceStore, root: IssuerID) -> None:
    for serial, subject in (
        (5, "CN=a_b,OU=x,O=U"),
        (6, "CN=a_b,O=U"),
        (7, "CN=axb,O=U"),
        (8, "cn=a_b,O=U"),
        (9, "CN=a_bc"),
    ):
        store.reserve(root, serial, "server", LATER, NOW)
        store.record(root, serial, b"der", subject, NOW, LATER, NOW)
    store.revoke(root, 6, Reason.superseded, NOW, NOW)
    assert [each.serial for each in store.certificates_named("CN=a_b,O=U")] == [6]
    assert {each.serial for each in store.certificates_named("CN=a_b,")} == {5, 6}
    assert store.certificates_named("CN=a%") == []
    assert len(store.certificates_named("CN=a", limit=2)) == 2
    store.reserve(root, 10, "server", LATER, NOW)
    assert all(each.der is not None for each in store.certificates_named(""))


def test_the_audit_trail_keeps_its_order(store: IssuanceStore) -> None:
    records = [AuditRecord(NOW - each, "Hanako", "refused", f'{{"row": {each}}}') for each in range(5)]
    for record in records:
        store.add_audit(record)
    numbered = store.audits()
    assert [record for _, record in numbered] == records
    assert [record for _, record in store.audits(after=numbered[1][0], limit=2)] == records[2:4]


def test_the_newest_look_at_caa_counts(store: IssuanceStore) -> None:
    first = CAACheck(
        "*.example.ac.jp", "issuewild", NOW, 300, "example.ac.jp", ('0 issue "ca.example"',), True, "named"
    )
    with pytest.raises(NotFound):
        store.caa_check(first.name, first.tag)
    for check in (first, replace(first, checked_at=NOW + 1, permitted=False, source=None, records=())):
        store.add_caa_check(check)
        assert store.caa_check(first.name, first.tag) == check
    store.add_caa_check(replace(first, tag="issue"))
    assert not store.caa_check(first.name, first.tag).permitted
    with pytest.raises(NotFound):
        store.caa_check("example.ac.jp", "issuewild")
