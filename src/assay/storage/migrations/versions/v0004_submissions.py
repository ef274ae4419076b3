"""Keep submissions, and the queue in which they wait to be graded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables."""
    _submissions()
    for name, column in (("submission_content", "content"), ("submission_result", "result")):
        op.create_table(
            name,
            sa.Column("id", sa.Text, nullable=False),
            sa.Column(column, sa.LargeBinary, nullable=False),
            sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
        )
    op.create_table(
        "line",
        sa.Column("priority", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("course", sa.Text, nullable=False),
        sa.Column("waiting", sa.Integer, nullable=False),
        sa.Column("due", sa.Double, nullable=False),
        sa.Column("served", sa.Double, nullable=False),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("priority", "course", name="pk_line"),
    )
    op.create_table(
        "course",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("weight", sa.Double, nullable=False),
        sa.Column("seconds", sa.Double),
        sa.PrimaryKeyConstraint("name", name="pk_course"),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_worker"),
    )


def _submissions() -> None:
    op.create_table(
        "submission",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("course", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("learner", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("submitted_at", sa.Double, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("task_hash", sa.Text, nullable=False),
        sa.Column("seed", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("claim", sa.Integer, nullable=False),
        sa.Column("turn", sa.BigInteger),
        sa.Column("not_before", sa.Double),
        sa.Column("lease_until", sa.Double),
        sa.Column("holder", sa.Text),
        sa.Column("claimed_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("seconds", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_submission"),
        sa.UniqueConstraint("owner", "key", name="uq_submission_owner"),
    )
    op.create_index("ix_submission_learner", "submission", ["learner", "id"])
    op.create_index("ix_submission_course", "submission", ["course", "id"])
    _index("turn", ["priority", "course", "turn", "id"], known="turn")
    _index("mine", ["course", "learner", "priority", "turn"], known="turn")
    for name in ("not_before", "lease_until", "finished_at"):
        _index(name, [name], known=name)


def _index(name: str, columns: list[str], *, known: str) -> None:
    condition = sa.text(f"{known} IS NOT NULL")
    op.create_index(
        f"ix_submission_{name}",
        "submission",
        columns,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def downgrade() -> None:
    """Remove them, with all that is in them."""
    for name in (
        "worker", "course", "line", "submission_result", "submission_content", "submission"
    ):  # fmt: skip
        op.drop_table(name)
