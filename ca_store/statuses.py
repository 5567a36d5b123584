"""Status rows and their legal moves, as statements within a caller's transaction.

Each move locks its row first, so that of two writers at once the second one judges what the first one left. The time of
change never goes back, whatever the clocks of two writers say, so that no answer is dated before the issue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import bindparam, insert, literal_column, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from ca_store.changes import record_change
from ca_store.errors import Conflict, IllegalMove, NotFound
from ca_store.schema import REVOKED_INDEX, certificate, certificate_status, pack_serial, unpack_serial
from ca_store.types import MAX_SERIAL, CertificateState, ChangeKind, IssuerID, Reason, Status, format_serial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Select

_ROW: Final = certificate_status.c
_Select = TypeVar("_Select", bound="Select[*tuple[Any, ...]]")

EXAMPLE_ROWS: Final = 10_000
"""Rows among which an example is looked for: a CA may have millions that have all expired."""


def by_index(query: _Select, index: str | None) -> _Select:
    """The same, its status rows found by this index on SQLite, which has no statistics and misjudges partial ones."""
    return query if index is None else query.with_hint(certificate_status, f"INDEXED BY {index}", "sqlite")


def _example(state: CertificateState) -> Select[bytes]:
    is_state = _ROW.state == literal_column(str(state.value))
    revoked = state is CertificateState.REVOKED
    lowest = by_index(select(_ROW.serial, _ROW.state, _ROW.not_after), REVOKED_INDEX if revoked else None)
    if revoked:
        lowest = lowest.where(is_state)
    rows = lowest.where(_ROW.issuer_id == bindparam("issuer")).order_by(_ROW.serial).limit(EXAMPLE_ROWS).subquery()
    return select(rows.c.serial).where(rows.c.state == state.value, rows.c.not_after > bindparam("after")).limit(1)


STATUS_COLUMNS: Final = (_ROW.state, _ROW.reason, _ROW.revoked_at, _ROW.changed_at, _ROW.not_after, _ROW.sct_list)

STATUS: Final = select(*STATUS_COLUMNS).where(_ROW.issuer_id == bindparam("issuer"), _ROW.serial == bindparam("serial"))
"""The one look-up of the hot path; parameters ``issuer`` and ``serial`` (packed)."""

IS_REVOKED: Final = _ROW.state == literal_column(str(CertificateState.REVOKED.value))
"""As a literal: SQLite takes the index of revoked rows only for a state that it can read in the statement."""

IN_FORCE: Final = {
    state: by_index(select(_ROW.serial), REVOKED_INDEX if state is CertificateState.REVOKED else None)
    .where(
        _ROW.issuer_id == bindparam("issuer"),
        _ROW.state == literal_column(str(state.value)),
        _ROW.not_after > bindparam("after"),
    )
    .order_by(_ROW.serial)
    .limit(bindparam("limit"))
    for state in CertificateState
}
"""By state: the lowest serials of an issuer in it that expire later than ``after``; parameters ``issuer``, ``after``,
``limit``."""

EXAMPLES: Final = {state: _example(state) for state in CertificateState}
"""By state: some serial of an issuer in it that expires later than ``after``; parameters ``issuer``, ``after``."""

_STATES: Final = tuple(CertificateState)
"""By their numbers; a call of the enumeration costs as much as a column."""

_LENGTH: Final = 2
"""Octets of a length in a SignedCertificateTimestampList."""


def revocations_of(since: int, after: tuple[IssuerID, int] | None, limit: int) -> Select[tuple[int, bytes]]:
    """The statement behind ``ca_store.contracts.ReadStore.revocations``; a row is (issuer, packed serial)."""
    key = (_ROW.issuer_id, _ROW.serial)
    query = (
        by_index(select(*key), REVOKED_INDEX).where(IS_REVOKED, _ROW.changed_at >= since).order_by(*key).limit(limit)
    )
    return query if after is None else query.where(tuple_(*key) > tuple_(after[0], pack_serial(after[1])))


def make_revocation(row: Sequence[Any]) -> tuple[IssuerID, int]:
    """A pair from a row of ``revocations_of``."""
    return IssuerID(row[0]), unpack_serial(bytes(row[1]))


def make_status(row: Sequence[Any]) -> Status:
    """A record from STATUS_COLUMNS."""
    state, reason, revoked_at, changed_at, not_after, sct_list = row
    if state == CertificateState.REVOKED:
        return Status(CertificateState.REVOKED, changed_at, not_after, revoked_at, Reason(reason), sct_list)
    return Status(_STATES[state], changed_at, not_after, None, None, sct_list)


def never_used(serial: int) -> NotFound:
    """The refusal of a serial without a row."""
    return NotFound(f"serial {format_serial(serial)} was never used by this CA")


def lock_status(connection: Connection, issuer: IssuerID, serial: int) -> Status:
    """The status, which no other transaction can move until this one ends. Raises NotFound."""
    row = None
    if 0 < serial <= MAX_SERIAL:
        parameters = {"issuer": issuer, "serial": pack_serial(serial)}
        row = connection.execute(STATUS.with_for_update(), parameters).first()
    if row is None:
        raise never_used(serial)
    return make_status(row)


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
    before = lock_status(connection, issuer, serial)
    if before.state is not CertificateState.RESERVED:
        raise IllegalMove(f"serial {format_serial(serial)} is {before.state.name.lower()}, so it cannot become good")
    key = {"issuer_id": issuer, "serial": pack_serial(serial)}
    connection.execute(
        update(certificate_status)
        .filter_by(**key)
        .values(state=CertificateState.GOOD, changed_at=max(now, before.changed_at), not_after=not_after)
    )
    connection.execute(update(certificate).filter_by(**key).values(der=der, subject=subject, not_before=not_before))
    record_change(connection, ChangeKind.STATUS, issuer, serial)


def exchange(connection: Connection, issuer: IssuerID, serial: int, before: bytes, after: bytes) -> None:
    """Keep a certificate instead of its precertificate. Raises IllegalMove, NotFound."""
    status = lock_status(connection, issuer, serial)
    if status.state is not CertificateState.GOOD:
        raise IllegalMove(f"serial {format_serial(serial)} is {status.state.name.lower()}, so it gets no certificate")
    key = {"issuer_id": issuer, "serial": pack_serial(serial)}
    if bytes(connection.execute(select(certificate.c.der).filter_by(**key)).scalar_one()) != before:
        raise IllegalMove(f"serial {format_serial(serial)} has another certificate already")
    connection.execute(update(certificate).filter_by(**key).values(der=after))


def make_revoked(
    connection: Connection, issuer: IssuerID, serial: int, reason: Reason, revoked_at: int, now: int
) -> Status:
    """Move any state → revoked, or correct reason and time of a revocation. Raises NotFound, IllegalMove."""
    if reason is Reason.removeFromCRL:
        raise IllegalMove("removeFromCRL is not a revocation: a revoked certificate stays revoked")
    before = lock_status(connection, issuer, serial)
    if (before.revoked_at, before.reason) == (revoked_at, reason):
        return before
    changed_at = max(now, before.changed_at)
    connection.execute(
        update(certificate_status)
        .filter_by(issuer_id=issuer, serial=pack_serial(serial))
        .values(state=CertificateState.REVOKED, reason=reason, revoked_at=revoked_at, changed_at=changed_at)
    )
    record_change(connection, ChangeKind.STATUS, issuer, serial)
    return before._replace(state=CertificateState.REVOKED, changed_at=changed_at, revoked_at=revoked_at, reason=reason)


def revoke_page(
    connection: Connection, issuer: IssuerID, reasons: Mapping[str, Reason], at: int, now: int, after: int, limit: int
) -> Sequence[int]:
    """Move what is not revoked yet, of the profiles in ``reasons``, to revoked: at most ``limit`` rows from behind the
    serial ``after``. Their serials in order.
    """
    rows = connection.execute(
        select(_ROW.serial, _ROW.changed_at, certificate.c.profile, certificate.c.not_before)
        .join(certificate, (certificate.c.issuer_id == _ROW.issuer_id) & (certificate.c.serial == _ROW.serial))
        .where(_ROW.issuer_id == issuer, _ROW.serial > pack_serial(after), _ROW.state != CertificateState.REVOKED)
        .where(certificate.c.profile.in_(reasons))
        .order_by(_ROW.serial)
        .limit(limit)
        .with_for_update(of=certificate_status)
    ).all()
    if not rows:
        return []
    connection.execute(
        update(certificate_status)
        .where(_ROW.issuer_id == issuer, _ROW.serial == bindparam("row"))
        .values(
            state=CertificateState.REVOKED,
            reason=bindparam("why"),
            revoked_at=bindparam("since"),
            changed_at=bindparam("changed"),
        ),
        [
            {
                "row": row.serial,
                "why": reasons[row.profile],
                "since": max(at, row.not_before),
                "changed": max(now, row.changed_at),
            }
            for row in rows
        ],
    )
    serials = [unpack_serial(row.serial) for row in rows]
    for serial in serials:
        record_change(connection, ChangeKind.STATUS, issuer, serial)
    return serials


def attach_scts(connection: Connection, issuer: IssuerID, serial: int, sct_list: bytes, now: int) -> None:
    """Keep the SCT list of a good certificate. Raises ValueError, NotFound, IllegalMove."""
    check_sct_list(sct_list)
    before = lock_status(connection, issuer, serial)
    if before.state is not CertificateState.GOOD:
        raise IllegalMove(f"serial {format_serial(serial)} is {before.state.name.lower()}, so it takes no SCTs")
    if before.sct_list == sct_list:
        return
    connection.execute(
        update(certificate_status)
        .filter_by(issuer_id=issuer, serial=pack_serial(serial))
        .values(sct_list=sct_list, changed_at=max(now, before.changed_at))
    )
    record_change(connection, ChangeKind.STATUS, issuer, serial)


def check_sct_list(encoded: bytes) -> None:
    """Raises ValueError unless these octets are a SignedCertificateTimestampList with at least one SCT, none of which
    is empty: opaque vectors with two octets of length each (RFC 6962 §3.3, RFC 5246 §4.3).
    """
    rest = _vector(encoded)
    if rest != b"":
        raise ValueError("octets follow the list of SCTs")
    items = encoded[_LENGTH:]
    if not items:
        raise ValueError("the list of SCTs is empty")
    while items:
        rest = _vector(items)
        if len(items) - len(rest) == _LENGTH:
            raise ValueError("an SCT is empty")
        items = rest


def _vector(encoded: bytes) -> bytes:
    """What follows the first vector."""
    end = _LENGTH + int.from_bytes(encoded[:_LENGTH], "big")
    if len(encoded) < max(end, _LENGTH):
        raise ValueError("the list of SCTs is cut short")
    return encoded[end:]
