"""What differs between SQLite and PostgreSQL, besides the words of their statements."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import Connection, Engine


class Kind(Protocol):
    """One database of one kind. All of it is used by one thread, the writer's."""

    place: str
    """What an operator calls it; holds no password."""
    engine: Engine

    def prepare(self) -> None:
        """Make what must be there before the first connection."""

    def require_intact(self) -> None:
        """Raise StorageError if what was opened is not what others would open now."""

    def lock_schema(self, connection: Connection) -> None:
        """Keep others from changing the tables until the transaction ends."""

    def begin(self, connection: Connection) -> str | None:
        """A mark of the transaction that has begun, by which `was_committed` knows it."""

    def was_committed(self, connection: Connection, mark: str) -> bool:
        """Whether a transaction was committed whose connection was lost at its end."""

    def clock(self, connection: Connection) -> float:
        """The time of day, in seconds since 1970."""

    def hold(self, connection: Connection) -> None:
        """Be the one server of this database, or raise StorageError."""

    def close(self) -> None:
        """Let go of everything."""
