"""What ``ca_store.contracts`` promises, held against SQLite and against a real PostgreSQL."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert
from store_world import LATER, NOW, following, issue, make_issuer

from ca_store.errors import Conflict, IllegalMove, NotFound, StoreUnavailable
from ca_store.schema import certificate_status, pack_serial
from ca_store.statuses import EXAMPLE_ROWS
from ca_store.types import (
    CRL,
    MAX_SERIAL,
    CertificateState,
    Credential,
    CredentialKind,
    Institution,
    IssuerID,
    Reason,
    Status,
)

if TYPE_CHECKING:
    from ca_store.contracts import IssuanceStore, ReadStore

pytest_plugins = ("store_fixtures",)


async def test_status_follows_the_legal_moves(store: IssuanceStore, reader: ReadStore, root: IssuerID) -> None:
    with pytest.raises(NotFound):
        await reader.status(root, 5)
    store.reserve(root, 5, "server", LATER, NOW)
    assert await reader.status(root, 5) == Status(CertificateState.RESERVED, NOW, LATER)
    store.record(root, 5, b"der", "CN=a", NOW - 10, LATER + 1, NOW + 1)
    assert await reader.status(root, 5) == Status(CertificateState.GOOD, NOW + 1, LATER + 1)
    store.revoke(root, 5, Reason.superseded, NOW - 5, NOW + 2)
    revoked = Status(CertificateState.REVOKED, NOW + 2, LATER + 1, NOW - 5, Reason.superseded)
    assert await reader.status(root, 5) == revoked
    assert store.certificate(root, 5).status == revoked


def test_nothing_becomes_good_twice_or_after_a_revocation(store: IssuanceStore, root: IssuerID) -> None:
    issue(store, root, 5)
    with pytest.raises(IllegalMove, match="serial 5 is good"):
        store.record(root, 5, b"other", "CN=b", NOW, LATER, NOW)
    store.reserve(root, 6, "server", LATER, NOW)
    store.revoke(root, 6, Reason.keyCompromise, NOW, NOW)
    with pytest.raises(IllegalMove, match="serial 6 is revoked"):
        store.record(root, 6, b"der", "CN=c", NOW, LATER, NOW)
    assert store.certificate(root, 6).der is None
    with pytest.raises(IllegalMove, match="removeFromCRL"):
        store.revoke(root, 5, Reason.removeFromCRL, NOW, NOW)
    with pytest.raises(NotFound):
        store.record(root, 7, b"der", "CN=d", NOW, LATER, NOW)


def test_a_repeated_revocation_changes_nothing(store: IssuanceStore, root: IssuerID) -> None:
    issue(store, root, 5)
    first = store.revoke(root, 5, Reason.superseded, NOW, NOW + 2)
    assert store.revoke(root, 5, Reason.superseded, NOW, NOW + 900) == first
    corrected = store.revoke(root, 5, Reason.keyCompromise, NOW - 60, NOW + 901)
    assert corrected == Status(CertificateState.REVOKED, NOW + 901, LATER, NOW - 60, Reason.keyCompromise)


async def test_the_time_of_change_never_goes_back(store: IssuanceStore, reader: ReadStore, root: IssuerID) -> None:
    """Two hosts issue and revoke, and the clock of the second is behind."""
    for serial in (5, 6):
        store.reserve(root, serial, "server", LATER, NOW)
        store.record(root, serial, b"der", "CN=a", NOW, LATER, NOW - 60)
        assert (await reader.status(root, serial)).changed_at == NOW
    store.put_sct_list(root, 5, SCTS, NOW - 50)
    assert (await reader.status(root, 5)).changed_at == NOW
    assert store.revoke(root, 5, Reason.superseded, NOW - 40, NOW - 40).changed_at == NOW
    store.revoke_all(root, {"server": Reason.superseded}, NOW - 30, NOW - 30)
    assert (await reader.status(root, 6)).changed_at == NOW


async def test_everything_of_an_issuer_is_revoked_page_by_page_and_the_feed_carries_it(
    store: IssuanceStore, reader: ReadStore, root: IssuerID
) -> None:
    other = store.add_issuer(make_issuer("other"), "file:keys/other.key", NOW)
    for serial in (5, 6, 7, 8, 9):
        issue(store, root, serial, "ocsp-delegate" if serial == 7 else "server")
    issue(store, other, 5)
    store.reserve(root, 10, "server", LATER, NOW)
    store.revoke(root, 6, Reason.superseded, NOW, NOW + 1)
    reasons = {"server": Reason.unspecified}
    async with following(reader) as heard:
        assert store.revoke_all(root, reasons, NOW - 90, NOW + 2, limit=2) == [5, 8]
        assert (await reader.status(root, 9)).state is CertificateState.GOOD
        assert store.revoke_all(root, reasons, NOW - 90, NOW + 2, after=8, limit=2) == [9, 10]
        assert store.revoke_all(root, reasons, NOW - 90, NOW + 2, after=10, limit=2) == []
        assert store.revoke_all(root, reasons, NOW - 90, NOW + 2) == []
        await heard.until(4)
    assert [change.serial for change in heard.changes] == [5, 8, 9, 10]
    # Not before the certificate's own beginning.
    assert await reader.status(root, 5) == Status(CertificateState.REVOKED, NOW + 2, LATER, NOW, Reason.unspecified)
    assert (await reader.status(root, 6)).reason is Reason.superseded
    assert (await reader.status(root, 7)).state is CertificateState.GOOD
    assert (await reader.status(other, 5)).state is CertificateState.GOOD
    with pytest.raises(IllegalMove):
        store.record(root, 10, b"der", "CN=late", NOW, LATER, NOW + 3)


async def test_a_certificate_takes_the_place_of_its_precertificate_once(
    store: IssuanceStore, reader: ReadStore, root: IssuerID
) -> None:
    store.reserve(root, 5, "server", LATER, NOW)
    store.record(root, 5, b"precertificate", "CN=a", NOW, LATER, NOW + 1)
    before = await reader.status(root, 5)
    with pytest.raises(IllegalMove, match="serial 5 has another certificate already"):
        store.complete(root, 5, b"another", b"certificate")
    store.complete(root, 5, b"precertificate", b"certificate")
    assert store.certificate(root, 5).der == b"certificate"
    assert await reader.status(root, 5) == before
    with pytest.raises(IllegalMove, match="serial 5 has another certificate already"):
        store.complete(root, 5, b"precertificate", b"second")
    for serial in (6, 7):
        store.reserve(root, serial, "server", LATER, NOW)
    store.record(root, 7, b"precertificate", "CN=a", NOW, LATER, NOW)
    store.revoke(root, 7, Reason.superseded, NOW, NOW)
    for serial, state in ((6, "reserved"), (7, "revoked")):
        with pytest.raises(IllegalMove, match=f"serial {serial} is {state}, so it gets no certificate"):
            store.complete(root, serial, b"precertificate", b"certificate")
    with pytest.raises(NotFound):
        store.complete(root, 8, b"precertificate", b"certificate")


def test_those_without_scts_are_found_page_by_page(store: IssuanceStore, root: IssuerID) -> None:
    for serial in range(5, 11):
        issue(store, root, serial, "client" if serial == 7 else "server")
    store.put_sct_list(root, 5, SCTS, NOW)
    store.revoke(root, 6, Reason.superseded, NOW, NOW)
    store.reserve(root, 11, "server", LATER, NOW)
    recorded = store.certificate(root, 8).status.changed_at

    def found(since: int, until: int, after: int = 0, limit: int = 9) -> list[int]:
        page = store.without_scts("server", since, until, after=(recorded, root, after), limit=limit)
        return [each.serial for each in page]

    assert found(recorded, recorded) == [8, 9, 10]
    assert found(recorded, recorded, limit=2) == [8, 9]
    assert found(recorded, recorded, after=9) == [10]
    assert found(recorded + 1, recorded + 9) == found(recorded - 9, recorded - 1) == []
    assert [each.serial for each in store.without_scts("client", NOW - 9, NOW + 9)] == [7]


SCTS = bytes.fromhex("0009 0003 aabbcc 0002 ddee")


async def test_scts_for_ocsp_are_kept_beside_the_status(
    store: IssuanceStore, reader: ReadStore, root: IssuerID
) -> None:
    issue(store, root, 5)
    async with following(reader) as heard:
        store.put_sct_list(root, 5, SCTS, NOW + 5)
        store.put_sct_list(root, 5, SCTS, NOW + 6)
        await heard.until(1)
    assert [change.serial for change in heard.changes] == [5]
    expected = Status(CertificateState.GOOD, NOW + 5, LATER, sct_list=SCTS)
    assert await reader.status(root, 5) == store.certificate(root, 5).status == expected
    assert store.revoke(root, 5, Reason.superseded, NOW + 7, NOW + 7).sct_list == SCTS
    with pytest.raises(IllegalMove, match="serial 5 is revoked, so it takes no SCTs"):
        store.put_sct_list(root, 5, SCTS, NOW + 8)
    with pytest.raises(NotFound):
        store.put_sct_list(root, 6, SCTS, NOW + 8)


@pytest.mark.parametrize(
    ("encoded", "sentence"),
    [
        ("", "cut short"),
        ("00", "cut short"),
        ("0000", "is empty"),
        ("0003 0001", "cut short"),
        ("0003 0002 aa", "cut short"),
        ("0002 0000", "an SCT is empty"),
        ("0003 0001 aa 00", "octets follow"),
        ("0006 0001 aa 0000 00", "an SCT is empty"),
    ],
)
def test_octets_that_are_no_list_of_scts(store: IssuanceStore, root: IssuerID, encoded: str, sentence: str) -> None:
    issue(store, root, 5)
    with pytest.raises(ValueError, match=sentence):
        store.put_sct_list(root, 5, bytes.fromhex(encoded), NOW)
    assert store.certificate(root, 5).status.sct_list is None


@pytest.mark.parametrize("serial", [1, 0x7F, 0x80, 1 << 152, 1 << 159, MAX_SERIAL], ids=hex)
async def test_serials_to_twenty_octets(store: IssuanceStore, reader: ReadStore, root: IssuerID, serial: int) -> None:
    issue(store, root, serial)
    assert (await reader.status(root, serial)).state is CertificateState.GOOD
    assert store.certificate(root, serial).serial == serial


@pytest.mark.parametrize("serial", [0, -1, -(1 << 200), MAX_SERIAL + 1, 1 << 400], ids=lambda serial: f"{serial:.3g}")
async def test_serials_that_cannot_exist(store: IssuanceStore, reader: ReadStore, root: IssuerID, serial: int) -> None:
    with pytest.raises(NotFound):
        await reader.status(root, serial)
    with pytest.raises(NotFound):
        store.revoke(root, serial, Reason.superseded, NOW, NOW)
    with pytest.raises(NotFound):
        store.certificate(root, serial)
    with pytest.raises(NotFound):
        store.record(root, serial, b"der", "CN=a", NOW, LATER, NOW)
    with pytest.raises(ValueError, match="20 octets"):
        store.reserve(root, serial, "server", LATER, NOW)


async def test_one_serial_under_two_issuers(store: IssuanceStore, reader: ReadStore, root: IssuerID) -> None:
    other = store.add_issuer(make_issuer("other"), "file:keys/other.key", NOW)
    issue(store, root, 9)
    issue(store, other, 9)
    store.revoke(other, 9, Reason.superseded, NOW, NOW)
    assert (await reader.status(root, 9)).state is CertificateState.GOOD
    assert (await reader.status(other, 9)).state is CertificateState.REVOKED
    with pytest.raises(Conflict, match="serial 9 is taken"):
        store.reserve(root, 9, "server", LATER, NOW)
    with pytest.raises(NotFound):
        store.reserve(IssuerID(99), 9, "server", LATER, NOW)


async def test_issuers_and_their_own_rows(store: IssuanceStore, reader: ReadStore, root: IssuerID) -> None:
    assert (await reader.status(root, make_issuer("root").serial)).state is CertificateState.GOOD
    sub = make_issuer("sub", parent=root)
    store.reserve(root, sub.serial, "sub-ca", sub.not_after, NOW)
    added = store.add_issuer(sub, "file:keys/sub.key", NOW)
    assert (await reader.status(root, sub.serial)).state is CertificateState.GOOD
    assert store.issuer("sub") == (await reader.issuers())[1]
    assert [issuer.label for issuer in store.issuers()] == ["root", "sub"]
    assert store.issuer("sub").hashes == sub.hashes
    assert store.issuer_key(added) == "file:keys/sub.key"
    for call in (lambda: store.issuer("none"), lambda: store.issuer_key(IssuerID(99))):
        with pytest.raises(NotFound):
            call()
    with pytest.raises(Conflict, match="labelled 'sub'"):
        store.add_issuer(make_issuer("sub"), "file:keys/x.key", NOW)
    with pytest.raises(Conflict, match="this name and key"):
        store.add_issuer(replace(make_issuer("sub"), label="sub again"), "file:keys/x.key", NOW)
    with pytest.raises(NotFound):
        store.add_issuer(make_issuer("lost", parent=IssuerID(99)), "file:keys/x.key", NOW)
    assert len(store.issuers()) == 2


def test_pages_of_certificates(store: IssuanceStore, root: IssuerID) -> None:
    own = make_issuer("root").serial
    for serial in (300, 2, 1 << 130):
        issue(store, root, serial)
    issue(store, root, 77, profile="client")
    store.revoke(root, 2, Reason.superseded, NOW, NOW)
    first = store.certificates(issuer=root, limit=2)
    assert [certificate.serial for certificate in first] == [2, 77]
    rest = store.certificates(issuer=root, after=(first[-1].issuer, first[-1].serial))
    assert [certificate.serial for certificate in rest] == sorted([300, 1 << 130, own])
    assert [c.serial for c in store.certificates(state=CertificateState.REVOKED)] == [2]
    assert [c.serial for c in store.certificates(profile="client")] == [77]
    assert len(store.certificates(after=(root, -1))) == len(store.certificates(issuer=root)) == 5
    assert store.certificates(after=(root, MAX_SERIAL + 1)) == []
    both = [root, store.add_issuer(make_issuer("other"), "file:keys/other.key", NOW)]
    for issuer, state, profile in itertools.product([None, *both], [None, *CertificateState], [None, "client", "ca"]):
        wanted: Any = {"issuer": issuer, "state": state, "profile": profile}
        everything = store.certificates(**wanted)
        for at in [(each.issuer, each.serial) for each in store.certificates()]:
            behind = [each for each in everything if (each.issuer, each.serial) > at]
            assert list(store.certificates(**wanted, after=at)) == behind, (wanted, at)
    assert first[1].subject == "CN=77"
    assert first[1].der == b"certificate"
    assert first[1].issuer_label == "root"


def test_what_belongs_on_the_next_crl(store: IssuanceStore, root: IssuerID) -> None:
    """RFC 5280 §3.3: an entry leaves only after it was on one CRL issued after the certificate's expiry."""
    issue(store, root, 5)
    store.revoke(root, 5, Reason.superseded, NOW, NOW)
    assert [serial for serial, _ in store.revoked(root)] == [5]
    store.add_crl(CRL(root, store.next_crl_number(root), LATER - 1, LATER + 100, b"crl"))
    assert [serial for serial, _ in store.revoked(root)] == [5]
    store.add_crl(CRL(root, store.next_crl_number(root), LATER + 1, LATER + 100, b"crl after expiry"))
    assert store.revoked(root) == []
    assert [serial for serial, _ in store.revoked(root, retention=1)] == [5]
    assert [serial for serial, _ in store.revoked(root, retention=1, since=NOW + 1)] == [5]
    assert store.revoked(root, retention=1, since=NOW + 2) == []
    for serial in (3, 4, 9):
        issue(store, root, serial)
        store.revoke(root, serial, Reason.superseded, NOW, NOW)
    assert [serial for serial, _ in store.revoked(root, retention=1, limit=3)] == [3, 4, 5]
    ((serial, last),) = store.revoked(root, retention=1, after=5)
    assert (serial, last) == (9, store.certificate(root, 9).status)


