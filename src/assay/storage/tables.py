"""The tables. A change here needs a migration: CONTRIBUTING.md, "Add a migration"."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

SANDBOX: Final = Table(
    "sandbox",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("driver", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("taken", Boolean, nullable=False),
    # Whose it is, where a database has several servers, and since which epoch.
    Column("server", Text),
    Column("epoch", BigInteger),
)

# A lease goes with its sandbox, an execution with its lease.
LEASE: Final = Table(
    "lease",
    METADATA,
    Column("runner_id", Text, primary_key=True),
    Column(
        "sandbox_id",
        Text,
        ForeignKey("sandbox.id", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    Column("environment", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("inactivity_seconds", Double),
    Column("expires_at", Double),
    Column("active_at", Double, nullable=False),
    Column("ports", Text, nullable=False),
)

EXECUTION: Final = Table(
    "execution",
    METADATA,
    Column("id", Text, primary_key=True),
    Column(
        "runner_id",
        Text,
        ForeignKey("lease.runner_id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("number", BigInteger, nullable=False),
    Column("command", LargeBinary, nullable=False),
    Column("mode", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started", Boolean, nullable=False),
)

ENVIRONMENT: Final = Table(
    "environment",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("definition", LargeBinary, nullable=False),
    Column("updated_at", Double, nullable=False),
)

TOKEN: Final = Table(
    "token",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("prefix", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("most_runners", Integer),
    Column("most_executions", Integer),
    Column("requests_per_second", Double),
    Column("burst", Integer),
    # A list as JSON; empty: all of them.
    Column("courses", Text, nullable=False, server_default="[]"),
)

SERVER: Final = Table(
    "server",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("heartbeat_at", Double, nullable=False),
    Column("draining", Boolean, nullable=False),
    Column("held", Text, nullable=False),
)

# One row: what all servers of the database have in common, and nobody else knows.
INSTALLATION: Final = Table(
    "installation",
    METADATA,
    Column("key", LargeBinary, primary_key=True),
)

COUNTER: Final = Table(
    "counter",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# PostgreSQL's only: what each connection wrote last, docs/decisions/0175.
MARK: Final = Table(
    "mark",
    METADATA,
    Column("connection", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("at", Double, nullable=False),
)

# In a file of their own with SQLite: docs/decisions/0145. What is scanned is narrow; what a learner
# sent, and what came of it, may be large, and is elsewhere.
SUBMISSION: Final = Table(
    "submission",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("key", Text),
    Column("digest", LargeBinary, nullable=False),
    Column("course", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("learner", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("submitted_at", Double, nullable=False),
    Column("environment", Text, nullable=False),
    Column("task_hash", Text, nullable=False),
    Column("seed", BigInteger),
    Column("attempts", Integer, nullable=False),
    Column("claim", Integer, nullable=False),
    # Of these three, one at most is there: it waits in a line, waits to be tried again, is leased.
    Column("turn", BigInteger),
    Column("not_before", Double),
    Column("lease_until", Double),
    Column("holder", Text),
    Column("claimed_at", Double),
    Column("finished_at", Double),
    Column("seconds", Double),
    # Of what is graded again: whose content it has. It is no learner's, and in no list of these.
    Column("original", Text),
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("received_at", Double),
    Column("sending_seconds", Double),
    Column("graded_at", Double),
    Column("response_seconds", Double),
    # Of its result: what is asked of many at a time, so that nobody has to read results for it.
    Column("verdict", Text),
    Column("grade", Double),
    Column("version", Text),
    UniqueConstraint("owner", "key"),
)


def _only_where_known(name: str, *columns: str, known: str) -> Index:
    """An index of the rows that have a value there: the few that something is to be done with."""
    condition = SUBMISSION.c[known].is_not(None)
    return Index(
        name,
        *(SUBMISSION.c[column] for column in columns),
        sqlite_where=condition,
        postgresql_where=condition,
    )


_only_where_known("ix_submission_turn", "priority", "course", "turn", "id", known="turn")
_only_where_known("ix_submission_mine", "course", "learner", "priority", "turn", known="turn")
_only_where_known("ix_submission_not_before", "not_before", known="not_before")
_only_where_known("ix_submission_lease_until", "lease_until", known="lease_until")
_only_where_known("ix_submission_finished_at", "finished_at", known="finished_at")
Index("ix_submission_owner", SUBMISSION.c.owner, SUBMISSION.c.id)
Index("ix_submission_learner", SUBMISSION.c.learner, SUBMISSION.c.id)
Index("ix_submission_course", SUBMISSION.c.course, SUBMISSION.c.id)
Index(
    "ix_submission_results",
    SUBMISSION.c.course,
    SUBMISSION.c.task,
    SUBMISSION.c.learner,
    SUBMISSION.c.id,
)

SUBMISSION_CONTENT: Final = Table(
    "submission_content",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

SUBMISSION_RESULT: Final = Table(
    "submission_result",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("result", LargeBinary, nullable=False),
)

# Of a submission's result as it was after so many campaigns.
RESULT_ARCHIVE: Final = Table(
    "result_archive",
    METADATA,
    Column("submission", Text, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)

# A result is replaced by a campaign only, and what it replaced stays.
FORMER_RESULT: Final = Table(
    "former_result",
    METADATA,
    Column("submission", Text, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("result", LargeBinary, nullable=False),
    Column("campaign", Text, nullable=False),
    Column("replaced_at", Double, nullable=False),
    Column("replaced_by", Text, nullable=False),
)

CAMPAIGN: Final = Table(
    "campaign",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("key", Text),
    Column("course", Text, nullable=False),
    Column("task", Text),
    Column("asked", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("ended_by", Text),
    Column("outcome", LargeBinary),
    UniqueConstraint("owner", "key"),
)

REGRADE: Final = Table(
    "regrade",
    METADATA,
    Column("run", Text, primary_key=True),
    Column("campaign", Text, nullable=False),
    Column("submission", Text, nullable=False, index=True),
    Column("revision", Integer, nullable=False),
    Index("ix_regrade_campaign", "campaign", "submission", unique=True),
)

LINE: Final = Table(
    "line",
    METADATA,
    Column("priority", Integer, primary_key=True, autoincrement=False),
    Column("course", Text, primary_key=True),
    Column("waiting", Integer, nullable=False),
    Column("due", Double, nullable=False),
    Column("served", Double, nullable=False),
    Column("turn", BigInteger, nullable=False),
)

COURSE: Final = Table(
    "course",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("weight", Double, nullable=False),
    Column("seconds", Double),
)

WORKER: Final = Table(
    "worker",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("slots", Integer, nullable=False),
    Column("seen_at", Double, nullable=False),
)

WEBHOOK: Final = Table(
    "webhook",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("course", Text, nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("events", Text, nullable=False),
    # Signs what is sent: it cannot be a hash.
    Column("secret", LargeBinary, nullable=False),
    Column("former_secret", LargeBinary),
    Column("former_until", Double),
    Column("created_at", Double, nullable=False),
    Column("failing_since", Double),
    Column("disabled_at", Double),
    Column("reason", Text, nullable=False),
)

# What is to be told, written in the transaction in which it happens.
DELIVERY: Final = Table(
    "delivery",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("webhook", Text, nullable=False),
    Column("submission", Text, nullable=False, index=True),
    Column("event", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("not_before", Double),
    Column("finished_at", Double),
    Column("last_status", Integer),
    Column("last_error", Text, nullable=False),
)
Index("ix_delivery_webhook", DELIVERY.c.webhook, DELIVERY.c.id)
Index(
    "ix_delivery_due",
    DELIVERY.c.webhook,
    DELIVERY.c.not_before,
    sqlite_where=DELIVERY.c.not_before.is_not(None),
    postgresql_where=DELIVERY.c.not_before.is_not(None),
)
Index(
    "ix_delivery_finished_at",
    DELIVERY.c.finished_at,
    sqlite_where=DELIVERY.c.finished_at.is_not(None),
    postgresql_where=DELIVERY.c.finished_at.is_not(None),
)

SENT_FILE: Final = Table(
    "sent_file",
    METADATA,
    Column("owner", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("used_at", Double, nullable=False, index=True),
    Column("content", LargeBinary, nullable=False),
)
