"""Know a transaction by a row that it leaves, for its number may be given twice."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the table; each connection makes its own row."""
    op.create_table(
        "mark",
        sa.Column("connection", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("connection", name="pk_mark"),
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_table("mark")