async def test_crls(store: IssuanceStore, reader: ReadStore, root: IssuerID) -> None:
    with pytest.raises(NotFound):
        await reader.crl("root")
    with pytest.raises(NotFound):
        store.latest_crl(root)
    for number in (1, 2):
        assert store.next_crl_number(root) == number
        store.add_crl(CRL(root, number, NOW, LATER, b"crl %d" % number))
    assert await reader.crl("root") == store.latest_crl(root) == CRL(root, 2, NOW, LATER, b"crl 2")
    assert await reader.crl("root", 1) == CRL(root, 1, NOW, LATER, b"crl 1")
    with pytest.raises(NotFound):
        await reader.crl("root", 3)
    with pytest.raises(Conflict, match="CRL number 2"):
        store.add_crl(CRL(root, 2, NOW, LATER, b"again"))
    with pytest.raises(NotFound):
        await reader.crl("none")


async def test_credentials(store: IssuanceStore, reader: ReadStore, root: IssuerID) -> None:
    issue(store, root, 5, profile="ocsp-delegate")
    new = Credential(0, CredentialKind.OCSP, "root", root, 5, b"der", "file:keys/ocsp.key", NOW, LATER)
    identifier = store.add_credential(new, NOW)
    [found] = await reader.credentials(CredentialKind.OCSP)
    assert found.id == identifier
    assert (found.name, found.serial, found.key_reference) == ("root", 5, "file:keys/ocsp.key")
    assert store.credentials() == store.credentials(CredentialKind.OCSP) == [found]
    assert await reader.credentials(CredentialKind.TSA) == []
    with pytest.raises(Conflict, match="serial 5 has been a credential already"):
        store.add_credential(new, NOW)
    store.retire_credential(identifier, NOW)
    assert await reader.credentials(CredentialKind.OCSP) == []
    with pytest.raises(NotFound):
        store.retire_credential(identifier, NOW)
    store.reserve(root, 6, "ocsp-delegate", LATER, NOW)
    for serial, refusal in ((6, IllegalMove), (7, NotFound)):
        with pytest.raises(refusal):
            store.add_credential(
                Credential(0, CredentialKind.OCSP, "root", root, serial, b"", "file:keys/x.key", NOW, LATER), NOW
            )


