"""No statement of the online server, and none of the timers', reads all certificates, however many there are.

SQLite has no statistics of these tables (nothing runs ANALYZE): its plans for a few rows are those for millions.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fakes import ManualClock
from issuance_world import add_ca, issue_one, small_core
from sqlalchemy import Engine, event, func, select
from store_world import NOW, following

from ca_store.certificates import CertificateWriter
from ca_store.contracts import ReadStore
from ca_store.database import open_read_store
from ca_store.engine import writing_engine
from ca_store.schema import certificate, certificate_status
from ca_store.sqlite import _STATUS_TEXT
from ca_store.statuses import IS_REVOKED
from ca_store.types import CertificateState, CredentialKind, Reason
from issuance.crl import sign_crl
from issuance.ct_backlog import GIVEN_UP, PATIENCE
from issuance.revocation import revoke
from issuance.timers import Timers
from responders.credentials import read_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ca_store.types import Issuer
    from issuance.core import Core

# A part of the rows that has an index of its own may be read whole.
_WHOLE_TABLE = re.compile(r"SCAN (certificate|certificate_status)\b(?! USING (COVERING )?INDEX ix_)")
_WHOLE_ISSUER = re.compile(
    r"SEARCH (certificate|certificate_status) USING (PRIMARY KEY|.*autoindex\S*) \(issuer_id=\?\)"
)
_BOUNDED = re.compile(r"CO-ROUTINE")
"""A subquery with a limit of its own: examples, of which there are 10,000 rows at the most to look at."""


def scans(statement: str, plan: list[str]) -> list[str]:
    """The steps of a plan that read every certificate, or every certificate of an issuer; and those that look for the
    revoked ones among all.
    """
    if "state = 2" in statement and not any("ix_certificate_status_revoked" in step for step in plan):
        return plan
    bounded = any(_BOUNDED.match(step) for step in plan)
    return [step for step in plan if _WHOLE_TABLE.match(step) or (_WHOLE_ISSUER.match(step) and not bounded)]


class Watch:
    """The plan of each statement that touched certificates."""

    def __init__(self) -> None:
        self.plans: dict[str, list[str]] = {}

    def look(self, connection: Any, _: Any, statement: str, parameters: Any, __: Any, many: bool) -> None:
        if "certificate" not in statement or not statement.startswith(("SELECT", "UPDATE", "DELETE")):
            return
        cursor = connection.connection.dbapi_connection.cursor()
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters[0] if many else parameters)
        self.plans[statement] = [row[-1] for row in cursor]

    @property
    def faults(self) -> dict[str, list[str]]:
        return {statement: found for statement, plan in self.plans.items() if (found := scans(statement, plan))}


@contextmanager
def watched() -> Iterator[Watch]:
    """Every statement that SQLAlchemy executes in this process until the block ends."""
    watch = Watch()
    event.listen(Engine, "before_cursor_execute", watch.look)
    try:
        yield watch
    finally:
        event.remove(Engine, "before_cursor_execute", watch.look)


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    core = small_core(tmp_path, ManualClock())
    add_ca(core, "root", "root")
    add_ca(core, "ecc", "server", "root")
    yield core
    core.store.close()


@pytest.fixture
def ecc(core: Core) -> Issuer:
    issuer = core.store.issuer("ecc")
    serials = [issue_one(core, issuer, f"{host}.example.ac.jp") for host in "abcd"]
    revoke(core, issuer, serials[0], Reason.superseded)
    sign_crl(core, issuer)
    return issuer


async def test_the_online_server_scans_nothing(core: Core, ecc: Issuer, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ca.db'}"
    with watched() as watch:
        reader = await open_read_store(url, ManualClock())
        await read_records(reader)
        asked = {
            "status": reader.status(ecc.parent or ecc.id, ecc.serial),
            "reserve_serials": reader.reserve_serials(b"tsa", 10, NOW),
            "issuers": reader.issuers(),
            "credentials": reader.credentials(CredentialKind.TSA),
            "crl": reader.crl("ecc"),
            "example": asyncio.gather(*(reader.example(ecc.id, state, NOW) for state in CertificateState)),
            "revocations": asyncio.gather(
                reader.revocations(NOW), reader.revocations(NOW, after=(ecc.id, 5), limit=10)
            ),
            "ping": reader.ping(),
        }
        public = {name for each in ReadStore.__mro__ for name in vars(each) if name[:1] != "_"}
        assert public - set(asked) == {"feed", "close"}, "ask what is new, too"
        await asyncio.gather(*asked.values())
        async with following(reader):
            pass
        await reader.close()
    assert len(watch.plans) >= 5
    assert watch.faults == {}
    engine = writing_engine(url)
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {_STATUS_TEXT}", (ecc.id, b"serial"))
        assert [row[-1] for row in plan] == ["SEARCH certificate_status USING PRIMARY KEY (issuer_id=? AND serial=?)"]
    engine.dispose()


def test_the_timers_scan_nothing(core: Core, ecc: Issuer) -> None:
    reports: list[str] = []
    with watched() as watch:
        for moment in range(2):
            Timers(core, lambda _: None, reports.append).look()
            if not moment:
                core.store.revoke(ecc.parent or ecc.id, ecc.serial, Reason.keyCompromise, NOW, NOW)
        for after in (None, (NOW - 999, ecc.id, 5)):
            core.store.without_scts("server", NOW - GIVEN_UP, NOW - PATIENCE, after=after, limit=100)
    assert "revoked 3 certificates of ecc, whose key is compromised" in reports
    revocations = [step for plan in watch.plans.values() for step in plan if "ix_certificate_status_revoked" in step]
    assert revocations, "no CRL was looked after"
    assert all("USING COVERING INDEX" in step for step in revocations), "a row of the table is read for each entry"
    assert len(watch.plans) >= 6
    assert watch.faults == {}


def test_commands_about_one_certificate_and_pages_scan_nothing(core: Core, ecc: Issuer) -> None:
    with watched() as watch:
        serial = issue_one(core, ecc, "e.example.ac.jp")
        revoke(core, ecc, serial, Reason.superseded)
        sign_crl(core, ecc)
        core.store.certificates_named("CN=e.example.ac.jp")
        for state in (None, CertificateState.REVOKED):
            for issuer in (None, ecc.id):
                core.store.certificates(issuer=issuer, state=state, profile="server", after=(ecc.id, 5))
    assert len(watch.plans) >= 6
    assert watch.faults == {}


def test_scans_are_noticed(core: Core, ecc: Issuer) -> None:
    row = certificate_status.c
    store = core.store
    assert isinstance(store, CertificateWriter)
    scanning = [
        select(func.count()).select_from(certificate_status),
        select(certificate.c.subject).where(certificate.c.profile == "server"),
        select(row.serial).where(row.issuer_id == ecc.id, row.state == CertificateState.RESERVED),
        # Without a hint SQLite prefers the table to an index that lacks a column.
        select(row.sct_list).where(row.issuer_id == ecc.id, IS_REVOKED),
    ]
    for statement in scanning:
        with watched() as watch, store._reading() as connection:
            connection.execute(statement).all()
        assert len(watch.faults) == 1, statement
