"""Submissions with what they are worth, one after the other, and which of them count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from assay.domain.submission import Submission
from assay.grading.results import Result

if TYPE_CHECKING:
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


async def chosen(each: AsyncIterator[Submission], policy: Policy) -> AsyncIterator[Submission]:
    """Those that count: by task and learner, as they come. Memory holds one of each owner.

    Two platforms may have the same name for somebody, so a learner is one of an owner. Where a
    learner has no grade for a task, the last submission stands for that.
    """
    kept: dict[str, Submission] = {}
    of: tuple[str, str] | None = None
    async for one in each:
        if policy is Policy.ALL:
            yield one
            continue
        if of != (one.task, one.learner):
            for before in _in_order(kept):
                yield before
            kept, of = {}, (one.task, one.learner)
        earlier = kept.get(one.owner)
        if earlier is None or counts_more(one, earlier, policy):
            kept[one.owner] = one
    for before in _in_order(kept):
        yield before


def _in_order(kept: dict[str, Submission]) -> list[Submission]:
    return sorted(kept.values(), key=lambda each: each.id)


def counts_more(later: Submission, earlier: Submission, policy: Policy) -> bool:
    """Whether the later one takes the earlier one's place."""
    if earlier.grade is None:
        return True
    return later.grade is not None and (policy is Policy.LAST or later.grade > earlier.grade)
