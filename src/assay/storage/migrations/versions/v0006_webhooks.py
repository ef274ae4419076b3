"""Tell webhooks what became of submissions, and read results in the order of learners."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables, and the index that results are read by."""
    op.create_table(
        "webhook",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("course", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", sa.Text, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("former_secret", sa.LargeBinary),
        sa.Column("former_until", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("failing_since", sa.Double),
        sa.Column("disabled_at", sa.Double),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook"),
    )
    op.create_index("ix_webhook_course", "webhook", ["course"])
    op.create_table(
        "delivery",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("webhook", sa.Text, nullable=False),
        sa.Column("submission", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_error", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_delivery"),
    )
    op.create_index("ix_delivery_webhook", "delivery", ["webhook", "id"])
    op.create_index("ix_delivery_submission", "delivery", ["submission"])
    for name, columns, known in (
        ("ix_delivery_due", ["webhook", "not_before"], "not_before"),
        ("ix_delivery_finished_at", ["finished_at"], "finished_at"),
    ):
        condition = sa.text(f"{known} IS NOT NULL")
        op.create_index(
            name, "delivery", columns, sqlite_where=condition, postgresql_where=condition
        )
    op.create_index("ix_submission_results", "submission", ["course", "task", "learner", "id"])


def downgrade() -> None:
    """Remove them, with all that is in them."""
    op.drop_index("ix_submission_results", "submission")
    op.drop_table("delivery")
    op.drop_table("webhook")
