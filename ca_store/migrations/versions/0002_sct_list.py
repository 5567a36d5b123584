"""SCTs that OCSP answers carry (RFC 6962 §3.3): a column that is empty for most certificates and costs them nothing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("certificate_status", sa.Column("sct_list", sa.LargeBinary(), nullable=True))
