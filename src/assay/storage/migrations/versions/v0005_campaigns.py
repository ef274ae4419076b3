"""Keep campaigns of grading again, what they propose, and what they replaced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables, and the columns by which a grading again is known."""
    _campaigns()
    op.create_table(
        "former_result",
        sa.Column("submission", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("result", sa.LargeBinary, nullable=False),
        sa.Column("campaign", sa.Text, nullable=False),
        sa.Column("replaced_at", sa.Double, nullable=False),
        sa.Column("replaced_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("submission", "revision", name="pk_former_result"),
    )
    op.add_column("submission", sa.Column("original", sa.Text))
    op.add_column(
        "submission", sa.Column("revision", sa.Integer, nullable=False, server_default="0")
    )


def _campaigns() -> None:
    op.create_table(
        "campaign",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("course", sa.Text, nullable=False),
        sa.Column("task", sa.Text),
        sa.Column("asked", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("ended_by", sa.Text),
        sa.Column("outcome", sa.LargeBinary),
        sa.PrimaryKeyConstraint("id", name="pk_campaign"),
        sa.UniqueConstraint("owner", "key", name="uq_campaign_owner"),
    )
    op.create_table(
        "regrade",
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("campaign", sa.Text, nullable=False),
        sa.Column("submission", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("run", name="pk_regrade"),
    )
    op.create_index("ix_regrade_campaign", "regrade", ["campaign", "submission"], unique=True)
    op.create_index("ix_regrade_submission", "regrade", ["submission"])


def downgrade() -> None:
    """Remove them; what was being graded again is no submission, and goes as well."""
    op.execute("DELETE FROM submission_result WHERE id IN (SELECT run FROM regrade)")
    op.execute("DELETE FROM submission WHERE original IS NOT NULL")
    # What waited is counted in its line: none of that priority is left.
    op.execute("DELETE FROM line WHERE priority = 1")
    for name in ("revision", "original"):
        op.drop_column("submission", name)
    for name in ("former_result", "regrade", "campaign"):
        op.drop_table(name)
