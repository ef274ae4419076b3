"""What differs between SQLite and PostgreSQL, besides the words of their statements.

Both are used through Python's common interface to databases (PEP 249), of which these are the parts
that we need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import Engine


class Cursor(Protocol):
    """What runs statements."""

    @property
    def rowcount(self) -> int:
        """Rows that the last statement changed."""

    @property
    def description(self) -> Sequence[Any] | None:
        """The columns of an answer, names first."""

    def execute(self, statement: str, parameters: Any = ...) -> Any:
        """Run a statement."""

    def executemany(self, statement: str, parameters: Sequence[Any]) -> Any:
        """Run it for each of the parameters."""

    def fetchall(self) -> Sequence[Any]:
        """All rows of the answer."""


class Session(Protocol):
    """A connection, in which a transaction begins by the kind's word."""

    def cursor(self) -> Any:
        """A new cursor."""

    def commit(self) -> None:
        """End the transaction, if there is one, with all it did."""

    def rollback(self) -> None:
        """End the transaction, if there is one, as if it had not been."""

    def close(self) -> None:
        """End the connection."""


class Kind(Protocol):
    """One database of one kind. All of it is used by one thread, the writer's."""

    place: str
    """What an operator calls it; holds no password."""
    engine: Engine
    """For what is rare: migrations."""
    begin: str
    """The statement that begins a transaction."""
    has_servers: bool
    """Whether it may have several, on as many machines."""
    errors: type[Exception]
    """The base of what the database raises."""

    def prepare(self) -> None:
        """Make what must be there before the first connection."""

    def connect(self) -> Session:
        """A new connection."""

    def require_intact(self) -> None:
        """Raise StorageError if what was opened is not what others would open now."""

    def is_lost(self, session: Session | None, error: Exception) -> bool:
        """Whether the database went away, or wants to be asked again."""

    def lock_schema(self, cursor: Cursor) -> None:
        """Keep others from changing the tables until the transaction ends."""

    def mark(self, cursor: Cursor) -> str | None:
        """A mark of the transaction that has begun, by which `was_committed` knows it."""

    def mark_of(self, cursor: Cursor, server: str) -> str | None:
        """The same for one server of several; None when its row is gone.

        Nobody can remove the row until the transaction ends.
        """

    def was_committed(self, cursor: Cursor, mark: str) -> bool:
        """Whether a transaction was committed whose connection was lost at its end."""

    def clock(self, cursor: Cursor) -> float:
        """The time of day, in seconds since 1970."""

    def hold(self, cursor: Cursor, *, alone: bool) -> None:
        """Be the one server of this database, or one of several, or raise StorageError."""

    def ask_each(
        self, cursor: Cursor, statement: str, parameters: Sequence[Any]
    ) -> list[list[Any]]:
        """The rows that a question has for each of the parameters, asked in one go."""

    def change_each(self, cursor: Cursor, statement: str, parameters: Sequence[Any]) -> list[int]:
        """How many rows a statement changes for each of the parameters, said in one go."""

    def durability(self, cursor: Cursor) -> dict[str, str]:
        """The settings on which it depends what survives the machine; "off" is a danger."""

    def close(self) -> None:
        """Let go of everything."""
