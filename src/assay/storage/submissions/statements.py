"""Every statement about submissions, compiled once.

Whoever changes which submissions wait holds the one lock of all queue transactions: SQLite's on its
file, or a number of PostgreSQL's (places.py). So none of these needs a lock of its own.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    Select,
    bindparam,
    delete,
    exists,
    func,
    insert,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.dml import Update, UpdateBase

from assay.domain.campaign import CampaignState
from assay.domain.submission import State
from assay.storage.statements import KEY, Statement
from assay.storage.tables import (
    CAMPAIGN,
    COURSE,
    FORMER_RESULT,
    LINE,
    REGRADE,
    RESULT_ARCHIVE,
    SUBMISSION,
    SUBMISSION_CONTENT,
    SUBMISSION_RESULT,
    WORKER,
)

CHANNEL: Final = "assay_submissions"
"""PostgreSQL's, where servers tell each other: an id is over, or, without one, something waits."""
_S: Final = SUBMISSION.c
_ERROR: Final = "error"
"""The verdict of what nobody could grade."""
ASKED_AT_ONCE: Final = 200
NAMES: Final = tuple(f"name{nth}" for nth in range(ASKED_AT_ONCE))
"""Of the values of a question about so many, or of fewer, some of them again and again."""
_IS_LINE: Final = (
    LINE.c.priority == bindparam("priority"),
    LINE.c.course == bindparam("course"),
)
_IS_LEARNERS: Final = (
    _S.owner == bindparam("owner"),
    _S.course == bindparam("course"),
    _S.task == bindparam("task"),
    _S.learner == bindparam("learner"),
    _S.original.is_(None),
)
"""What a learner has handed in for a task, and no regrading of it."""
_IN_OPEN_CAMPAIGN: Final = exists().where(
    or_(REGRADE.c.run == _S.id, REGRADE.c.submission == _S.id),
    CAMPAIGN.c.id == REGRADE.c.campaign,
    CAMPAIGN.c.state == CampaignState.OPEN.value,
)
_LINES: Final = select(LINE, COURSE.c.weight, COURSE.c.seconds).select_from(
    LINE.outerjoin(COURSE, COURSE.c.name == LINE.c.course)
)


