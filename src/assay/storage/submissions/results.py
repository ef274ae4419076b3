"""Submissions with their results, page by page: however many there are, memory holds one page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, tuple_
from sqlalchemy.engine import Dialect

from assay.domain.submission import Submission
from assay.storage.kind import Cursor
from assay.storage.statements import KEY, Statement
from assay.storage.submissions.rows import submission_of
from assay.storage.submissions.webhooks import Do
from assay.storage.tables import SUBMISSION, SUBMISSION_RESULT

PAGE: Final = 50
PAGE_BYTES: Final = 8 * 2**20
"""Submissions that are read at one time, and how much of results, if more than one: one with an
archive has tens of MiB."""
_S: Final = SUBMISSION.c


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A submission, and its Result as JSON where there is one."""

    submission: Submission
    result: bytes | None


class Results:
    """Reads beside those who write."""

    def __init__(self, ask: Do, dialect: Dialect) -> None:
        self._ask = ask
        self._dialect = dialect
        self._result = Statement(
            select(SUBMISSION_RESULT.c.result).where(SUBMISSION_RESULT.c.id == KEY), dialect
        )

    async def all(
        self, course: str, *, task: str | None = None, learner: str | None = None
    ) -> AsyncIterator[Known]:
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
            after = page[-1].submission

    def _page(
        self, course: str, task: str | None, learner: str | None, after: Submission | None
    ) -> asyncio.Future[list[Known]]:
        order = (_S.task, _S.learner, _S.id)
        asked = (
            select(SUBMISSION, func.length(SUBMISSION_RESULT.c.result).label("size"))
            .select_from(SUBMISSION.outerjoin(SUBMISSION_RESULT, SUBMISSION_RESULT.c.id == _S.id))
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
        statement = Statement(asked, self._dialect)

        def read(cursor: Cursor) -> list[Known]:
            known: list[Known] = []
            left = PAGE_BYTES
            for row in statement.rows(cursor):
                left -= row["size"] or 0
                if known and left < 0:
                    break
                found = self._result.rows(cursor, {"key": row["id"]})
                result = bytes(found[0]["result"]) if found else None
                known.append(Known(submission=submission_of(row), result=result))
            return known

        return self._ask("read_results", read)
