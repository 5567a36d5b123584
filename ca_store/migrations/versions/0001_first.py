"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "change",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("issuer_id", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.LargeBinary(length=20), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "institution",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("locality", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_institution")),
        sa.UniqueConstraint("name", name=op.f("uq_institution_name")),
    )
    op.create_table(
        "issuer",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("serial", sa.LargeBinary(length=20), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("key_reference", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["issuer.id"], name=op.f("fk_issuer_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issuer")),
        sa.UniqueConstraint("label", name=op.f("uq_issuer_label")),
    )
    op.create_table(
        "serial_block",
        sa.Column("tsa_name", sa.LargeBinary(), nullable=False),
        sa.Column("prefix", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("reserved_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tsa_name", "prefix", name=op.f("pk_serial_block")),
    )
    op.create_table(
        "certificate_status",
        sa.Column("issuer_id", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.LargeBinary(length=20), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.SmallInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(state = 2) = (reason is not null)", name=op.f("ck_certificate_status_revoked_has_a_reason")
        ),
        sa.CheckConstraint(
            "(state = 2) = (revoked_at is not null)", name=op.f("ck_certificate_status_revoked_has_a_time")
        ),
        sa.CheckConstraint("length(serial) = 20", name=op.f("ck_certificate_status_serial_is_fixed_width")),
        sa.CheckConstraint("state in (0, 1, 2)", name=op.f("ck_certificate_status_state")),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuer.id"], name=op.f("fk_certificate_status_issuer_id")),
        sa.PrimaryKeyConstraint("issuer_id", "serial", name=op.f("pk_certificate_status")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_certificate_status_revoked",
        "certificate_status",
        ["issuer_id", "serial"],
        unique=False,
        sqlite_where=sa.text("state = 2"),
        postgresql_where=sa.text("state = 2"),
    )
    op.create_table(
        "crl",
        sa.Column("issuer_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("this_update", sa.BigInteger(), nullable=False),
        sa.Column("next_update", sa.BigInteger(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuer.id"], name=op.f("fk_crl_issuer_id")),
        sa.PrimaryKeyConstraint("issuer_id", "number", name=op.f("pk_crl")),
    )
    op.create_table(
        "institution_domain",
        sa.Column("institution_id", sa.BigInteger(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["institution_id"], ["institution.id"], name=op.f("fk_institution_domain_institution_id")
        ),
        sa.UniqueConstraint("domain", name=op.f("uq_institution_domain_domain")),
    )
    op.create_index(
        op.f("ix_institution_domain_institution_id"), "institution_domain", ["institution_id"], unique=False
    )
    op.create_table(
        "issuer_hash",
        sa.Column("issuer_id", sa.BigInteger(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("name_hash", sa.LargeBinary(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuer.id"], name=op.f("fk_issuer_hash_issuer_id")),
        sa.UniqueConstraint("algorithm", "name_hash", "key_hash", name=op.f("uq_issuer_hash_algorithm")),
    )
    op.create_index(op.f("ix_issuer_hash_issuer_id"), "issuer_hash", ["issuer_id"], unique=False)
    op.create_table(
        "certificate",
        sa.Column("issuer_id", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.LargeBinary(length=20), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["issuer_id", "serial"],
            ["certificate_status.issuer_id", "certificate_status.serial"],
            name="fk_certificate_status",
        ),
        sa.PrimaryKeyConstraint("issuer_id", "serial", name=op.f("pk_certificate")),
    )
    op.create_table(
        "credential",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("issuer_id", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.LargeBinary(length=20), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("key_reference", sa.Text(), nullable=False),
        sa.Column("active_from", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["issuer_id", "serial"],
            ["certificate_status.issuer_id", "certificate_status.serial"],
            name="fk_credential_status",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential")),
        sa.UniqueConstraint("issuer_id", "serial", name=op.f("uq_credential_issuer_id")),
    )
