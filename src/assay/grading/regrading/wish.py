"""Which submissions are graded again, and with which version of their task: decisions on data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from assay.domain.submission import Submission
from assay.grading.results import Verdict

NEWEST: Final = "newest"
RECORDED: Final = "recorded"


class Which(StrEnum):
    """Of several submissions of one learner for one task."""

    ALL = "all"
    BEST = "best"
    """The best grade; of equal ones the last."""
    LAST = "last"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a teacher asks for. Filters that are None leave nothing out."""

    course: str
    task: str | None = None
    learner: str | None = None
    since: float | None = None
    """Handed in then or later, in seconds since 1970."""
    until: float | None = None
    """Handed in before."""
    which: Which = Which.ALL
    """Chosen among what the filters above leave; those beneath then look at the grades."""
    below: float | None = None
    """Grades less than this; what has none, too."""
    verdicts: tuple[Verdict, ...] = ()
    """One of these; none: any."""
    submissions: tuple[str, ...] = ()
    """One of these; none: any."""
    version: str = NEWEST
    """Of the task: the newest, the one of each grade's own record, or one by its digest.

    With "recorded" limits are those of the record, too.
    """
    note: str = ""
    """What it is for, in the teacher's words."""


class Head(msgspec.Struct, frozen=True):
    """The beginning of a result."""

    verdict: Verdict
    grade: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Graded:
    """A submission with what it is worth."""

    submission: Submission
    head: Head
    digest: str
    """Of the version of the task that its grade was made with."""


def select(graded: Iterable[Graded], wish: Wish) -> list[Graded]:
    """Those that are meant, the oldest first."""
    selection = Selection(wish)
    for each in graded:
        selection.add(each)
    return selection.found()


class Selection:
    """Chooses as they come: of a learner's for a task, memory holds the one that is chosen."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._named = frozenset(wish.submissions)
        self._found: dict[object, Graded] = {}

    def __len__(self) -> int:
        """How many there are until now; fewer if others of their learners are chosen yet."""
        return len(self._found)

    def add(self, each: Graded) -> None:
        """One more; in any order."""
        if not _is_asked_for(each.submission, self._wish, self._named):
            return
        if self._wish.which is Which.ALL:
            if _is_worth(each.head, self._wish):
                self._found[each.submission.id] = each
            return
        whose = (each.submission.owner, each.submission.task, each.submission.learner)
        before = self._found.get(whose)
        if before is None or _comes_before(before, each, best=self._wish.which is Which.BEST):
            self._found[whose] = each

    def found(self) -> list[Graded]:
        """Those that are meant, the oldest first."""
        meant = [each for each in self._found.values() if _is_worth(each.head, self._wish)]
        return sorted(meant, key=lambda each: each.submission.id)


def _is_asked_for(submission: Submission, wish: Wish, named: frozenset[str]) -> bool:
    at = submission.submitted_at
    return (
        (not named or submission.id in named)
        and (wish.task is None or submission.task == wish.task)
        and (wish.learner is None or submission.learner == wish.learner)
        and (wish.since is None or at >= wish.since)
        and (wish.until is None or at < wish.until)
    )


def _comes_before(one: Graded, other: Graded, *, best: bool) -> bool:
    """Whether the other one takes its place."""
    if best and _value(one) != _value(other):
        return _value(one) < _value(other)
    return one.submission.id < other.submission.id


def _value(graded: Graded) -> float:
    return -1.0 if graded.head.grade is None else graded.head.grade


def _is_worth(head: Head, wish: Wish) -> bool:
    is_below = wish.below is None or head.grade is None or head.grade < wish.below
    return is_below and (not wish.verdicts or head.verdict in wish.verdicts)
