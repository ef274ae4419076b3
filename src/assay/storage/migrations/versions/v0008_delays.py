"""Keep what is measured of a submission's way: docs/queue.md, "The five delays"."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_COLUMNS = ("received_at", "sending_seconds", "graded_at", "response_seconds")


def upgrade() -> None:
    """Add the columns, and an index; of what was handed in before, nothing is known."""
    for name in _COLUMNS:
        op.add_column("submission", sa.Column(name, sa.Double))
    op.create_index("ix_submission_owner", "submission", ["owner", "id"])


def downgrade() -> None:
    """Remove them."""
    op.drop_index("ix_submission_owner", "submission")
    for name in _COLUMNS:
        op.drop_column("submission", name)
