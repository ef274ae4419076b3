"""One connection to the database: transactions over it, and a new one when it is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from assay.domain.errors import AssayError, StorageError
from assay.storage.failures import is_lost, storage_error
from assay.storage.kind import Kind
from assay.storage.schema import migrate

CLOCK_SECONDS: Final = 10.0
"""How old a sample of the database's clock may be."""

Step = Callable[[Connection], object]
"""A part of a transaction. It may raise an AssayError of its own when it changed nothing."""


class Lost(Exception):
    """The database went away. Nothing was committed, or the next connection finds out."""

    def __init__(self, error: StorageError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Doubt:
    """A transaction that may have been committed: its connection was lost at that very moment."""

    mark: str
    results: Mapping[Step, object]


class Database:
    """The database, as one thread sees it."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._connection: Connection | None = None
        self._doubt: _Doubt | None = None
        self._is_server = False
        self._sampled_at = 0.0
        self.offset = 0.0
        """What to add to the monotonic clock to have the database's."""

    @property
    def place(self) -> str:
        """What an operator calls it."""
        return self._kind.place

    def open(self) -> None:
        """Make what is missing, tables too. Raises StorageError, whatever is wrong."""
        try:
            self._kind.prepare()
            with self._connected().begin():
                self._kind.lock_schema(self._connected())
                migrate(self._connected(), self.place)
        except BaseException as error:
            self.close()
            if isinstance(error, Lost):
                raise error.error from error
            if isinstance(error, SQLAlchemyError):
                raise storage_error(error, self.place) from error
            raise

    def transact(self, steps: Sequence[Step]) -> list[object]:
        """Take all steps in one transaction; the result of each, or the AssayError it raised.

        Raises Lost, or what the database raised, when nothing of it has happened. After Lost come
        the same steps again before any others, or some of them.
        """
        self._kind.require_intact()
        connection = self._connected()
        if self._doubt is not None and (results := self._resolve(connection, steps)):
            return results
        mark: str | None = None
        results, finished = [], False
        try:
            with connection.begin():
                mark = self._kind.begin(connection)
                results.extend(_result(step, connection) for step in steps)
                finished = True
        except DBAPIError as error:
            if not is_lost(error):
                raise
            if finished and mark is not None:
                self._doubt = _Doubt(mark=mark, results=dict(zip(steps, results, strict=True)))
            raise self._lost(error) from error
        return results

    def _resolve(self, connection: Connection, steps: Sequence[Step]) -> list[object] | None:
        doubt = self._doubt
        assert doubt is not None
        try:
            with connection.begin():
                committed = self._kind.was_committed(connection, doubt.mark)
        except DBAPIError as error:
            raise self._lost(error) from error
        self._doubt = None
        return [doubt.results[step] for step in steps] if committed else None

    def become_server(self) -> None:
        """Be the only server of this database from now on. Raises StorageError if there is one."""
        self._kind.hold(self._connected())
        self._is_server = True

    def refresh(self) -> None:
        """Sample the clock if that is due, which also shows whether the database is there."""
        if time.monotonic() - self._sampled_at < CLOCK_SECONDS:
            return
        try:
            with self._connected().begin():
                self._sample(self._connected())
        except DBAPIError as error:
            raise self._lost(error) from error

    def _connected(self) -> Connection:
        if self._connection is not None:
            return self._connection
        try:
            connection = self._kind.engine.connect()
        except SQLAlchemyError as error:
            raise self._lost(error) from error
        self._connection = connection
        try:
            with connection.begin():
                self._sample(connection)
                if self._is_server:
                    self._kind.hold(connection)
        except StorageError:
            self._disconnect()
            raise
        except DBAPIError as error:
            raise self._lost(error) from error
        return connection

    def _sample(self, connection: Connection) -> None:
        before = time.monotonic()
        clock = self._kind.clock(connection)
        after = time.monotonic()
        self.offset, self._sampled_at = clock - (before + after) / 2, after

    def _lost(self, error: Exception) -> Lost:
        self._disconnect()
        return Lost(storage_error(error, self.place))

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close()
        except SQLAlchemyError:
            connection.invalidate()

    def close(self) -> None:
        """End the connection."""
        self._disconnect()
        self._kind.engine.dispose()
        self._kind.close()


def _result(step: Step, connection: Connection) -> object:
    try:
        return step(connection)
    except AssayError as error:
        return error
