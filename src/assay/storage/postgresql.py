"""A database of PostgreSQL, which may go away and come back."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, cast

from sqlalchemy import URL, NullPool, create_engine

from assay.domain.errors import StorageError
from assay.storage.kind import Cursor, Session

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


_LONGEST_PAUSE: Final = "SET idle_in_transaction_session_timeout = '3s'"
"""Of one server among several: a process that was stopped in the middle of a transaction must not
keep the others from going on."""

_FORGET: Final = "DELETE FROM mark WHERE at < extract(epoch FROM clock_timestamp()) - 86400"
"""The marks of servers that are long gone."""
_WRITE_MARK: Final = """
INSERT INTO mark (connection, number, at)
SELECT %s, %s, extract(epoch FROM clock_timestamp()) FROM mine
ON CONFLICT (connection) DO UPDATE SET number = EXCLUDED.number, at = EXCLUDED.at
RETURNING number
"""
_READ_MARK: Final = """
INSERT INTO mark (connection, number, at) VALUES (%s, 0, extract(epoch FROM clock_timestamp()))
ON CONFLICT (connection) DO UPDATE SET at = EXCLUDED.at RETURNING number
"""

_AGAIN: Final = ("40001", "40P01")
"""A conflict with another transaction, and a deadlock: PostgreSQL's advice is to repeat."""


class Postgresql:
    """One database of a server."""

    begin = "BEGIN"
    has_servers = True

    def __init__(self, url: URL, *, lock: int | None = None, reader: bool = False) -> None:
        """`lock`: one transaction at a time of all that name it. `reader`: none ever writes."""
        # One question for both: the lock costs none.
        self._begun = "SELECT 1" if lock is None else f"SELECT pg_advisory_xact_lock({lock})"
        self._id = uuid.uuid4().hex
        self._marks = itertools.count(1)
        self._reader = reader
        self._shared = lock is not None
        self.place = url.render_as_string(hide_password=True)
        try:
            import psycopg
        except ImportError as error:
            raise StorageError(
                "PostgreSQL needs psycopg: pip install 'assay[postgresql]'", detail=str(error)
            ) from error
        self.errors: type[Exception] = psycopg.Error
        self.engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            poolclass=NullPool,
            creator=lambda: self._reach(autocommit=False),
        )
        words, named = self.engine.dialect.create_connect_args(self.engine.url)
        self._reach: partial[Any] = partial(psycopg.connect, *words, **{**_CONNECT, **named})

    def prepare(self) -> None:
        """Nothing: the database must be there."""

    def connect(self) -> Session:
        """Reach the server."""
        session = self._reach(autocommit=True)
        try:
            for setting in _SETTINGS:
                session.execute(setting)
            if self._shared:
                session.execute(_LONGEST_PAUSE)
            if self._reader:
                session.execute("SET default_transaction_read_only = on")
            else:
                session.execute(_FORGET)
        except BaseException:
            session.close()
            raise
        return cast(Session, session)

    def require_intact(self) -> None:
        """Nothing: the server sees to that."""

    def is_lost(self, session: Session | None, error: Exception) -> bool:
        """Whether the connection is broken, the server is stopping, or wants a repetition."""
        state: str = getattr(error, "sqlstate", None) or ""
        closed = session is None or getattr(session, "closed", False)
        return closed or state[:2] in ("08", "57") or state in _AGAIN

    def lock_schema(self, cursor: Cursor) -> None:
        """Wait for another Assay that changes the tables."""
        cursor.execute(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")

    def mark(self, cursor: Cursor) -> str | None:
        """What this transaction writes into this connection's row."""
        if self._reader:
            return None
        return self._write_mark(cursor, self._begun, [])

    def mark_of(self, cursor: Cursor, server: str) -> str | None:
        """The same, beside the server's row, which is locked: one question for both."""
        mine = "SELECT 1 FROM server WHERE id = %s FOR KEY SHARE"
        return self._write_mark(cursor, mine, [server])

    def _write_mark(self, cursor: Cursor, mine: str, parameters: list[str]) -> str | None:
        number = next(self._marks)
        asked = f"WITH mine AS ({mine}) {_WRITE_MARK}"
        cursor.execute(asked, [*parameters, self._id, number])
        return str(number) if cursor.fetchall() else None

    def was_committed(self, cursor: Cursor, mark: str) -> bool:
        """Look into this connection's row; writing it waits for who is still at work on it."""
        cursor.execute(_READ_MARK, [self._id])
        return bool(cursor.fetchall()[0][0] == int(mark))

    def clock(self, cursor: Cursor) -> float:
        """The clock of PostgreSQL's machine."""
        return float(_value(cursor, "SELECT extract(epoch FROM clock_timestamp())::float8"))

    def hold(self, cursor: Cursor, *, alone: bool) -> None:
        """Lock a number of the database's, for as long as the connection lives."""
        if not alone:
            cursor.execute(_LONGEST_PAUSE)
        lock = "pg_try_advisory_lock" if alone else "pg_try_advisory_lock_shared"
        deadline = time.monotonic() + HANDOVER_SECONDS
        while not _value(cursor, f"SELECT {lock}({_SERVER_LOCK})"):
            if time.monotonic() > deadline:
                raise StorageError(
                    f"another server uses the database {self.place}: stop it, or give both of them"
                    " --advertise, the address by which they reach each other"
                )
            time.sleep(0.05)

    def ask_each(
        self, cursor: Cursor, statement: str, parameters: Sequence[Any]
    ) -> list[list[Any]]:
        """All of them are sent before the first answer is waited for."""
        asking: Any = cursor
        asking.executemany(statement, parameters, returning=True)
        found = [list(asking.fetchall())]
        while asking.nextset():
            found.append(list(asking.fetchall()))
        return found

    def change_each(self, cursor: Cursor, statement: str, parameters: Sequence[Any]) -> list[int]:
        """Likewise."""
        asking: Any = cursor
        asking.executemany(statement, parameters, returning=True)
        changed = [int(asking.rowcount)]
        while asking.nextset():
            changed.append(int(asking.rowcount))
        return changed

    def durability(self, cursor: Cursor) -> dict[str, str]:
        """What PostgreSQL says of each commit, and of its whole server."""
        names = ("synchronous_commit", "fsync", "full_page_writes")
        return {name: str(_value(cursor, f"SHOW {name}")) for name in names}

    def close(self) -> None:
        """Nothing: the lock goes with the connection."""


def _value(cursor: Cursor, statement: str) -> Any:
    cursor.execute(statement)
    ((value,),) = cursor.fetchall()
    return value