class QueueStatements:
    """All of them; `key` is the value by which one finds its row."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._of_lines()
        self._of_handing_in()
        self._of_handing_out()
        self._of_ends()
        self._of_questions()
        # Whoever listens is told when the transaction has happened.
        self.notify = self._compiled(select(func.pg_notify(CHANNEL, bindparam("key"))))
        self.can_notify = dialect.name == "postgresql"

    def _compiled(self, statement: UpdateBase | Select[Any]) -> Statement:
        return Statement(statement, self._dialect)

    def _of_lines(self) -> None:
        self.line = self._compiled(_LINES.where(*_IS_LINE))
        self.waiting_lines = self._compiled(_LINES.where(LINE.c.waiting > 0))
        self.served = self._compiled(
            select(func.max(LINE.c.served).label("served")).where(LINE.c.priority == KEY)
        )
        self.add_line = self._compiled(insert(LINE))
        kept: dict[str, Any] = {
            name: bindparam(f"new_{name}") for name in ("waiting", "due", "served", "turn")
        }
        self.keep_line = self._compiled(update(LINE).where(*_IS_LINE).values(kept))
        self.course = self._compiled(select(COURSE).where(COURSE.c.name == KEY))
        self.add_course = self._compiled(insert(COURSE))
        self.weigh_course = self._compiled(
            update(COURSE).where(COURSE.c.name == KEY).values(weight=bindparam("weight"))
        )
        self.time_course = self._compiled(
            update(COURSE).where(COURSE.c.name == KEY).values(seconds=bindparam("seconds"))
        )

    def _of_handing_in(self) -> None:
        self.keyed = self._compiled(
            select(_S.id, _S.digest).where(_S.owner == bindparam("owner"), _S.key == KEY)
        )
        # What could not be graded is no attempt. Who cancels what is being graded may have seen its
        # first parts, and has had it.
        self.attempts = self._compiled(
            select(_S.submitted_at)
            .where(
                *_IS_LEARNERS,
                _S.state != State.FAILED.value,
                or_(_S.state != State.CANCELLED.value, _S.attempts > 0),
                func.coalesce(_S.verdict, "") != _ERROR,
            )
            .order_by(_S.submitted_at)
        )
        self.unfinished = self._compiled(
            select(_S.id)
            .where(
                *_IS_LEARNERS,
                or_(_S.state == State.WAITING.value, _S.state == State.LEASED.value),
            )
            .limit(1)
        )
        self.last_turn = self._compiled(
            select(func.max(_S.turn).label("turn")).where(
                _S.course == bindparam("course"),
                _S.learner == bindparam("learner"),
                _S.priority == bindparam("priority"),
                _S.turn.is_not(None),
            )
        )
        self.add = self._compiled(insert(SUBMISSION))
        self.add_content = self._compiled(insert(SUBMISSION_CONTENT))

    def _of_handing_out(self) -> None:
        in_line = (
            _S.priority == bindparam("priority"),
            _S.course == bindparam("course"),
            _S.turn.is_not(None),
        )
        self.first_of_line = self._compiled(
            select(SUBMISSION, SUBMISSION_CONTENT.c.content)
            .join(SUBMISSION_CONTENT, SUBMISSION_CONTENT.c.id == func.coalesce(_S.original, _S.id))
            .where(*in_line)
            .order_by(_S.turn, _S.id)
            .limit(bindparam("most"))
        )
        # All that were first, in one go: the lock sees to it that there are no others.
        self.lease = self._compiled(
            update(SUBMISSION)
            .where(
                *in_line,
                tuple_(_S.turn, _S.id) <= tuple_(bindparam("last_turn"), bindparam("last_id")),
            )
            .values(
                state=State.LEASED.value,
                attempts=_S.attempts + 1,
                claim=_S.claim + 1,
                turn=null(),
                holder=bindparam("new_holder"),
                lease_until=bindparam("until"),
                claimed_at=bindparam("now"),
            )
        )
        self.content = self._compiled(
            select(SUBMISSION_CONTENT).where(SUBMISSION_CONTENT.c.id == KEY)
        )
        self.hold = self._compiled(self._held().values(lease_until=bindparam("until")))
        self.held_by = self._compiled(
            select(_S.id, _S.claim).where(
                _S.lease_until.is_not(None), _S.holder == bindparam("holder")
            )
        )
        self.add_worker = self._compiled(insert(WORKER))
        self.see_worker = self._compiled(
            update(WORKER)
            .where(WORKER.c.id == KEY)
            .values(slots=bindparam("slots"), seen_at=bindparam("seen_at"))
        )
        self.remove_worker = self._compiled(delete(WORKER).where(WORKER.c.id == KEY))
        self.remove_workers = self._compiled(
            delete(WORKER).where(WORKER.c.seen_at < bindparam("before"))
        )

    def _held(self) -> Update:
        """Of a row that a worker still has; of another's, nothing is changed."""
        return update(SUBMISSION).where(
            _S.id == KEY,
            _S.holder == bindparam("holder"),
            _S.claim == bindparam("nth"),
            _S.lease_until.is_not(None),
        )

    def _of_ends(self) -> None:
        over = {
            "state": bindparam("new_state"),
            "lease_until": null(),
            "turn": null(),
            "not_before": null(),
            "finished_at": bindparam("now"),
        }
        measured: dict[str, Any] = {
            "seconds": bindparam("took"),
            "graded_at": bindparam("graded"),
            "response_seconds": bindparam("response"),
        }
        worth: dict[str, Any] = {
            name: bindparam(f"new_{name}") for name in ("verdict", "grade", "version")
        }
        self.finish = self._compiled(self._held().values(over | measured | worth))
        self.note_sending = self._compiled(
            update(SUBMISSION).where(_S.id == KEY).values(sending_seconds=bindparam("measured"))
        )
        self.note_response = self._compiled(
            update(SUBMISSION)
            .where(_S.id == KEY, _S.response_seconds < bindparam("measured"))
            .values(response_seconds=bindparam("measured"))
        )
        self.cancel = self._compiled(update(SUBMISSION).where(_S.id == KEY).values(over))
        self.add_result = self._compiled(insert(SUBMISSION_RESULT))
        self.add_archive = self._compiled(insert(RESULT_ARCHIVE))
        again = {"state": State.WAITING.value, "lease_until": null()}
        self.delay = self._compiled(
            self._held().values(again | {"not_before": bindparam("not_before_new")})
        )
        self.requeue = self._compiled(
            update(SUBMISSION)
            .where(_S.id == KEY)
            .values(again | {"not_before": null(), "turn": bindparam("new_turn")})
        )
        self.uncount = self._compiled(
            update(SUBMISSION).where(_S.id == KEY).values(attempts=_S.attempts - 1)
        )
        self.expired = self._compiled(
            select(SUBMISSION)
            .where(_S.lease_until < bindparam("now"))
            .order_by(_S.lease_until)
            .limit(bindparam("most"))
        )
        self.clip_leases = self._compiled(
            update(SUBMISSION)
            .where(_S.lease_until > bindparam("latest"))
            .values(lease_until=bindparam("latest"))
        )
        self.clip_delays = self._compiled(
            update(SUBMISSION)
            .where(_S.not_before > bindparam("latest"))
            .values(not_before=bindparam("latest"))
        )
        self.due = self._compiled(
            select(SUBMISSION)
            .where(_S.not_before <= bindparam("now"))
            .order_by(_S.not_before)
            .limit(bindparam("most"))
        )
        self.old = self._compiled(
            select(_S.id)
            .where(_S.finished_at < bindparam("before"), ~_IN_OPEN_CAMPAIGN)
            .order_by(_S.finished_at)
            .limit(bindparam("most"))
        )
        self.remove = [
            self._compiled(delete(column.table).where(column == KEY))
            for column in (
                SUBMISSION_CONTENT.c.id,
                SUBMISSION_RESULT.c.id,
                RESULT_ARCHIVE.c.submission,
                FORMER_RESULT.c.submission,
                REGRADE.c.run,
                REGRADE.c.submission,
                SUBMISSION.c.id,
            )
        ]

    def _of_questions(self) -> None:
        self.going_on = self._compiled(
            select(_S.id).where(
                or_(*(_S.id == bindparam(name) for name in NAMES)),
                or_(_S.state == State.WAITING.value, _S.state == State.LEASED.value),
            )
        )
        self.get = self._compiled(select(SUBMISSION).where(_S.id == KEY))
        self.result = self._compiled(select(SUBMISSION_RESULT).where(SUBMISSION_RESULT.c.id == KEY))
        self.archive = self._compiled(
            select(RESULT_ARCHIVE.c.content).where(
                RESULT_ARCHIVE.c.submission == KEY, RESULT_ARCHIVE.c.revision == bindparam("nth")
            )
        )
        self.before = self._compiled(
            select(func.count().label("count"))
            .select_from(SUBMISSION)
            .where(
                _S.priority == bindparam("priority"),
                _S.course == bindparam("course"),
                _S.turn.is_not(None),
                tuple_(_S.turn, _S.id) < tuple_(bindparam("turn"), KEY),
            )
        )
        self.count_delayed = self._compiled(
            select(func.count().label("count")).where(_S.not_before.is_not(None))
        )
        self.count_leased = self._compiled(
            select(func.count().label("count")).where(_S.lease_until.is_not(None))
        )
        self.count_waiting = self._compiled(select(func.sum(LINE.c.waiting).label("count")))
        self.count_slots = self._compiled(
            select(func.sum(WORKER.c.slots).label("count")).where(
                WORKER.c.seen_at >= bindparam("since")
            )
        )