def test_institutions(store: IssuanceStore) -> None:
    first = Institution("Example University", "JP", "Tokyo", "Chiyoda-ku", ("example.ac.jp", "example.jp"))
    store.add_institution(first)
    assert store.institutions() == [first]
    with pytest.raises(Conflict, match=r"domain example\.jp"):
        store.add_institution(Institution("Other", "JP", None, "Kyoto-shi", ("example.jp",)))
    with pytest.raises(Conflict, match="'Example University'"):
        store.add_institution(Institution("Example University", "JP", None, None, ()))
    assert store.institutions() == [first]


async def test_blocks_of_serials(reader: ReadStore) -> None:
    """Each block is new, of fixed length and positive."""
    blocks = [await reader.reserve_serials(b"name", 1000, NOW) for _ in range(30)]
    assert len({block.prefix for block in blocks}) == 30
    assert all(len(block.prefix) == 9 and 0x40 <= block.prefix[0] <= 0x7F and block.size == 1000 for block in blocks)


async def test_a_block_that_was_drawn_before_is_drawn_again(reader: ReadStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row decides, not the odds: what a poor source of randomness repeats is refused."""
    drawn = iter([b"a" * 9, b"a" * 9, b"b" * 9, b"b" * 9, b"b" * 9, b"b" * 9])
    monkeypatch.setattr("ca_store.blocks.secrets.token_bytes", lambda _: next(drawn))
    first = await reader.reserve_serials(b"name", 10, NOW)
    second = await reader.reserve_serials(b"name", 10, NOW)
    assert (first.prefix, second.prefix) == (b"a" * 9, b"b" * 9)
    with pytest.raises(StoreUnavailable, match="no unused block"):
        await reader.reserve_serials(b"name", 10, NOW)


async def test_the_online_server_can_be_asked_for_a_sign_of_life(reader: ReadStore) -> None:
    await reader.ping()


async def test_an_example_is_in_the_state_and_in_force(store: IssuanceStore, root: IssuerID, reader: ReadStore) -> None:
    issue(store, root, 5)
    store.reserve(root, 6, "server", LATER, NOW)
    assert await reader.example(root, CertificateState.REVOKED, NOW) is None
    issue(store, root, 7)
    store.revoke(root, 7, Reason.superseded, NOW, NOW)
    assert await reader.example(root, CertificateState.REVOKED, NOW) == 7
    assert await reader.example(root, CertificateState.RESERVED, NOW) == 6
    assert await reader.example(root, CertificateState.GOOD, LATER - 1) == 5
    assert await reader.example(root, CertificateState.REVOKED, LATER) is None
    assert await reader.example(IssuerID(root + 1), CertificateState.GOOD, NOW) is None


async def test_an_example_is_not_looked_for_among_millions(
    store: IssuanceStore, root: IssuerID, reader: ReadStore
) -> None:
    expired = {"issuer_id": root, "state": 1, "changed_at": NOW, "not_after": NOW}
    with store._transaction() as connection:  # type: ignore[attr-defined]  # below its methods
        rows = [{**expired, "serial": pack_serial(serial)} for serial in range(1, EXAMPLE_ROWS + 1)]
        connection.execute(insert(certificate_status), rows)
    issue(store, root, EXAMPLE_ROWS + 1)
    assert await reader.example(root, CertificateState.GOOD, NOW) is None
    assert await reader.example(root, CertificateState.GOOD, NOW - 1) == 1


async def test_revocations_since_a_moment_in_pages(store: IssuanceStore, reader: ReadStore, root: IssuerID) -> None:
    other = store.add_issuer(make_issuer("other"), "file:keys/other.key", NOW)
    for serial in (3, 5, 7, MAX_SERIAL):
        issue(store, root, serial)
    issue(store, other, 4)
    store.revoke(root, 3, Reason.superseded, NOW, NOW + 9)
    store.revoke(root, 5, Reason.superseded, NOW - 900, NOW + 10)  # backdated: when it was done counts
    store.revoke(root, MAX_SERIAL, Reason.superseded, NOW, NOW + 11)
    store.revoke(other, 4, Reason.superseded, NOW, NOW + 10)
    assert await reader.revocations(NOW + 10) == [(root, 5), (root, MAX_SERIAL), (other, 4)]
    assert await reader.revocations(NOW + 10, after=(root, 5), limit=1) == [(root, MAX_SERIAL)]
    assert await reader.revocations(NOW + 10, after=(root, MAX_SERIAL)) == [(other, 4)]
    assert await reader.revocations(NOW + 12) == []
    store.revoke(root, 3, Reason.keyCompromise, NOW, NOW + 12)  # a correction
    assert await reader.revocations(NOW + 12) == [(root, 3)]
