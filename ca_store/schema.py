"""Tables of the CA database.

The status of a certificate is a compact row apart from its body, because the online server reads nothing else. Serial
numbers are fixed 20-octet big-endian strings, so that their binary order is their integer order on both dialects.
Times are POSIX seconds.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

REVISION: Final = "0004"
"""The Alembic revision that this code reads and writes."""

SERIAL_OCTETS: Final = 20

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# INTEGER PRIMARY KEY is SQLite's row id; PostgreSQL makes an identity of it.
_ROW_ID: Final = BigInteger().with_variant(Integer, "sqlite")

issuer = Table(
    "issuer",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("label", Text, nullable=False, unique=True),
    Column("certificate", LargeBinary, nullable=False),
    Column("parent_id", BigInteger, ForeignKey("issuer.id")),
    Column("serial", LargeBinary(SERIAL_OCTETS), nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("key_reference", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

issuer_hash = Table(
    "issuer_hash",
    metadata,
    Column("issuer_id", BigInteger, ForeignKey("issuer.id"), nullable=False, index=True),
    Column("algorithm", Text, nullable=False),
    Column("name_hash", LargeBinary, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    UniqueConstraint("algorithm", "name_hash", "key_hash"),
)

certificate_status = Table(
    "certificate_status",
    metadata,
    Column("issuer_id", BigInteger, ForeignKey("issuer.id"), nullable=False),
    Column("serial", LargeBinary(SERIAL_OCTETS), nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("reason", SmallInteger),
    Column("revoked_at", BigInteger),
    Column("changed_at", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("sct_list", LargeBinary),
    PrimaryKeyConstraint("issuer_id", "serial"),
    CheckConstraint("state in (0, 1, 2)", name="state"),
    CheckConstraint("(state = 2) = (revoked_at is not null)", name="revoked_has_a_time"),
    CheckConstraint("(state = 2) = (reason is not null)", name="revoked_has_a_reason"),
    CheckConstraint(f"length(serial) = {SERIAL_OCTETS}", name="serial_is_fixed_width"),
    sqlite_with_rowid=False,
)
REVOKED_INDEX: Final = "ix_certificate_status_revoked"
"""What a CRL lists, with all that it says of it: the rows themselves lie among many times as many good ones. The state
is there because SQLite looks at it all the same.
"""
Index(
    REVOKED_INDEX,
    certificate_status.c.issuer_id,
    certificate_status.c.serial,
    certificate_status.c.changed_at,
    certificate_status.c.not_after,
    certificate_status.c.reason,
    certificate_status.c.revoked_at,
    certificate_status.c.state,
    sqlite_where=certificate_status.c.state == 2,  # noqa: PLR2004 - CertificateState.REVOKED, in an index's own text
    postgresql_where=certificate_status.c.state == 2,  # noqa: PLR2004 - the same
)
WITHOUT_SCTS_INDEX: Final = "ix_certificate_status_without_scts"
"""Good certificates without an SCT list by the time of their recording; with Certificate Transparency that is few."""
Index(
    WITHOUT_SCTS_INDEX,
    certificate_status.c.changed_at,
    certificate_status.c.issuer_id,
    certificate_status.c.serial,
    sqlite_where=text("state = 1 AND sct_list IS NULL"),
    postgresql_where=text("state = 1 AND sct_list IS NULL"),
)

certificate = Table(
    "certificate",
    metadata,
    Column("issuer_id", BigInteger, nullable=False),
    Column("serial", LargeBinary(SERIAL_OCTETS), nullable=False),
    Column("profile", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("der", LargeBinary),
    PrimaryKeyConstraint("issuer_id", "serial"),
    ForeignKeyConstraint(
        ["issuer_id", "serial"],
        ["certificate_status.issuer_id", "certificate_status.serial"],
        name="fk_certificate_status",
    ),
)
# Finds who has had a subject, and its beginning, which is the CN. Operator classes let LIKE use it on PostgreSQL.
Index("ix_certificate_subject", certificate.c.subject, postgresql_ops={"subject": "text_pattern_ops"})

change = Table(
    "change",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("issuer_id", BigInteger, nullable=False),
    Column("serial", LargeBinary(SERIAL_OCTETS)),
    sqlite_autoincrement=True,
)

serial_block = Table(
    "serial_block",
    metadata,
    Column("tsa_name", LargeBinary, nullable=False),
    Column("prefix", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("reserved_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("tsa_name", "prefix"),
)

credential = Table(
    "credential",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("issuer_id", BigInteger, nullable=False),
    Column("serial", LargeBinary(SERIAL_OCTETS), nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("key_reference", Text, nullable=False),
    Column("active_from", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("retired_at", BigInteger),
    UniqueConstraint("issuer_id", "serial"),
    ForeignKeyConstraint(
        ["issuer_id", "serial"],
        ["certificate_status.issuer_id", "certificate_status.serial"],
        name="fk_credential_status",
    ),
)

crl = Table(
    "crl",
    metadata,
    Column("issuer_id", BigInteger, ForeignKey("issuer.id"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("this_update", BigInteger, nullable=False),
    Column("next_update", BigInteger, nullable=False),
    Column("der", LargeBinary, nullable=False),
    PrimaryKeyConstraint("issuer_id", "number"),
)

institution = Table(
    "institution",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("country", Text, nullable=False),
    Column("state", Text),
    Column("locality", Text),
)

institution_domain = Table(
    "institution_domain",
    metadata,
    Column("institution_id", BigInteger, ForeignKey("institution.id"), nullable=False, index=True),
    Column("domain", Text, nullable=False, unique=True),
)

officer = Table(
    "officer",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("mail", Text, nullable=False),
    Column("institution_id", BigInteger, ForeignKey("institution.id"), nullable=False, index=True),
    Column("issuer_id", BigInteger, nullable=False),
    Column("serial", LargeBinary(SERIAL_OCTETS), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("issuer_id", "serial"),
    ForeignKeyConstraint(
        ["issuer_id", "serial"],
        ["certificate_status.issuer_id", "certificate_status.serial"],
        name="fk_officer_status",
    ),
)

application = Table(
    "application",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("action", Text, nullable=False),
    Column("officer_id", BigInteger, ForeignKey("officer.id"), nullable=False, index=True),
    Column("fields", Text, nullable=False),
    Column("issuer_id", BigInteger, nullable=False),
    Column("serial", LargeBinary(SERIAL_OCTETS), nullable=False),
    Column("received_at", BigInteger, nullable=False),
    UniqueConstraint("issuer_id", "serial"),
    ForeignKeyConstraint(
        ["issuer_id", "serial"],
        ["certificate_status.issuer_id", "certificate_status.serial"],
        name="fk_application_status",
    ),
)

audit = Table(
    "audit",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_autoincrement=True,
)

caa_check = Table(
    "caa_check",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("checked_at", BigInteger, nullable=False),
    Column("ttl", BigInteger, nullable=False),
    Column("source", Text),
    Column("records", Text, nullable=False),
    Column("permitted", SmallInteger, nullable=False),
    Column("sentence", Text, nullable=False),
    CheckConstraint("permitted in (0, 1)", name="permitted"),
)
Index("ix_caa_check_name", caa_check.c.name, caa_check.c.tag, caa_check.c.checked_at)


def pack_serial(serial: int) -> bytes:
    """The stored form of a serial. Raises OverflowError when no certificate can have it."""
    return serial.to_bytes(SERIAL_OCTETS, "big")


def unpack_serial(stored: bytes) -> int:
    """The serial of a stored form."""
    return int.from_bytes(stored, "big")
