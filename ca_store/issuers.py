"""Issuers: one row for each issuing key, and how CertIDs name it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from asn1crypto.x509 import Certificate
from cryptography import x509
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from ca_store.changes import record_change
from ca_store.errors import Conflict, NotFound
from ca_store.schema import certificate, issuer, issuer_hash, pack_serial, unpack_serial
from ca_store.statuses import make_good, reserve_row
from ca_store.transactions import Transactions
from ca_store.types import ChangeKind, HashAlgorithm, Issuer, IssuerHash, IssuerID

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Row

CA_PROFILE: Final = "ca"
"""The profile of CA certificates among a parent's certificates."""

_COLUMNS: Final = (
    issuer.c.id,
    issuer.c.label,
    issuer.c.certificate,
    issuer.c.parent_id,
    issuer.c.serial,
    issuer.c.not_before,
    issuer.c.not_after,
)
ISSUERS: Final = select(*_COLUMNS).order_by(issuer.c.id)
HASHES: Final = select(issuer_hash)


def issuer_hashes(certificate_der: bytes) -> tuple[IssuerHash, ...]:
    """How CertIDs name the issuer whose CA certificate this is, one entry for each HashAlgorithm.

    Both hashes are over octets as the certificate has them, not as another encoder would write them: the subject's DER,
    and the subjectPublicKey BIT STRING without tag, length and unused bits (RFC 6960 §4.1.1), whatever the subject key
    identifier says. Raises ValueError when ``certificate_der`` is not a certificate.
    """
    x509.load_der_x509_certificate(certificate_der)  # asn1crypto reads leniently and late
    body = Certificate.load(certificate_der)["tbs_certificate"]
    name: bytes = body["subject"].dump()
    key: bytes = body["subject_public_key_info"]["public_key"].contents[1:]
    return tuple(
        IssuerHash(
            algorithm,
            hashlib.new(algorithm.name.lower(), name, usedforsecurity=False).digest(),
            hashlib.new(algorithm.name.lower(), key, usedforsecurity=False).digest(),
        )
        for algorithm in HashAlgorithm
    )


def make_issuers(rows: Iterable[Row[*tuple[Any, ...]]], hash_rows: Iterable[Row[*tuple[Any, ...]]]) -> list[Issuer]:
    """Records from rows of ISSUERS and HASHES."""
    hashes: dict[int, list[IssuerHash]] = {}
    for row in hash_rows:
        entry = IssuerHash(HashAlgorithm[row.algorithm], bytes(row.name_hash), bytes(row.key_hash))
        hashes.setdefault(row.issuer_id, []).append(entry)
    return [
        Issuer(
            id=IssuerID(row.id),
            label=row.label,
            certificate=bytes(row.certificate),
            parent=None if row.parent_id is None else IssuerID(row.parent_id),
            serial=unpack_serial(row.serial),
            not_before=row.not_before,
            not_after=row.not_after,
            hashes=tuple(hashes.get(row.id, ())),
        )
        for row in rows
    ]


class IssuerWriter(Transactions):
    """The issuers' part of ``ca_store.contracts.IssuanceStore``."""

    def add_issuer(self, new: Issuer, key_reference: str, now: int) -> IssuerID:
        with self._transaction() as connection:
            if connection.execute(select(issuer.c.id).where(issuer.c.label == new.label)).first():
                raise Conflict(f"there is a CA labelled {new.label!r} already")
            parent = new.parent
            if parent is not None and not connection.execute(select(issuer.c.id).where(issuer.c.id == parent)).first():
                raise NotFound(f"there is no CA with id {parent}")
            identifier = IssuerID(
                connection.execute(
                    insert(issuer)
                    .values(
                        label=new.label,
                        certificate=new.certificate,
                        parent_id=parent,
                        serial=pack_serial(new.serial),
                        not_before=new.not_before,
                        not_after=new.not_after,
                        key_reference=key_reference,
                        created_at=now,
                    )
                    .returning(issuer.c.id)
                ).scalar_one()
            )
            _add_hashes(connection, identifier, new.hashes)
            _add_own_certificate(connection, identifier if parent is None else parent, new, now)
            record_change(connection, ChangeKind.ISSUER, identifier)
            return identifier

    def issuer(self, label: str) -> Issuer:
        with self._reading() as connection:
            rows = connection.execute(ISSUERS.where(issuer.c.label == label)).all()
            found = make_issuers(rows, connection.execute(HASHES))
        if not found:
            raise NotFound(f"there is no CA labelled {label!r}")
        return found[0]

    def issuer_key(self, identifier: IssuerID) -> str:
        with self._reading() as connection:
            found = connection.execute(select(issuer.c.key_reference).where(issuer.c.id == identifier)).scalar()
        if found is None:
            raise NotFound(f"there is no CA with id {identifier}")
        return str(found)

    def issuers(self) -> Sequence[Issuer]:
        with self._reading() as connection:
            return make_issuers(connection.execute(ISSUERS).all(), connection.execute(HASHES))


def _add_hashes(connection: Connection, identifier: IssuerID, hashes: Sequence[IssuerHash]) -> None:
    rows = [
        {
            "issuer_id": identifier,
            "algorithm": entry.algorithm.name,
            "name_hash": entry.name_hash,
            "key_hash": entry.key_hash,
        }
        for entry in hashes
    ]
    try:
        connection.execute(insert(issuer_hash), rows)
    except IntegrityError as error:
        raise Conflict("there is a CA with this name and key already") from error


def _add_own_certificate(connection: Connection, parent: IssuerID, new: Issuer, now: int) -> None:
    """The CA certificate is an ordinary row under its parent, so that its status can be asked there."""
    subject = x509.load_der_x509_certificate(new.certificate).subject.rfc4514_string()
    key = {"issuer_id": parent, "serial": pack_serial(new.serial)}
    reserved = connection.execute(
        select(certificate.c.serial).filter_by(**key)
    ).first()  # a sub-CA's serial is reserved before it is signed, a root's cannot be: it has no issuer yet
    if reserved is None:
        reserve_row(connection, parent, new.serial, CA_PROFILE, new.not_after, now)
    make_good(connection, parent, new.serial, new.certificate, subject, new.not_before, new.not_after, now)
