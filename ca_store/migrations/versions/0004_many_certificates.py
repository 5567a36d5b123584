"""What the timers look for among millions of certificates is found by index: revocations, and what lacks SCTs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_certificate_status_revoked", table_name="certificate_status")
    said = ["changed_at", "not_after", "reason", "revoked_at", "state"]
    _index_some("revoked", ["issuer_id", "serial", *said], "state = 2")
    _index_some("without_scts", ["changed_at", "issuer_id", "serial"], "state = 1 AND sct_list IS NULL")


def _index_some(name: str, columns: list[str], which: str) -> None:
    """An index of the status rows that ``which`` is true of."""
    op.create_index(
        f"ix_certificate_status_{name}",
        "certificate_status",
        columns,
        unique=False,
        sqlite_where=sa.text(which),
        postgresql_where=sa.text(which),
    )
