"""Keep what a server knows: sandboxes, leases, executions, environments, tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "sandbox",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("driver", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("taken", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sandbox"),
    )
    op.create_table(
        "lease",
        sa.Column("runner_id", sa.Text, nullable=False),
        sa.Column("sandbox_id", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("inactivity_seconds", sa.Double),
        sa.Column("expires_at", sa.Double),
        sa.Column("active_at", sa.Double, nullable=False),
        sa.Column("ports", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("runner_id", name="pk_lease"),
        sa.ForeignKeyConstraint(
            ["sandbox_id"], ["sandbox.id"], name="fk_lease_sandbox_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("sandbox_id", name="uq_lease_sandbox_id"),
    )
    op.create_table(
        "execution",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("runner_id", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("command", sa.LargeBinary, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_execution"),
        sa.ForeignKeyConstraint(
            ["runner_id"], ["lease.runner_id"], name="fk_execution_runner_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_execution_runner_id", "execution", ["runner_id"])
    op.create_table(
        "environment",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("definition", sa.LargeBinary, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_environment"),
    )
    op.create_table(
        "token",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        sa.Column("most_runners", sa.Integer),
        sa.Column("most_executions", sa.Integer),
        sa.Column("requests_per_second", sa.Double),
        sa.Column("burst", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_token"),
        sa.UniqueConstraint("hash", name="uq_token_hash"),
    )
    op.create_table(
        "counter",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counter"),
    )


def downgrade() -> None:
    """Remove them, with all that is in them."""
    for table in ("counter", "token", "environment", "execution", "lease", "sandbox"):
        op.drop_table(table)
