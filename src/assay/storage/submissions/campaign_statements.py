"""What is said to the database about campaigns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Double,
    FromClause,
    Integer,
    ScalarSelect,
    Select,
    Text,
    bindparam,
    func,
    insert,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.dml import UpdateBase

from assay.domain.campaign import CampaignState
from assay.domain.submission import State, Submission
from assay.storage.statements import KEY, Statement
from assay.storage.tables import (
    CAMPAIGN,
    FORMER_RESULT,
    REGRADE,
    RESULT_ARCHIVE,
    SUBMISSION,
    SUBMISSION_RESULT,
)

_S: Final = SUBMISSION.c
_RUN: Final = SUBMISSION.alias("run_row")
_ORIGINAL: Final = SUBMISSION.alias("original_row")
_NOW: Final = SUBMISSION_RESULT.alias("now_row")
_NEW: Final = SUBMISSION_RESULT.alias("new_row")
_RUNS: Final = select(REGRADE.c.run).where(REGRADE.c.campaign == KEY)
_GRADED: Final = (State.DONE.value, State.FAILED.value)
_GOING: Final = (State.WAITING.value, State.LEASED.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Which submissions may be graded again. Filters that are None, or empty, leave nothing out."""

    course: str
    task: str | None = None
    learner: str | None = None
    since: float | None = None
    """Handed in then or later, in seconds since 1970."""
    until: float | None = None
    """Handed in before."""
    below: float | None = None
    """Grades less than this; what has none, too."""
    verdicts: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    """MOST_NAMED at most."""


MOST_NAMED: Final = 200


def _of_run(name: str) -> ScalarSelect[Any]:
    return select(_RUN.c[name]).where(_RUN.c.id == bindparam("run")).scalar_subquery()


def _is_one_of(states: tuple[str, ...]) -> ColumnElement[bool]:
    """A list of values in a statement that is compiled once would be a hole in its text."""
    return or_(*(SUBMISSION.c.state == state for state in states))


