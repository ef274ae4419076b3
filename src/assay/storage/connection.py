"""One connection to the database: transactions over it, and a new one when it is lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from assay.domain.errors import AssayError, StorageError
from assay.storage.failures import storage_error
from assay.storage.kind import Cursor, Kind, Session
from assay.storage.schema import migrate

CLOCK_SECONDS: Final = 10.0
"""How old a sample of the database's clock may be."""

Step = Callable[[Cursor], object]
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
        self._session: Session | None = None
        self._cursor: Cursor | None = None
        self._doubt: _Doubt | None = None
        self._alone: bool | None = None
        """Whether it is the one server of this database, or one of several; None: neither yet."""
        self._member: str | None = None
        self.fenced = False
        """Another server has taken over what was this one's: nothing can be written any more."""
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
            with self._kind.engine.begin() as connection:
                migrate(connection, self._kind)
            self._connected()
        except BaseException as error:
            self.close()
            if isinstance(error, Lost):
                raise error.error from error
            if isinstance(error, SQLAlchemyError | self._kind.errors):
                raise storage_error(error, self.place) from error
            raise

    def transact(self, steps: Sequence[Step]) -> list[object]:
        """Take all steps in one transaction; the result of each, or the AssayError it raised.

        Raises Lost, or what the database raised, when nothing of it has happened. After Lost come
        the same steps again before any others, or some of them.
        """
        self._kind.require_intact()
        cursor = self._connected()
        if self._doubt is not None and (results := self._resolve(cursor, steps)) is not None:
            return results
        mark: str | None = None
        results = []
        with self._losses():
            try:
                cursor.execute(self._kind.begin)
                mark = self._mark(cursor)
                results = [_result(step, cursor) for step in steps]
            except BaseException:
                self._roll_back()
                raise
            self._commit(mark, steps, results)
        return results

    def _commit(self, mark: str | None, steps: Sequence[Step], results: list[object]) -> None:
        assert self._session is not None
        try:
            self._session.commit()
        except self._kind.errors:
            if mark is not None:
                results_of = dict(zip(steps, results, strict=True))
                self._doubt = _Doubt(mark=mark, results=results_of)
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        assert self._session is not None
        with contextlib.suppress(self._kind.errors):  # the first error is the one to tell
            self._session.rollback()

    def _resolve(self, cursor: Cursor, steps: Sequence[Step]) -> list[object] | None:
        doubt = self._doubt
        assert doubt is not None
        with self._losses():
            committed = self._kind.was_committed(cursor, doubt.mark)
        self._doubt = None
        # Others than before: those who asked were told that they had waited too long.
        known = all(step in doubt.results for step in steps)
        return [doubt.results[step] for step in steps] if committed and known else None

    def _mark(self, cursor: Cursor) -> str | None:
        if self._member is None:
            return self._kind.mark(cursor)
        mark = self._kind.mark_of(cursor, self._member)
        if mark is None:
            self.fenced = True
            raise StorageError(
                "another server has taken over what was this one's, which was silent for too long:"
                " start it anew"
            )
        return mark

    def become_server(self, cursor: Cursor, *, alone: bool = True) -> None:
        """Be the only server of this database from now on, or one of several.

        Raises StorageError if there is one that is alone, or any where this one wants to be.
        """
        self._kind.hold(cursor, alone=alone)
        self._alone = alone

    def fence(self, server: str | None) -> None:
        """From now on, do nothing once the row of this server is gone; None: whatever there is."""
        self._member = server

    def now(self, cursor: Cursor) -> float:
        """The database's clock, now."""
        return self._kind.clock(cursor)

    def refresh(self) -> None:
        """Sample the clock if that is due, which also shows whether the database is there."""
        if time.monotonic() - self._sampled_at >= CLOCK_SECONDS:
            cursor = self._connected()
            with self._losses():
                self._sample(cursor)

    def _connected(self) -> Cursor:
        if self._cursor is not None:
            return self._cursor
        try:
            session = self._kind.connect()
        except self._kind.errors as error:
            raise Lost(storage_error(error, self.place)) from error
        cursor: Cursor = session.cursor()
        self._session, self._cursor = session, cursor
        try:
            with self._losses():
                self._sample(cursor)
                if self._alone is not None:
                    self._kind.hold(cursor, alone=self._alone)
        except BaseException:
            self._disconnect()
            raise
        return cursor

    def _sample(self, cursor: Cursor) -> None:
        before = time.monotonic()
        clock = self._kind.clock(cursor)
        after = time.monotonic()
        self.offset, self._sampled_at = clock - (before + after) / 2, after

    @contextlib.contextmanager
    def _losses(self) -> Iterator[None]:
        """A connection that breaks is Lost; every other error stays what it is."""
        try:
            yield
        except self._kind.errors as error:
            if not self._kind.is_lost(self._session, error):
                raise
            self._disconnect()
            raise Lost(storage_error(error, self.place)) from error

    def _disconnect(self) -> None:
        session, self._session, self._cursor = self._session, None, None
        if session is not None:
            with contextlib.suppress(self._kind.errors):
                session.close()

    def close(self) -> None:
        """End the connection."""
        self._disconnect()
        self._kind.engine.dispose()
        self._kind.close()


def _result(step: Step, cursor: Cursor) -> object:
    try:
        return step(cursor)
    except AssayError as error:
        # Its frames hold the cursor, and so SQLite's file for as long as anybody has the error.
        return error.with_traceback(None)
