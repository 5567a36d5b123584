"""The writing side of the change feed: a change is announced in the transaction that makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Text, cast, delete, extract, func, insert, select

from ca_store.engine import CHANNEL, RECORDED_CHANNEL
from ca_store.schema import change, pack_serial, unpack_serial
from ca_store.types import Change, ChangeKind, IssuerID, format_serial

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

KEPT: Final = 100_000
"""Changes kept for readers that are behind; one that is further behind starts afresh."""

_PRUNE_EVERY: Final = 1000

_NOW: Final = cast(extract("epoch", func.clock_timestamp()), Text)
"""POSIX seconds with microseconds, by the clock of the database: a fraction is lost by no driver."""


def record_change(connection: Connection, kind: ChangeKind, issuer: IssuerID, serial: int | None = None) -> None:
    """Announce a change to every responder, if and when the transaction commits."""
    if connection.dialect.name == "postgresql":
        payload = f"{kind.value}:{issuer}:{'' if serial is None else format_serial(serial)}"
        connection.execute(select(func.pg_notify(RECORDED_CHANNEL, _NOW), func.pg_notify(CHANNEL, payload)))
        return
    stored = None if serial is None else pack_serial(serial)
    number = connection.execute(
        insert(change).values(kind=kind.value, issuer_id=issuer, serial=stored).returning(change.c.id)
    ).scalar_one()
    if number % _PRUNE_EVERY == 0:
        connection.execute(delete(change).where(change.c.id <= number - KEPT))


def decode_payload(payload: str, recorded_at: float | None = None) -> Change:
    """A change from a PostgreSQL notification. Raises ValueError when it is not one of ours."""
    kind, issuer, serial = payload.split(":")
    return Change(ChangeKind(kind), IssuerID(int(issuer)), int(serial, 16) if serial else None, recorded_at)


def make_change(row: Row[*tuple[Any, ...]], recorded_at: float) -> Change:
    """A change from a row of the change table."""
    serial = None if row.serial is None else unpack_serial(row.serial)
    return Change(ChangeKind(row.kind), IssuerID(row.issuer_id), serial, recorded_at)
