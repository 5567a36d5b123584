"""Online signing keys, CRLs and institutions: the smaller tables of the issuance store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ca_store.changes import record_change
from ca_store.errors import Conflict, IllegalMove, NotFound
from ca_store.schema import credential, crl, institution, institution_domain, issuer, pack_serial, unpack_serial
from ca_store.statuses import lock_status
from ca_store.transactions import Transactions
from ca_store.types import (
    CRL,
    CertificateState,
    ChangeKind,
    Credential,
    CredentialKind,
    Institution,
    IssuerID,
    format_serial,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row, Select

_CREDENTIALS: Final = select(credential).where(credential.c.retired_at.is_(None)).order_by(credential.c.id)
_NEWEST_CRL: Final = select(crl).order_by(crl.c.number.desc()).limit(1)


def credentials_of(kind: CredentialKind | None) -> Select[Any]:
    """All credentials of a kind, or of any, that are not retired."""
    return _CREDENTIALS if kind is None else _CREDENTIALS.where(credential.c.kind == kind.value)


def crl_of(label: str, number: int | None = None) -> Select[Any]:
    """The newest CRL of the CA with this label, or the one with this number."""
    found = _NEWEST_CRL.join(issuer, issuer.c.id == crl.c.issuer_id).where(issuer.c.label == label)
    return found if number is None else found.where(crl.c.number == number)


def make_credential(row: Row[*tuple[Any, ...]]) -> Credential:
    """A record from ``credentials_of``."""
    return Credential(
        id=row.id,
        kind=CredentialKind(row.kind),
        name=row.name,
        issuer=IssuerID(row.issuer_id),
        serial=unpack_serial(row.serial),
        certificate=bytes(row.certificate),
        key_reference=row.key_reference,
        active_from=row.active_from,
        not_after=row.not_after,
    )


def make_crl(row: Row[*tuple[Any, ...]]) -> CRL:
    """A record from ``crl_of``."""
    return CRL(IssuerID(row.issuer_id), row.number, row.this_update, row.next_update, bytes(row.der))


class CredentialWriter(Transactions):
    """The credentials' part of ``ca_store.contracts.IssuanceStore``."""

    def add_credential(self, new: Credential, now: int) -> int:
        with self._transaction() as connection:
            state = lock_status(connection, new.issuer, new.serial).state
            if state is not CertificateState.GOOD:
                raise IllegalMove(
                    f"serial {format_serial(new.serial)} is {state.name.lower()}, so its key cannot go online"
                )
            known = select(credential.c.id).filter_by(issuer_id=new.issuer, serial=pack_serial(new.serial))
            if connection.execute(known).first():
                raise Conflict(f"serial {format_serial(new.serial)} has been a credential already")
            identifier: int = connection.execute(
                insert(credential)
                .values(
                    kind=new.kind.value,
                    name=new.name,
                    issuer_id=new.issuer,
                    serial=pack_serial(new.serial),
                    certificate=new.certificate,
                    key_reference=new.key_reference,
                    active_from=new.active_from,
                    not_after=new.not_after,
                    created_at=now,
                )
                .returning(credential.c.id)
            ).scalar_one()
            record_change(connection, ChangeKind.CREDENTIAL, new.issuer)
            return identifier

    def credentials(self, kind: CredentialKind | None = None) -> Sequence[Credential]:
        with self._reading() as connection:
            return [make_credential(row) for row in connection.execute(credentials_of(kind))]

    def retire_credential(self, credential_id: int, now: int) -> None:
        with self._transaction() as connection:
            owner = connection.execute(
                update(credential)
                .where(credential.c.id == credential_id, credential.c.retired_at.is_(None))
                .values(retired_at=now)
                .returning(credential.c.issuer_id)
            ).scalar()
            if owner is None:
                raise NotFound(f"there is no credential {credential_id} in use")
            record_change(connection, ChangeKind.CREDENTIAL, IssuerID(owner))


class CRLWriter(Transactions):
    """The CRLs' part of ``ca_store.contracts.IssuanceStore``."""

    def next_crl_number(self, issuer: IssuerID) -> int:
        with self._reading() as connection:
            highest = connection.execute(select(func.max(crl.c.number)).where(crl.c.issuer_id == issuer)).scalar()
        return (highest or 0) + 1

    def add_crl(self, new: CRL) -> None:
        with self._transaction() as connection:
            try:
                connection.execute(
                    insert(crl).values(
                        issuer_id=new.issuer,
                        number=new.number,
                        this_update=new.this_update,
                        next_update=new.next_update,
                        der=new.der,
                    )
                )
            except IntegrityError as error:
                raise Conflict(f"CRL number {new.number} is taken") from error
            record_change(connection, ChangeKind.CRL, new.issuer)

    def latest_crl(self, issuer: IssuerID) -> CRL:
        with self._reading() as connection:
            row = connection.execute(_NEWEST_CRL.where(crl.c.issuer_id == issuer)).first()
        if row is None:
            raise NotFound("this CA has no CRL yet")
        return make_crl(row)


class InstitutionWriter(Transactions):
    """The institutions' part of ``ca_store.contracts.IssuanceStore``."""

    def add_institution(self, new: Institution) -> None:
        with self._transaction() as connection:
            taken = connection.execute(
                select(institution_domain.c.domain).where(institution_domain.c.domain.in_(new.domains))
            ).scalar()
            if taken is not None:
                raise Conflict(f"the domain {taken} is registered already")
            if connection.execute(select(institution.c.id).where(institution.c.name == new.name)).first():
                raise Conflict(f"the institution {new.name!r} is registered already")
            identifier = connection.execute(
                insert(institution)
                .values(name=new.name, country=new.country, state=new.state, locality=new.locality)
                .returning(institution.c.id)
            ).scalar_one()
            if new.domains:
                connection.execute(
                    insert(institution_domain),
                    [{"institution_id": identifier, "domain": domain} for domain in new.domains],
                )

    def institutions(self) -> Sequence[Institution]:
        with self._reading() as connection:
            # In this order an institution that is added meanwhile cannot show without its domains.
            rows = connection.execute(select(institution).order_by(institution.c.name)).all()
            domains: dict[int, list[str]] = {}
            for row in connection.execute(select(institution_domain).order_by(institution_domain.c.domain)):
                domains.setdefault(row.institution_id, []).append(row.domain)
        return [
            Institution(row.name, row.country, row.state, row.locality, tuple(domains.get(row.id, ()))) for row in rows
        ]
