"""What a campaign would change, submission by submission, and in all: functions of data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from assay.domain.campaign import CampaignState, Item
from assay.domain.submission import State
from assay.grading import record
from assay.grading.brief import Brief, BriefPart, brief_of
from assay.grading.results import Verdict

_ALMOST = 1e-6


class Change(StrEnum):
    """Where a grade would go."""

    UP = "up"
    """Also: there was none before."""
    DOWN = "down"
    SAME = "same"
    FAILED = "failed"
    """It could not be graded again, by the task's or the machine's fault: its grade stays."""
    PENDING = "pending"
    """Not graded yet."""
    CANCELLED = "cancelled"
    """The campaign ended before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part whose result would be another; None: there is no such part in that version."""

    id: str
    old_verdict: Verdict | None
    new_verdict: Verdict | None
    old_score: float | None
    new_score: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One submission."""

    run: str
    submission: str
    learner: str
    task: str
    submitted_at: float
    change: Change
    old_grade: float | None
    new_grade: float | None
    old_verdict: Verdict | None
    new_verdict: Verdict | None
    parts: tuple[Part, ...] = ()
    """Those that differ."""
    remarks: tuple[str, ...] = ()
    """What else differs from the grading before: version, image, limits."""
    reason: str = ""
    """Why it could not be graded."""
    conflict: bool = False
    """Something else has replaced its result since: it can't be applied."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The whole campaign, counted."""

    up: int = 0
    down: int = 0
    same: int = 0
    failed: int = 0
    pending: int = 0
    cancelled: int = 0
    conflicts: int = 0
    old_mean: float | None = None
    """Of the grades of those that were graded again, and had one before."""
    new_mean: float | None = None


def difference(item: Item, state: CampaignState = CampaignState.OPEN) -> Difference:
    """One submission of a campaign in that state."""
    old, new = brief_of(item.old), brief_of(item.new)
    change = _change(item.state, old, new)
    graded = change in (Change.UP, Change.DOWN, Change.SAME)
    return Difference(
        run=item.run,
        submission=item.submission,
        learner=item.learner,
        task=item.task,
        submitted_at=item.submitted_at,
        change=change,
        old_grade=None if old is None else old.grade,
        new_grade=new.grade if graded and new is not None else None,
        old_verdict=None if old is None else old.verdict,
        new_verdict=None if new is None else new.verdict,
        parts=_parts(old, new) if graded else (),
        remarks=_remarks(old, new) if graded else (),
        reason=new.detail if new is not None and change is Change.FAILED else "",
        conflict=state is CampaignState.OPEN and item.current != item.revision,
    )


def _change(state: State, old: Brief | None, new: Brief | None) -> Change:
    if state is State.CANCELLED:
        return Change.CANCELLED
    if not state.is_over or new is None:
        return Change.PENDING
    if new.grade is None:
        return Change.FAILED
    if old is None or old.grade is None or new.grade > old.grade + _ALMOST:
        return Change.UP
    return Change.DOWN if new.grade < old.grade - _ALMOST else Change.SAME


def _remarks(old: Brief | None, new: Brief | None) -> tuple[str, ...]:
    records = [None if each is None else each.record for each in (old, new)]
    return tuple(record.differences(*records))


def _parts(old: Brief | None, new: Brief | None) -> tuple[Part, ...]:
    before = {part.id: part for part in (old.parts if old else ())}
    after = {part.id: part for part in (new.parts if new else ())}
    names = dict.fromkeys((*before, *after))
    return tuple(
        _part(name, before.get(name), after.get(name))
        for name in names
        if not _are_same(before.get(name), after.get(name))
    )


def _are_same(old: BriefPart | None, new: BriefPart | None) -> bool:
    if old is None or new is None:
        return False
    return old.verdict is new.verdict and abs(old.score - new.score) < _ALMOST


def _part(name: str, old: BriefPart | None, new: BriefPart | None) -> Part:
    return Part(
        id=name,
        old_verdict=None if old is None else old.verdict,
        new_verdict=None if new is None else new.verdict,
        old_score=None if old is None else old.score,
        new_score=None if new is None else new.score,
    )


class Counted:
    """Counts differences one by one: a report need not be in memory as a whole."""

    def __init__(self) -> None:
        self._changes: Counter[Change] = Counter()
        self._conflicts = 0
        self._old = self._new = 0.0
        self._both = 0

    def add(self, each: Difference) -> None:
        """One more."""
        self._changes[each.change] += 1
        self._conflicts += each.conflict
        if each.old_grade is not None and each.new_grade is not None:
            self._both += 1
            self._old += each.old_grade
            self._new += each.new_grade

    def summary(self) -> Summary:
        """Of all until now."""
        return Summary(
            **{change.value: self._changes[change] for change in Change},
            conflicts=self._conflicts,
            old_mean=self._old / self._both if self._both else None,
            new_mean=self._new / self._both if self._both else None,
        )


def to_apply(differences: Iterable[Difference], *, only_up: bool) -> list[str]:
    """The runs whose results are to count: whatever has a grade, or with `only_up` a better one."""
    wanted = (Change.UP,) if only_up else (Change.UP, Change.DOWN, Change.SAME)
    return [each.run for each in differences if each.change in wanted]
