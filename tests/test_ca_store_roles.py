"""Least-privilege roles: each of the two does its own work with its own rights, and the database refuses the rest."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import pytest
from store_world import LATER, NOW, following, issue, make_issuer

from ca_store.clock import SystemClock
from ca_store.database import open_issuance_store, open_read_store
from ca_store.errors import NotFound, StoreError
from ca_store.roles import ISSUANCE, RESPONDERS, RolesRefused, check_role_name, grant_roles
from ca_store.schema import metadata
from ca_store.types import (
    CRL,
    Application,
    AuditRecord,
    CAACheck,
    CertificateState,
    Credential,
    CredentialKind,
    Institution,
    Officer,
    Reason,
)
from issuance.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ca_store.contracts import IssuanceStore
    from ca_store.types import IssuerID

pytest_plugins = ("store_fixtures",)
pytestmark = pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)


@dataclass(frozen=True)
class Roles:
    """Two roles of the test's own."""

    owner_url: str
    responders: str
    issuance: str

    def url(self, role: str) -> str:
        return self.owner_url.replace("//ca@", f"//{role}@")

    def connect(self, role: str) -> psycopg.Connection:
        return psycopg.connect(self.url(role).replace("+psycopg", ""), autocommit=True)


@pytest.fixture
def roles(url: str) -> Iterator[Roles]:
    made = Roles(url, f"responders-{secrets.token_hex(4)}", f"issuance-{secrets.token_hex(4)}")
    grant_roles(url, made.responders, made.issuance)
    yield made
    with made.connect("ca") as owner:
        for role in (made.responders, made.issuance):
            owner.execute(f'DROP OWNED BY "{role}"'.encode())
            owner.execute(f'DROP ROLE "{role}"'.encode())


def test_every_table_was_thought_of(empty_url: str) -> None:
    """A new table needs a row in one of the two, or a place here."""
    nobody_needs = {"change"}  # SQLite's change feed
    tables = set(metadata.tables) | {"alembic_version"}
    assert RESPONDERS.keys() | ISSUANCE.keys() | nobody_needs == tables


def register(store: IssuanceStore, root: IssuerID) -> None:
    """An officer, an application that is interrupted once, the audit trail, a look at CAA."""
    officer = Officer("Hanako", "hanako@example.ac.jp", "Example University", root, 6)
    store.add_officer(officer, NOW)
    for serial in (21, 22):
        application = Application(b"digest", "issue", officer, "{}", root, serial, NOW)
        store.reserve_for(application, "server", LATER, NOW)
    assert store.application(b"digest").serial == 22
    store.add_audit(AuditRecord(NOW, "Hanako", "refused", "{}"))
    assert len(store.audits()) == 1
    check = CAACheck("example.ac.jp", "issue", NOW, 300, None, (), True, "named")
    store.add_caa_check(check)
    assert store.caa_check("example.ac.jp", "issue") == check


async def test_each_role_can_do_its_own_work(roles: Roles, caplog: pytest.LogCaptureFixture) -> None:
    """All that the two stores do, one after the other."""
    store = open_issuance_store(roles.url(roles.issuance))
    reader = await open_read_store(roles.url(roles.responders), SystemClock(), roles.url(roles.responders))
    async with following(reader) as heard:
        root = store.add_issuer(make_issuer("root"), "file:keys/root.key", NOW)
        for serial in (5, 6, 7):
            issue(store, root, serial)
        store.reserve(root, 8, "server", LATER, NOW)
        store.put_sct_list(root, 5, bytes.fromhex("00030001aa"), NOW)
        store.revoke(root, 5, Reason.superseded, NOW, NOW)
        store.revoke_all(root, {"server": Reason.superseded}, NOW, NOW, after=6)
        new = Credential(0, CredentialKind.OCSP, "root", root, 6, b"der", "file:keys/ocsp.key", NOW, LATER)
        credential = store.add_credential(new, NOW)
        store.add_crl(CRL(root, store.next_crl_number(root), NOW, LATER, b"crl"))
        store.add_institution(Institution("Example University", "JP", None, None, ("example.ac.jp",)))
        assert len(store.institutions()) == 1
        assert store.issuer_key(store.issuers()[0].id) == "file:keys/root.key"
        assert len(store.certificates()) == 5
        assert len(store.revoked(root)) == 3
        await heard.until(11)
        assert (await reader.status(root, 5)).state is CertificateState.REVOKED
        assert (await reader.status(root, 6, as_heard=True)).state is CertificateState.GOOD
        with pytest.raises(NotFound):
            await reader.status(root, 99, as_heard=True)
        assert [each.label for each in await reader.issuers()] == ["root"]
        assert len(await reader.credentials(CredentialKind.OCSP)) == 1
        assert (await reader.crl("root")).number == 1
        assert await reader.example(root, CertificateState.GOOD, NOW) == 6
        assert len(await reader.revocations(0)) == 3
        assert (await reader.reserve_serials(b"name", 10, NOW)).size == 10
        await reader.ping()
    store.retire_credential(credential, NOW)
    register(store, root)
    await reader.close()
    store.close()
    assert "replica" not in caplog.text


