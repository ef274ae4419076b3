"""Keep a key that all servers of a database have in common."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table; the first server that needs a key makes it."""
    op.create_table(
        "installation",
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_installation"),
    )


def downgrade() -> None:
    """Remove it. Sandboxes that are found by the key end by themselves, unclaimed."""
    op.drop_table("installation")
