"""Lists of submissions, the newest first: one question, of however many courses."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, bindparam, select, union_all
from sqlalchemy.engine import Dialect

from assay.domain.submission import Submission
from assay.storage.kind import Cursor
from assay.storage.statements import Statement
from assay.storage.submissions.rows import submission_of
from assay.storage.tables import SUBMISSION

_S: Final = SUBMISSION.c
_SHAPES: Final = 64
"""Of questions that are kept compiled: with 200 courses that takes a tenth of a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which submissions: those of `owner` (None: of anybody), and in `or_courses` of anybody."""

    most: int
    owner: str | None = None
    or_courses: tuple[str, ...] = ()
    course: str | None = None
    task: str | None = None
    learner: str | None = None
    before: str | None = None
    """Older than this one."""


class Pages:
    """Asks for them; used by one thread."""

    def __init__(self, dialect: Dialect) -> None:
        self._statement = functools.lru_cache(_SHAPES)(
            lambda names, courses: Statement(_asked(names, courses), dialect)
        )

    def page(self, cursor: Cursor, wanted: Wanted) -> list[Submission]:
        """One page."""
        names = ("course", "task", "learner", "before", "owner")
        values = {name: getattr(wanted, name) for name in names}
        courses = wanted.or_courses if wanted.owner is not None else ()
        if wanted.course is not None:
            if wanted.course in courses:
                del values["owner"]
            courses = ()
        given = {name: value for name, value in values.items() if value is not None}
        more = {_course(nth): course for nth, course in enumerate(courses)}
        most = {"most": wanted.most, "most_of_both": 2 * wanted.most}
        statement = self._statement(tuple(given), len(courses))
        return [submission_of(row) for row in statement.rows(cursor, {**given, **more, **most})]


def _course(nth: int) -> str:
    return f"course{nth}"


def _asked(names: Sequence[str], courses: int) -> Select[Any]:
    """Each course by itself, and the owner, has an index."""
    asked = select(SUBMISSION).where(_S.original.is_(None)).order_by(_S.id.desc())
    asked = asked.limit(bindparam("most"))
    for name in set(names) - {"owner", "before"}:
        asked = asked.where(_S[name] == bindparam(name))
    if "before" in names:
        asked = asked.where(_S.id < bindparam("before"))
    if "owner" not in names:
        return asked
    mine = asked.where(_S.owner == bindparam("owner"))
    if not courses:
        return mine
    theirs = (asked.where(_S.course == bindparam(_course(nth))) for nth in range(courses))
    return _together([mine, *theirs])


def _together(pages: Sequence[Select[Any]]) -> Select[Any]:
    found = union_all(
        *(select(page.with_only_columns(_S.id).subquery().c.id) for page in pages)
    ).subquery()
    # No submission is in more than two of these: its owner's, and its course's.
    newest = select(found.c.id).order_by(found.c.id.desc()).limit(bindparam("most_of_both"))
    asked = select(SUBMISSION).where(_S.id.in_(newest))
    return asked.order_by(_S.id.desc()).limit(bindparam("most"))