FORBIDDEN_TO_RESPONDERS = {
    "write a status": "UPDATE certificate_status SET state = 1, reason = NULL, revoked_at = NULL",
    "add a status": "INSERT INTO certificate_status (issuer_id) VALUES (1)",
    "delete a status": "DELETE FROM certificate_status",
    "lock a status": "SELECT 1 FROM certificate_status FOR UPDATE",
    "keep others out": "LOCK TABLE certificate_status IN ACCESS EXCLUSIVE MODE",
    "empty a table": "TRUNCATE crl",
    "see where a CA's key is": "SELECT key_reference FROM issuer",
    "see what was issued": "SELECT der FROM certificate",
    "see the subscribers": "SELECT name FROM institution",
    "see blocks of serials": "SELECT prefix FROM serial_block",
    "free a block of serials": "DELETE FROM serial_block",
    "put a key online": "INSERT INTO credential (kind) VALUES ('ocsp')",
    "put out a CRL": "INSERT INTO crl VALUES (1, 99, 0, 0, '')",
    "say it is migrated": "UPDATE alembic_version SET version_num = '9999'",
    "make a table": "CREATE TABLE mine (id int)",
    "make a temporary table": "CREATE TEMPORARY TABLE mine (id int)",
    "change a table": "ALTER TABLE certificate_status DROP CONSTRAINT ck_certificate_status_state",
}
FORBIDDEN_TO_ISSUANCE = {
    "delete a status": "DELETE FROM certificate_status",
    "give a status to another serial": "UPDATE certificate_status SET serial = '\\x00'",
    "change a CA": "UPDATE issuer SET key_reference = ''",
    "replace a key that is online": "UPDATE credential SET certificate = ''",
    "replace a CRL": "UPDATE crl SET der = ''",
    "delete a CRL": "DELETE FROM crl",
    "reserve serials": "INSERT INTO serial_block VALUES ('', '', 1, 1)",
    "make a table": "CREATE TABLE mine (id int)",
}


def test_what_the_two_cannot_do(roles: Roles) -> None:
    """The responders, above all, cannot write a status."""
    for role, forbidden in ((roles.responders, FORBIDDEN_TO_RESPONDERS), (roles.issuance, FORBIDDEN_TO_ISSUANCE)):
        for what, statement in forbidden.items():
            with roles.connect(role) as connection, connection.transaction(force_rollback=True):
                try:
                    connection.execute(statement.encode())
                except psycopg.errors.InsufficientPrivilege:
                    continue
            pytest.fail(f"{role} can {what}")


def test_repeating_takes_away_what_was_given_besides(roles: Roles) -> None:
    with roles.connect("ca") as owner:
        owner.execute(f'GRANT UPDATE (state), DELETE ON certificate_status TO "{roles.responders}"'.encode())
        owner.execute(f'GRANT CREATE ON SCHEMA public TO "{roles.responders}"'.encode())
    grant_roles(roles.owner_url, roles.responders, roles.issuance)
    with roles.connect("ca") as owner:
        query = (
            "SELECT has_any_column_privilege(%(role)s, 'certificate_status', 'UPDATE')"
            " OR has_table_privilege(%(role)s, 'certificate_status', 'DELETE')"
            " OR has_schema_privilege(%(role)s, 'public', 'CREATE')"
        )
        assert owner.execute(query, {"role": roles.responders}).fetchone() == (False,)


def test_a_role_that_could_do_more_all_the_same_is_refused(roles: Roles) -> None:
    for given, taken in (
        (f'ALTER ROLE "{roles.responders}" SUPERUSER', f'ALTER ROLE "{roles.responders}" NOSUPERUSER'),
        (f'GRANT pg_write_all_data TO "{roles.responders}"', f'REVOKE pg_write_all_data FROM "{roles.responders}"'),
        ("GRANT UPDATE (state) ON certificate_status TO PUBLIC", "REVOKE ALL ON certificate_status FROM PUBLIC"),
    ):
        with roles.connect("ca") as owner:
            owner.execute(given.encode())
            with pytest.raises(RolesRefused, match=f"{roles.responders} can .* all the same"):
                grant_roles(roles.owner_url, roles.responders, roles.issuance)
            owner.execute(taken.encode())
    grant_roles(roles.owner_url, roles.responders, roles.issuance)


def test_what_is_refused_before(roles: Roles, tmp_path: Path) -> None:
    with pytest.raises(RolesRefused, match="need a role each"):
        grant_roles(roles.owner_url, "one", "one")
    with pytest.raises(RolesRefused, match="SQLite"):
        grant_roles(f"sqlite:///{tmp_path}/ca.db", "one", "other")
    with pytest.raises(StoreError, match="permission denied"):
        grant_roles(roles.url(roles.issuance), roles.responders, "another")
    for name in ("", "a\nb", "x" * 64):
        with pytest.raises(ValueError, match="not the name of a role"):
            check_role_name(name)


def test_the_command(roles: Roles, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "responders.toml").write_text(f'[database]\nurl = "{roles.owner_url.replace("+psycopg", "")}"\n')
    given = ("--responders", roles.responders, "--issuance", roles.issuance, "--home", str(tmp_path))
    assert main(["roles", *given]) == 0
    assert "can read what is answered and reserve serials" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["roles", "--responders", "", "--issuance", "x"])
    assert "not the name of a role" in capsys.readouterr().err