class CampaignStatements:
    """All of them; `key` is the value by which one finds its row."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._of_campaigns()
        self._of_items()
        self._of_ends()

    def _compiled(self, statement: UpdateBase | Select[Any]) -> Statement:
        return Statement(statement, self._dialect)

    def _of_campaigns(self) -> None:
        self.add = self._compiled(insert(CAMPAIGN))
        self.add_item = self._compiled(insert(REGRADE))
        self.get = self._compiled(select(CAMPAIGN).where(CAMPAIGN.c.id == KEY))
        self.keyed = self._compiled(
            select(CAMPAIGN).where(CAMPAIGN.c.owner == bindparam("owner"), CAMPAIGN.c.key == KEY)
        )
        ended: dict[str, Any] = {
            name: bindparam(f"new_{name}") for name in ("state", "ended_at", "ended_by", "outcome")
        }
        self.end = self._compiled(
            update(CAMPAIGN)
            .where(CAMPAIGN.c.id == KEY, CAMPAIGN.c.state == bindparam("state_before"))
            .values(ended)
        )

    def _of_items(self) -> None:
        self.counts = self._compiled(
            select(SUBMISSION.c.state, func.count().label("count"))
            .select_from(REGRADE)
            .join(SUBMISSION, SUBMISSION.c.id == REGRADE.c.run)
            .where(REGRADE.c.campaign == KEY)
            .group_by(SUBMISSION.c.state)
        )
        self.last_waiting = self._compiled(
            select(SUBMISSION.c.id)
            .where(SUBMISSION.c.id.in_(_RUNS), SUBMISSION.c.turn.is_not(None))
            .order_by(SUBMISSION.c.turn.desc(), SUBMISSION.c.id.desc())
            .limit(1)
        )
        self.of_run = self._compiled(select(REGRADE).where(REGRADE.c.run == KEY))
        self.items = self._compiled(_items())
        self.old = self._compiled(
            select(func.coalesce(FORMER_RESULT.c.result, _NOW.c.result).label("result"))
            .select_from(
                REGRADE.outerjoin(
                    FORMER_RESULT,
                    (FORMER_RESULT.c.submission == REGRADE.c.submission)
                    & (FORMER_RESULT.c.revision == REGRADE.c.revision),
                ).outerjoin(_NOW, _NOW.c.id == REGRADE.c.submission)
            )
            .where(REGRADE.c.run == KEY)
        )
        self.new = self._compiled(select(_NEW.c.result).where(_NEW.c.id == KEY))
        self.history = self._compiled(
            select(FORMER_RESULT)
            .where(FORMER_RESULT.c.submission == KEY)
            .order_by(FORMER_RESULT.c.revision)
        )

    def _of_ends(self) -> None:
        self.revision = self._compiled(
            select(
                REGRADE.c.run,
                REGRADE.c.submission,
                REGRADE.c.revision,
                _ORIGINAL.c.revision.label("current"),
            )
            .select_from(REGRADE)
            .join(_ORIGINAL, _ORIGINAL.c.id == REGRADE.c.submission)
            .where(REGRADE.c.campaign == KEY)
        )
        self.keep_former = self._compiled(
            insert(FORMER_RESULT).from_select(
                ["submission", "revision", "result", "campaign", "replaced_at", "replaced_by"],
                select(
                    SUBMISSION_RESULT.c.id,
                    bindparam("nth", type_=Integer),
                    SUBMISSION_RESULT.c.result,
                    bindparam("of_campaign", type_=Text),
                    bindparam("now", type_=Double),
                    bindparam("by", type_=Text),
                ).where(SUBMISSION_RESULT.c.id == KEY),
            )
        )
        new = select(_NEW.c.result).where(_NEW.c.id == bindparam("run")).scalar_subquery()
        self.replace = self._compiled(
            update(SUBMISSION_RESULT).where(SUBMISSION_RESULT.c.id == KEY).values(result=new)
        )
        self.replace_archive = self._compiled(
            update(RESULT_ARCHIVE)
            .where(RESULT_ARCHIVE.c.submission == bindparam("run"))
            .values(submission=KEY, revision=bindparam("nth", type_=Integer) + 1)
        )
        self.revise = self._compiled(
            update(SUBMISSION)
            .where(SUBMISSION.c.id == KEY)
            .values(
                revision=SUBMISSION.c.revision + 1,
                state=State.DONE.value,
                **{name: _of_run(name) for name in ("verdict", "grade", "version")},
            )
        )
        self.waiting_lines = self._compiled(
            select(SUBMISSION.c.priority, SUBMISSION.c.course, func.count().label("count"))
            .where(SUBMISSION.c.id.in_(_RUNS), SUBMISSION.c.turn.is_not(None))
            .group_by(SUBMISSION.c.priority, SUBMISSION.c.course)
        )
        self.cancel_runs = self._compiled(
            update(SUBMISSION)
            .where(SUBMISSION.c.id.in_(_RUNS), _is_one_of(_GOING))
            .values(
                state=State.CANCELLED.value,
                lease_until=null(),
                turn=null(),
                not_before=null(),
                finished_at=bindparam("now"),
            )
        )


def _size(table: FromClause) -> ColumnElement[int]:
    return func.coalesce(func.length(table.c.result), 0)


def _items() -> Select[Any]:
    """Items of a campaign, in order, with the size of both results in bytes."""
    return (
        select(
            REGRADE.c.run,
            REGRADE.c.submission,
            REGRADE.c.revision,
            _ORIGINAL.c.revision.label("current"),
            _ORIGINAL.c.learner,
            _ORIGINAL.c.task,
            _ORIGINAL.c.submitted_at,
            _RUN.c.task_hash,
            _RUN.c.state,
            (_size(FORMER_RESULT) + _size(_NOW) + _size(_NEW)).label("size"),
        )
        .select_from(REGRADE)
        .join(_RUN, _RUN.c.id == REGRADE.c.run)
        .join(_ORIGINAL, _ORIGINAL.c.id == REGRADE.c.submission)
        .outerjoin(
            FORMER_RESULT,
            (FORMER_RESULT.c.submission == REGRADE.c.submission)
            & (FORMER_RESULT.c.revision == REGRADE.c.revision),
        )
        .outerjoin(_NOW, _NOW.c.id == REGRADE.c.submission)
        .outerjoin(_NEW, _NEW.c.id == REGRADE.c.run)
        .where(REGRADE.c.campaign == KEY, REGRADE.c.submission > bindparam("after"))
        .order_by(REGRADE.c.submission)
        .limit(bindparam("most"))
    )


def campaigns_asked(courses: Sequence[str] | None, before: str | None, most: int) -> Select[Any]:
    """Campaigns, the newest first."""
    asked = select(CAMPAIGN).order_by(CAMPAIGN.c.id.desc()).limit(most)
    if courses is not None:
        asked = asked.where(or_(*(CAMPAIGN.c.course == each for each in courses)))
    return asked if before is None else asked.where(CAMPAIGN.c.id < before)


def candidates_asked(wanted: Candidates, after: Submission | None, most: int) -> Select[Any]:
    """What was graded, by task, learner and time."""
    order = (_S.task, _S.learner, _S.id)
    asked = (
        select(SUBMISSION)
        .where(_S.course == wanted.course, _S.original.is_(None), _is_one_of(_GRADED))
        .order_by(*order)
        .limit(most)
    )
    for name in ("task", "learner"):
        if (value := getattr(wanted, name)) is not None:
            asked = asked.where(_S[name] == value)
    if wanted.since is not None:
        asked = asked.where(_S.submitted_at >= wanted.since)
    if wanted.until is not None:
        asked = asked.where(_S.submitted_at < wanted.until)
    if wanted.below is not None:
        asked = asked.where(or_(_S.grade.is_(None), _S.grade < wanted.below))
    if wanted.verdicts:
        asked = asked.where(or_(*(_S.verdict == each for each in wanted.verdicts)))
    if wanted.ids:
        asked = asked.where(or_(*(_S.id == each for each in wanted.ids)))
    if after is not None:
        asked = asked.where(tuple_(*order) > tuple_(after.task, after.learner, after.id))
    return asked


OPEN: Final = CampaignState.OPEN.value
