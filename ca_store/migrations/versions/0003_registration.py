"""Who applies and what was decided: officers, applications, the audit trail, CAA look-ups, and subjects to be found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_STATUS = ["certificate_status.issuer_id", "certificate_status.serial"]


def upgrade() -> None:
    _people()
    _records()
    op.create_index(
        "ix_certificate_subject",
        "certificate",
        ["subject"],
        unique=False,
        postgresql_ops={"subject": "text_pattern_ops"},
    )


def _people() -> None:
    op.create_table(
        "officer",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mail", sa.Text(), nullable=False),
        sa.Column("institution_id", sa.BigInteger(), nullable=False),
        sa.Column("issuer_id", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.LargeBinary(length=20), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["institution_id"], ["institution.id"], name=op.f("fk_officer_institution_id")),
        sa.ForeignKeyConstraint(["issuer_id", "serial"], _STATUS, name="fk_officer_status"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_officer")),
        sa.UniqueConstraint("issuer_id", "serial", name=op.f("uq_officer_issuer_id")),
    )
    op.create_index(op.f("ix_officer_institution_id"), "officer", ["institution_id"], unique=False)
    op.create_table(
        "application",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("officer_id", sa.BigInteger(), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("issuer_id", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.LargeBinary(length=20), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["officer_id"], ["officer.id"], name=op.f("fk_application_officer_id")),
        sa.ForeignKeyConstraint(["issuer_id", "serial"], _STATUS, name="fk_application_status"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application")),
        sa.UniqueConstraint("digest", name=op.f("uq_application_digest")),
        sa.UniqueConstraint("issuer_id", "serial", name=op.f("uq_application_issuer_id")),
    )
    op.create_index(op.f("ix_application_officer_id"), "application", ["officer_id"], unique=False)


def _records() -> None:
    op.create_table(
        "audit",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "caa_check",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("checked_at", sa.BigInteger(), nullable=False),
        sa.Column("ttl", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("records", sa.Text(), nullable=False),
        sa.Column("permitted", sa.SmallInteger(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.CheckConstraint("permitted in (0, 1)", name=op.f("ck_caa_check_permitted")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_caa_check")),
    )
    op.create_index("ix_caa_check_name", "caa_check", ["name", "tag", "checked_at"], unique=False)
