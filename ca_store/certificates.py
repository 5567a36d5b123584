"""Certificates and their status moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, literal_column, select, tuple_

from ca_store.schema import (
    REVOKED_INDEX,
    WITHOUT_SCTS_INDEX,
    certificate,
    certificate_status,
    crl,
    issuer,
    pack_serial,
    unpack_serial,
)
from ca_store.statuses import (
    IS_REVOKED,
    STATUS_COLUMNS,
    attach_scts,
    by_index,
    exchange,
    make_good,
    make_revoked,
    make_status,
    never_used,
    reserve_row,
    revoke_page,
)
from ca_store.transactions import Transactions
from ca_store.types import MAX_SERIAL, Certificate, CertificateState, IssuerID, Reason, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Row

_CERTIFICATES: Final = (
    select(
        *STATUS_COLUMNS,
        certificate_status.c.issuer_id,
        certificate_status.c.serial,
        issuer.c.label,
        certificate.c.profile,
        certificate.c.subject,
        certificate.c.not_before,
        certificate.c.der,
    )
    .join(
        certificate,
        (certificate.c.issuer_id == certificate_status.c.issuer_id)
        & (certificate.c.serial == certificate_status.c.serial),
    )
    .join(issuer, issuer.c.id == certificate_status.c.issuer_id)
)

_BEHIND_EVERY_TEXT: Final = "\U0010ffff"


def _make_certificate(row: Row[*tuple[Any, ...]]) -> Certificate:
    return Certificate(
        issuer=IssuerID(row.issuer_id),
        issuer_label=row.label,
        serial=unpack_serial(row.serial),
        profile=row.profile,
        subject=row.subject,
        not_before=row.not_before,
        not_after=row.not_after,
        status=make_status(row[: len(STATUS_COLUMNS)]),
        der=None if row.der is None else bytes(row.der),
    )


class CertificateWriter(Transactions):
    """The certificates' part of ``ca_store.contracts.IssuanceStore``."""

    def reserve(self, issuer: IssuerID, serial: int, profile: str, not_after: int, now: int) -> None:
        with self._transaction() as connection:
            reserve_row(connection, issuer, serial, profile, not_after, now)

    def record(
        self,
        issuer: IssuerID,
        serial: int,
        certificate: bytes,
        subject: str,
        not_before: int,
        not_after: int,
        now: int,
    ) -> None:
        with self._transaction() as connection:
            make_good(connection, issuer, serial, certificate, subject, not_before, not_after, now)

    def complete(self, issuer: IssuerID, serial: int, precertificate: bytes, certificate: bytes) -> None:
        with self._transaction() as connection:
            exchange(connection, issuer, serial, precertificate, certificate)

    def revoke(self, issuer: IssuerID, serial: int, reason: Reason, revoked_at: int, now: int) -> Status:
        with self._transaction() as connection:
            return make_revoked(connection, issuer, serial, reason, revoked_at, now)

    def revoke_all(
        self, issuer: IssuerID, reasons: Mapping[str, Reason], at: int, now: int, *, after: int = 0, limit: int = 1000
    ) -> Sequence[int]:
        with self._transaction() as connection:
            return revoke_page(connection, issuer, reasons, at, now, after, limit)

    def put_sct_list(self, issuer: IssuerID, serial: int, sct_list: bytes, now: int) -> None:
        with self._transaction() as connection:
            attach_scts(connection, issuer, serial, sct_list, now)

    def certificate(self, issuer: IssuerID, serial: int) -> Certificate:
        row = None
        with self._reading() as connection:
            if 0 < serial <= MAX_SERIAL:
                row = connection.execute(
                    _CERTIFICATES.where(
                        certificate_status.c.issuer_id == issuer, certificate_status.c.serial == pack_serial(serial)
                    )
                ).first()
        if row is None:
            raise never_used(serial)
        return _make_certificate(row)

    def certificates(
        self,
        *,
        issuer: IssuerID | None = None,
        state: CertificateState | None = None,
        profile: str | None = None,
        after: tuple[IssuerID, int] | None = None,
        limit: int = 1000,
    ) -> Sequence[Certificate]:
        is_sqlite = self._engine.dialect.name == "sqlite"
        key = (certificate_status.c.issuer_id, certificate_status.c.serial)
        query = _CERTIFICATES.order_by(*key).limit(limit)
        if state is CertificateState.REVOKED:
            query = by_index(query, REVOKED_INDEX).where(IS_REVOKED)
        elif state is not None:
            query = query.where(certificate_status.c.state == state)
        if profile is not None:
            # SQLite would take a profile for rare, and read and sort all of them for each page.
            query = query.where((certificate.c.profile + "" if is_sqlite else certificate.c.profile) == profile)
        behind = None if after is None else (after[0], pack_serial(min(max(after[1], 0), MAX_SERIAL)))
        # PostgreSQL may merge the two, and would read the second from its beginning.
        tables = (certificate_status,) if is_sqlite else (certificate_status, certificate)
        if issuer is not None:
            query = query.where(key[0] == issuer)
            # Of one issuer SQLite would take an index for the issuer alone, and read all that lies before the page.
            if behind is not None and behind[0] == issuer:
                query = query.where(*(table.c.serial > behind[1] for table in tables))
            elif behind is not None and behind[0] > issuer:
                return []
        elif behind is not None:
            query = query.where(*(tuple_(table.c.issuer_id, table.c.serial) > tuple_(*behind) for table in tables))
        with self._reading() as connection:
            return [_make_certificate(row) for row in connection.execute(query)]

    def without_scts(
        self,
        profile: str,
        since: int,
        until: int,
        *,
        after: tuple[int, IssuerID, int] | None = None,
        limit: int = 1000,
    ) -> Sequence[Certificate]:
        row = certificate_status.c
        key = (row.changed_at, row.issuer_id, row.serial)
        # Rows of seconds before the last page's need no look.
        first = since if after is None else max(since, after[0])
        query = (
            by_index(_CERTIFICATES, WITHOUT_SCTS_INDEX)
            .where(
                row.state == literal_column(str(CertificateState.GOOD.value)),
                row.sct_list.is_(None),
                row.changed_at.between(first, until),
                certificate.c.profile == profile,
            )
            .order_by(*key)
            .limit(limit)
        )
        if after is not None:
            query = query.where(tuple_(*key) > tuple_(after[0], after[1], pack_serial(after[2])))
        with self._reading() as connection:
            return [_make_certificate(row) for row in connection.execute(query)]

    def certificates_named(self, start: str, limit: int = 1000) -> Sequence[Certificate]:
        subject = certificate.c.subject
        query = (
            _CERTIFICATES.where(certificate.c.der.is_not(None))
            .order_by(subject, certificate_status.c.issuer_id, certificate_status.c.serial)
            .limit(limit)
        )
        with self._reading() as connection:
            # SQLite's LIKE takes no account of case, and so no index.
            if connection.dialect.name == "sqlite":
                query = query.where(subject >= start, subject < start + _BEHIND_EVERY_TEXT)
            else:
                query = query.where(subject.startswith(start, autoescape=True))
            return [_make_certificate(row) for row in connection.execute(query)]

    def revoked(
        self, issuer: IssuerID, *, retention: int = 0, since: int | None = None, after: int = 0, limit: int = 10_000
    ) -> Sequence[tuple[int, Status]]:
        row = certificate_status.c
        last_crl = select(func.max(crl.c.this_update)).where(crl.c.issuer_id == issuer).scalar_subquery()
        query = (
            # Nothing that is not in the index.
            by_index(select(row.serial, row.changed_at, row.not_after, row.revoked_at, row.reason), REVOKED_INDEX)
            .where(
                row.issuer_id == issuer,
                row.serial > pack_serial(after),
                IS_REVOKED,
                # RFC 5280 §3.3: an entry stays until it was on one CRL issued after the certificate's expiry.
                row.not_after >= func.coalesce(last_crl, 0) - retention,
            )
            .order_by(row.serial)
            .limit(limit)
        )
        if since is not None:
            query = query.where(row.changed_at >= since)
        with self._reading() as connection:
            return [
                (unpack_serial(serial), Status(CertificateState.REVOKED, changed, end, at, Reason(reason)))
                for serial, changed, end, at, reason in connection.execute(query)
            ]
