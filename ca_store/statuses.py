"""Status rows and their legal moves, as statements within a caller's transaction.

Each move is one conditional UPDATE, so that of two writers at once exactly one finds the row as it expected it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from ca_store.changes import record_change
from ca_store.errors import Conflict, IllegalMove, NotFound
from ca_store.schema import certificate, certificate_status, pack_serial
from ca_store.types import MAX_SERIAL, CertificateState, ChangeKind, Reason, Status, format_serial

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from ca_store.types import IssuerID

_ROW: Final = certificate_status.c

STATUS_COLUMNS: Final = (_ROW.state, _ROW.reason, _ROW.revoked_at, _ROW.changed_at, _ROW.not_after)

STATUS: Final = select(*STATUS_COLUMNS).where(_ROW.issuer_id == bindparam("issuer"), _ROW.serial == bindparam("serial"))
"""The one look-up of the hot path; parameters ``issuer`` and ``serial`` (packed)."""


def make_status(row: Row[*tuple[Any, ...]]) -> Status:
    """A record from STATUS_COLUMNS."""
    state, reason, revoked_at, changed_at, not_after = row
    if state == CertificateState.REVOKED:
        return Status(CertificateState.REVOKED, changed_at, not_after, revoked_at, Reason(reason))
    return Status(CertificateState(state), changed_at, not_after)


def read_status(connection: Connection, issuer: IssuerID, serial: int) -> Status:
    """The status within this transaction. Raises NotFound."""
    if 0 < serial <= MAX_SERIAL:
        row = connection.execute(STATUS, {"issuer": issuer, "serial": pack_serial(serial)}).first()
        if row is not None:
            return make_status(row)
    raise NotFound(f"serial {format_serial(serial)} was never used by this CA")


def reserve_row(connection: Connection, issuer: IssuerID, serial: int, profile: str, not_after: int, now: int) -> None:
    """Add a reserved row. Raises Conflict when the serial is taken, ValueError when no certificate can have it."""
    if not 0 < serial <= MAX_SERIAL:
        raise ValueError(f"{serial} is not a positive serial number of at most 20 octets")
    key = {"issuer_id": issuer, "serial": pack_serial(serial)}
    try:
        with connection.begin_nested():
            connection.execute(
                insert(certificate_status).values(
                    **key, state=CertificateState.RESERVED, changed_at=now, not_after=not_after
                )
            )
    except IntegrityError as error:
        known = connection.execute(select(_ROW.state).filter_by(**key)).first()
        if known is None:
            raise NotFound(f"there is no CA with id {issuer}") from error
        raise Conflict(f"serial {format_serial(serial)} is taken") from error
    connection.execute(insert(certificate).values(**key, profile=profile, subject="", not_before=now))


def make_good(
    connection: Connection,
    issuer: IssuerID,
    serial: int,
    der: bytes,
    subject: str,
    not_before: int,
    not_after: int,
    now: int,
) -> None:
    """Move reserved → good and keep the certificate. Raises IllegalMove, NotFound."""
    key = {"issuer_id": issuer, "serial": pack_serial(serial)}
    moved = connection.execute(
        update(certificate_status)
        .filter_by(**key, state=CertificateState.RESERVED)
        .values(state=CertificateState.GOOD, changed_at=now, not_after=not_after)
    )
    if moved.rowcount != 1:
        state = read_status(connection, issuer, serial).state
        raise IllegalMove(f"serial {format_serial(serial)} is {state.name.lower()}, so it cannot become good")
    connection.execute(update(certificate).filter_by(**key).values(der=der, subject=subject, not_before=not_before))
    record_change(connection, ChangeKind.STATUS, issuer, serial)


def make_revoked(
    connection: Connection, issuer: IssuerID, serial: int, reason: Reason, revoked_at: int, now: int
) -> Status:
    """Move any state → revoked, or correct reason and time of a revocation. Raises NotFound, IllegalMove."""
    if reason is Reason.removeFromCRL:
        raise IllegalMove("removeFromCRL is not a revocation: a revoked certificate stays revoked")
    if not 0 < serial <= MAX_SERIAL:
        raise NotFound(f"serial {serial:x} was never used by this CA")
    key = {"issuer_id": issuer, "serial": pack_serial(serial)}
    locked = connection.execute(select(*STATUS_COLUMNS).filter_by(**key).with_for_update()).first()
    if locked is None:
        raise NotFound(f"serial {format_serial(serial)} was never used by this CA")
    before = make_status(locked)
    if (before.revoked_at, before.reason) == (revoked_at, reason):
        return before
    connection.execute(
        update(certificate_status)
        .filter_by(**key)
        .values(state=CertificateState.REVOKED, reason=reason, revoked_at=revoked_at, changed_at=now)
    )
    record_change(connection, ChangeKind.STATUS, issuer, serial)
    return Status(CertificateState.REVOKED, now, before.not_after, revoked_at, reason)
