"""The tables. A change here needs a migration: CONTRIBUTING.md, "Add a migration"."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
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
