"""Let a token teach some courses only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column: a token of before teaches all of them, as it did."""
    op.add_column("token", sa.Column("courses", sa.Text, nullable=False, server_default="[]"))


def downgrade() -> None:
    """Remove it, and revoke what would teach more than it was made for."""
    op.execute(
        "UPDATE token SET revoked_at = created_at WHERE courses <> '[]' AND revoked_at IS NULL"
    )
    op.drop_column("token", "courses")
