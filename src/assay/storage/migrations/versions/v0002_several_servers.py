"""Keep which servers there are, and which of them has which sandbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add servers. Sandboxes that are there belong to none: whoever comes first has them."""
    op.create_table(
        "server",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("heartbeat_at", sa.Double, nullable=False),
        sa.Column("draining", sa.Boolean, nullable=False),
        sa.Column("held", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_server"),
    )
    op.add_column("sandbox", sa.Column("server", sa.Text))
    op.add_column("sandbox", sa.Column("epoch", sa.BigInteger))


def downgrade() -> None:
    """Remove them."""
    with op.batch_alter_table("sandbox") as sandbox:
        sandbox.drop_column("epoch")
        sandbox.drop_column("server")
    op.drop_table("server")
