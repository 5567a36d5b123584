"""Officers, what they applied for, and the records of what was decided."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import insert, select, update

from ca_store.errors import Conflict, IllegalMove, NotFound
from ca_store.schema import application, audit, caa_check, institution, officer, pack_serial, unpack_serial
from ca_store.statuses import lock_status, make_revoked, reserve_row
from ca_store.transactions import Transactions
from ca_store.types import (
    Application,
    AuditRecord,
    CAACheck,
    CertificateState,
    IssuerID,
    Officer,
    Reason,
    format_serial,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

_OFFICERS: Final = (
    select(officer, institution.c.name.label("institution"))
    .join(institution, institution.c.id == officer.c.institution_id)
    .order_by(officer.c.id)
)
_APPLICATION: Final = (
    select(
        application,
        officer.c.name,
        officer.c.mail,
        institution.c.name.label("institution"),
        officer.c.issuer_id.label("officer_issuer"),
        officer.c.serial.label("officer_serial"),
    )
    .join(officer, officer.c.id == application.c.officer_id)
    .join(institution, institution.c.id == officer.c.institution_id)
)


class RegistrationWriter(Transactions):
    """The part of ``ca_store.contracts.IssuanceStore`` that is about applicants."""

    def add_officer(self, new: Officer, now: int) -> None:
        with self._transaction() as connection:
            spoken_for = connection.execute(
                select(institution.c.id).where(institution.c.name == new.institution)
            ).scalar()
            if spoken_for is None:
                raise NotFound(f"no institution is registered under the name {new.institution!r}")
            state = lock_status(connection, new.issuer, new.serial).state
            if state is not CertificateState.GOOD:
                raise IllegalMove(f"serial {format_serial(new.serial)} is {state.name.lower()}, so it is no officer's")
            if _officer_id(connection, new) is not None:
                raise Conflict(f"serial {format_serial(new.serial)} is an officer's already")
            connection.execute(
                insert(officer).values(
                    name=new.name,
                    mail=new.mail,
                    institution_id=spoken_for,
                    issuer_id=new.issuer,
                    serial=pack_serial(new.serial),
                    created_at=now,
                )
            )

    def officers(self) -> Sequence[Officer]:
        with self._reading() as connection:
            return [
                Officer(row.name, row.mail, row.institution, IssuerID(row.issuer_id), unpack_serial(row.serial))
                for row in connection.execute(_OFFICERS)
            ]

    def reserve_for(self, new: Application, profile: str, not_after: int, now: int) -> None:
        with self._transaction() as connection:
            applicant = _officer_id(connection, new.officer)
            if applicant is None:
                raise NotFound(f"{new.officer.name} is no officer")
            reserve_row(connection, new.issuer, new.serial, profile, not_after, now)
            values = {
                "action": new.action,
                "officer_id": applicant,
                "fields": new.fields,
                "issuer_id": new.issuer,
                "serial": pack_serial(new.serial),
                "received_at": new.received_at,
            }
            before = connection.execute(
                select(application.c.issuer_id, application.c.serial)
                .where(application.c.digest == new.digest)
                .with_for_update()
            ).first()
            if before is None:
                connection.execute(insert(application).values(digest=new.digest, **values))
                return
            _withdraw(connection, IssuerID(before.issuer_id), unpack_serial(before.serial), now)
            connection.execute(update(application).where(application.c.digest == new.digest).values(**values))

    def application(self, digest: bytes) -> Application:
        with self._reading() as connection:
            row = connection.execute(_APPLICATION.where(application.c.digest == digest)).first()
        if row is None:
            raise NotFound("nothing was issued for this application yet")
        return _make_application(row)


def _officer_id(connection: Connection, known: Officer) -> int | None:
    return connection.execute(
        select(officer.c.id).where(officer.c.issuer_id == known.issuer, officer.c.serial == pack_serial(known.serial))
    ).scalar()


def _withdraw(connection: Connection, issuer: IssuerID, serial: int, now: int) -> None:
    """Whoever still means to sign under the serial of an earlier attempt cannot record it any more."""
    state = lock_status(connection, issuer, serial).state
    if state is not CertificateState.RESERVED:
        raise Conflict(f"serial {format_serial(serial)} was issued for this application already")
    make_revoked(connection, issuer, serial, Reason.superseded, now, now)


def _make_application(row: Row[*tuple[Any, ...]]) -> Application:
    return Application(
        digest=bytes(row.digest),
        action=row.action,
        officer=Officer(
            row.name, row.mail, row.institution, IssuerID(row.officer_issuer), unpack_serial(row.officer_serial)
        ),
        fields=row.fields,
        issuer=IssuerID(row.issuer_id),
        serial=unpack_serial(row.serial),
        received_at=row.received_at,
    )


class RecordWriter(Transactions):
    """The part of ``ca_store.contracts.IssuanceStore`` that is never changed once it is written."""

    def add_audit(self, record: AuditRecord) -> None:
        values = {"at": record.at, "actor": record.actor, "event": record.event, "detail": record.detail}
        with self._transaction() as connection:
            connection.execute(insert(audit).values(**values))

    def audits(self, *, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, AuditRecord]]:
        query = select(audit).where(audit.c.id > after).order_by(audit.c.id).limit(limit)
        with self._reading() as connection:
            return [
                (row.id, AuditRecord(row.at, row.actor, row.event, row.detail)) for row in connection.execute(query)
            ]

    def add_caa_check(self, check: CAACheck) -> None:
        with self._transaction() as connection:
            connection.execute(
                insert(caa_check).values(
                    name=check.name,
                    tag=check.tag,
                    checked_at=check.checked_at,
                    ttl=check.ttl,
                    source=check.source,
                    records=json.dumps(check.records),
                    permitted=int(check.permitted),
                    sentence=check.sentence,
                )
            )

    def caa_check(self, name: str, tag: str) -> CAACheck:
        query = (
            select(caa_check)
            .where(caa_check.c.name == name, caa_check.c.tag == tag)
            .order_by(caa_check.c.checked_at.desc(), caa_check.c.id.desc())
            .limit(1)
        )
        with self._reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"CAA was never looked up for {name}")
        return CAACheck(
            name=row.name,
            tag=row.tag,
            checked_at=row.checked_at,
            ttl=row.ttl,
            source=row.source,
            records=tuple(json.loads(row.records)),
            permitted=bool(row.permitted),
            sentence=row.sentence,
        )
