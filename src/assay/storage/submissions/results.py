"""Submissions with their results, page by page: however many there are, memory holds one page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, tuple_

from assay.domain.submission import Submission
from assay.storage.kind import Cursor, Kind
from assay.storage.statements import KEY, Statement, Values
from assay.storage.submissions.rows import blob_in, fitting, submission_of
from assay.storage.submissions.webhooks import Do
from assay.storage.tables import SUBMISSION, SUBMISSION_RESULT

PAGE: Final = 500
"""Submissions that are read at one time."""
RESULTS: Final = 50
RESULT_BYTES: Final = 8 * 2**20
"""Results that are read at one time, and how much of them, if more than one: in one of them may be
megabytes of text."""
_S: Final = SUBMISSION.c


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A submission, and its Result as JSON where there is one."""

    submission: Submission
    result: bytes | None


class Results:
    """Reads beside those who write."""

    def __init__(self, ask: Do, kind: Kind) -> None:
        self._ask = ask
        self._kind = kind
        dialect = kind.engine.dialect
        result = SUBMISSION_RESULT.c.result
        mine = SUBMISSION_RESULT.c.id == KEY
        self._size = Statement(select(func.length(result).label("size")).where(mine), dialect)
        self._result = Statement(select(result).where(mine), dialect)

    async def submissions(
        self, course: str, *, task: str | None = None, learner: str | None = None
    ) -> AsyncIterator[Submission]:
        """Those of a course by task, learner, and time. What is handed in meanwhile may be there.

        Raises StorageError, in the middle as well.
        """
        after: Submission | None = None
        while True:
            page = await self._page(course, task, learner, after)
            for each in page:
                yield each
            if not page:
                return
            after = page[-1]

    def _page(
        self, course: str, task: str | None, learner: str | None, after: Submission | None
    ) -> asyncio.Future[list[Submission]]:
        order = (_S.task, _S.learner, _S.id)
        asked = (
            select(SUBMISSION)
            .where(_S.course == course, _S.original.is_(None))
            .order_by(*order)
            .limit(PAGE)
        )
        if task is not None:
            asked = asked.where(_S.task == task)
        if learner is not None:
            asked = asked.where(_S.learner == learner)
        if after is not None:
            asked = asked.where(tuple_(*order) > tuple_(after.task, after.learner, after.id))
        statement = Statement(asked, self._kind.engine.dialect)

        def read(cursor: Cursor) -> list[Submission]:
            return [submission_of(row) for row in statement.rows(cursor)]

        return self._ask("list_results", read)

    async def known(self, each: AsyncIterator[Submission]) -> AsyncIterator[Known]:
        """The same with their results. Raises StorageError, in the middle as well."""
        waiting: list[Submission] = []
        async for one in each:
            waiting.append(one)
            if len(waiting) == RESULTS:
                async for known in self._all(waiting):
                    yield known
                waiting = []
        async for known in self._all(waiting):
            yield known

    async def _all(self, left: Sequence[Submission]) -> AsyncIterator[Known]:
        while left:
            read = await self._first(left)
            for known in read:
                yield known
            left = left[len(read) :]

    def _first(self, wanted: Sequence[Submission]) -> asyncio.Future[list[Known]]:
        """The first ones, one at least, as many as may be in memory together."""

        def read(cursor: Cursor) -> list[Known]:
            asked: list[Values] = [{"key": one.id} for one in wanted]
            sizes = self._size.rows_of_each(self._kind, cursor, asked)
            count = fitting([rows[0]["size"] if rows else 0 for rows in sizes], RESULT_BYTES)
            found = self._result.rows_of_each(self._kind, cursor, asked[:count])
            return [
                Known(submission=one, result=blob_in(rows, "result"))
                for one, rows in zip(wanted[:count], found, strict=True)
            ]

        return self._ask("read_results", read)
