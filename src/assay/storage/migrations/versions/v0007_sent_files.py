"""Keep files that clients of Jobe send, for all servers of a database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the table. What servers kept on their disks is sent again by who misses it."""
    op.create_table(
        "sent_file",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.Double, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("owner", "id", name="pk_sent_file"),
    )
    op.create_index("ix_sent_file_used_at", "sent_file", ["used_at"])


def downgrade() -> None:
    """Remove it: it is a cache."""
    op.drop_table("sent_file")
