"""A database of PostgreSQL, which may go away and come back."""

from __future__ import annotations

import time
from typing import Any, Final

from sqlalchemy import URL, Connection, NullPool, create_engine, event

from assay.domain.errors import StorageError

HANDOVER_SECONDS: Final = 5.0
"""How long a killed server may seem to hold its lock: until PostgreSQL sees that it is gone."""

_SCHEMA_LOCK: Final = 0x6173736179_01
_SERVER_LOCK: Final = 0x6173736179_02

_CONNECT: Final = {
    "connect_timeout": 5,
    "application_name": "assay",
    # A silent network is noticed within seconds, not after hours.
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_SETTINGS: Final = (
    "SET lock_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '60s'",
    # What is acknowledged is on disk, whatever the server's configuration says.
    "SET synchronous_commit = on",
)


class Postgresql:
    """One database of a server."""

    def __init__(self, url: URL) -> None:
        self.place = url.render_as_string(hide_password=True)
        try:
            self.engine = create_engine(
                url.set(drivername="postgresql+psycopg"), poolclass=NullPool, connect_args=_CONNECT
            )
        except ImportError as error:
            raise StorageError(
                "PostgreSQL needs psycopg: pip install 'assay[postgresql]'", detail=str(error)
            ) from error
        event.listen(self.engine, "connect", _configure)

    def prepare(self) -> None:
        """Nothing: the database must be there."""

    def require_intact(self) -> None:
        """Nothing: the server sees to that."""

    def lock_schema(self, connection: Connection) -> None:
        """Wait for another Assay that changes the tables."""
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")

    def begin(self, connection: Connection) -> str | None:
        """The transaction's own number."""
        found = connection.exec_driver_sql("SELECT pg_current_xact_id()::text")
        return str(found.scalar_one())

    def was_committed(self, connection: Connection, mark: str) -> bool:
        """Ask by the transaction's number; wait while it is still at work."""
        asked = f"SELECT pg_xact_status('{int(mark)}'::xid8)"
        while (status := connection.exec_driver_sql(asked).scalar_one()) == "in progress":
            time.sleep(0.05)
        return str(status) == "committed"

    def clock(self, connection: Connection) -> float:
        """The clock of PostgreSQL's machine."""
        found = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())::float8")
        return float(found.scalar_one())

    def hold(self, connection: Connection) -> None:
        """Lock a number of the database's, for as long as the connection lives."""
        deadline = time.monotonic() + HANDOVER_SECONDS
        asked = f"SELECT pg_try_advisory_lock({_SERVER_LOCK})"
        while not connection.exec_driver_sql(asked).scalar_one():
            if time.monotonic() > deadline:
                raise StorageError(f"another server uses the database {self.place}: stop it")
            time.sleep(0.05)

    def close(self) -> None:
        """Nothing: the lock goes with the connection."""


def _configure(connection: Any, _: object) -> None:
    with connection.cursor() as cursor:
        for setting in _SETTINGS:
            cursor.execute(setting)
    connection.commit()
