"""Submissions with what they are worth, one after the other, and which of them count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from assay.domain.submission import Submission
from assay.grading.results import Result
from assay.storage.submissions.results import Known


class Policy(StrEnum):
    """Which of a learner's submissions for a task."""

    ALL = "all"
    BEST = "best"
    """The highest grade, of equal ones the first."""
    LAST = "last"
    """The last that has a grade."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One submission, and what it is worth if that is known."""

    submission: Submission
    result: Result | None


def row_of(known: Known) -> Row:
    """What was read as values."""
    result = None if known.result is None else msgspec.json.decode(known.result, type=Result)
    return Row(submission=known.submission, result=result)


async def chosen(known: AsyncIterator[Known], policy: Policy) -> AsyncIterator[Row]:
    """Those that count: by task and learner, as they come. Memory holds one.

    Where a learner has no grade for a task, the last submission stands for that.
    """
    kept: Row | None = None
    async for each in known:
        row = row_of(each)
        if policy is Policy.ALL:
            yield row
            continue
        if kept is not None and _whose(kept) != _whose(row):
            yield kept
            kept = None
        if kept is None or counts_more(row, kept, policy):
            kept = row
    if kept is not None:
        yield kept


def counts_more(later: Row, earlier: Row, policy: Policy) -> bool:
    """Whether the later one takes the earlier one's place."""
    new, old = _grade(later), _grade(earlier)
    if old is None:
        return True
    return new is not None and (policy is Policy.LAST or new > old)


def _grade(row: Row) -> float | None:
    return None if row.result is None else row.result.grade


def _whose(row: Row) -> tuple[str, str]:
    return row.submission.task, row.submission.learner
