"""The transactions that move submissions about: each function is a step, in the storage's thread.

All that they know is in the database; so they may be taken again after a connection was lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Final

from assay.domain.errors import AssayError
from assay.domain.line import LineKey, Timing
from assay.domain.submission import (
    KeptResult,
    Measured,
    NewSubmission,
    Receipt,
    State,
    Submission,
    Work,
)
from assay.storage.kind import Cursor, Kind
from assay.storage.rows import AnyRow
from assay.storage.statements import Values
from assay.storage.submissions.decisions import Decisions
from assay.storage.submissions.entrance import Entrance
from assay.storage.submissions.outbox import Outbox
from assay.storage.submissions.rows import (
    line_of,
    submission_of,
)
from assay.storage.submissions.statements import ASKED_AT_ONCE, NAMES, QueueStatements

MOST_AT_ONCE: Final = 500
"""Rows of what is looked after once a second."""
PURGED_AT_ONCE: Final = 100
"""Submissions: each of them may have tens of MiB, and all others wait for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tended:
    """What was looked after."""

    ready: int = 0
    """That wait in their lines again."""
    lost: tuple[Submission, ...] = ()
    """Whose workers were given up."""
    given_up: tuple[Submission, ...] = ()
    """Of these, what is over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """What a worker says of a submission that is over."""

    holder: str
    submission: Submission
    result: KeptResult
    seconds: float
    state: State = State.DONE
    graded_at: float | None = None
    """When its grading had ended, on the database's clock; None: it was not graded."""


class Steps:
    """They share the statements and the decisions."""

    def __init__(self, kind: Kind, decisions: Decisions) -> None:
        self._kind = kind
        self._sql = QueueStatements(kind.engine.dialect)
        self._decide = decisions
        self._entrance = Entrance(kind, self._sql, decisions)
        self.outbox = Outbox(kind)
        """What webhooks are to be told."""

    @property
    def sql(self) -> QueueStatements:
        """Every statement."""
        return self._sql

    @property
    def entrance(self) -> Entrance:
        """Where what waits gets its place."""
        return self._entrance

    def add(
        self, cursor: Cursor, news: Sequence[NewSubmission], now: float
    ) -> list[Receipt | AssayError]:
        """Keep all of them; of those with a key that is there, the receipt of before."""
        return self._entrance.add(cursor, news, now)

    # --- handing out ---

    def claim(
        self,
        cursor: Cursor,
        holder: str,
        count: int,
        now: float,
        timings: Mapping[str, Timing],
    ) -> list[Work]:
        """Give a worker up to so many; and note what gradings took, which it tells by the way."""
        self._learn(cursor, timings)
        lines = [line_of(row) for row in self._sql.waiting_lines.rows(cursor)]
        shares = self._decide.choose(lines, count)
        if not shares:
            return []
        asked: list[Values] = [
            {"priority": each.line.priority, "course": each.line.course, "most": each.take}
            for each in shares
        ]
        taken = self._sql.first_of_line.rows_of_each(self._kind, cursor, asked)
        moved = [
            replace(share.line, turn=rows[-1]["turn"])
            for share, rows in zip(shares, taken, strict=True)
        ]
        self._entrance.keep_lines(
            cursor, moved, {LineKey(each.priority, each.course) for each in moved}
        )
        given = {
            "new_holder": holder, "until": now + self._decide.lease_seconds, "now": now
        }  # fmt: skip
        last = [rows[-1] for rows in taken]
        self._sql.lease.run_all(cursor, [{**_place(row), **given} for row in last])
        return [_leased(row, now) for rows in taken for row in rows]

    def _learn(self, cursor: Cursor, timings: Mapping[str, Timing]) -> None:
        found = self._sql.course.rows_of_each(
            self._kind, cursor, [{"key": course} for course in timings]
        )
        known, unknown = [], []
        for (course, timing), rows in zip(timings.items(), found, strict=True):
            seconds = self._decide.learn(rows[0]["seconds"] if rows else None, timing)
            if rows:
                known.append({"key": course, "seconds": seconds})
            else:
                unknown.append({"name": course, "weight": 1.0, "seconds": seconds})
        self._sql.time_course.run_all(cursor, known)
        self._sql.add_course.run_all(cursor, unknown)

    def weigh(self, cursor: Cursor, course: str, weight: float) -> None:
        """Give a course another weight."""
        if not self._sql.weigh_course.run(cursor, {"key": course, "weight": weight}):
            self._sql.add_course.run(cursor, {"name": course, "weight": weight, "seconds": None})

    def beat(
        self, cursor: Cursor, holder: str, slots: int, held: Mapping[str, int], now: float
    ) -> list[str]:
        """Say that a worker lives, and has these claims; those that it has no more."""
        if not self._sql.see_worker.run(cursor, {"key": holder, "slots": slots, "seen_at": now}):
            self._sql.add_worker.run(cursor, {"id": holder, "slots": slots, "seen_at": now})
        until = now + self._decide.lease_seconds
        self._sql.hold.run_all(
            cursor,
            [
                {"key": name, "holder": holder, "nth": nth, "until": until}
                for name, nth in held.items()
            ],
        )
        rows = self._sql.held_by.rows(cursor, {"holder": holder})
        there = {(row["id"], row["claim"]) for row in rows}
        return [name for name, nth in held.items() if (name, nth) not in there]

    # --- ends ---

    def finish(self, cursor: Cursor, endings: Sequence[Ending], now: float) -> list[bool]:
        """Keep results of submissions that are still their workers'; which of them count."""
        changed = self._sql.finish.run_each(
            self._kind,
            cursor,
            [
                {
                    **_claim(each.holder, each.submission),
                    "new_state": each.state.value,
                    "now": now,
                    "took": each.seconds,
                    "graded": each.graded_at,
                    "new_verdict": each.result.verdict,
                    "new_grade": each.result.grade,
                    "new_version": each.result.version or None,
                    "response": None if each.graded_at is None else max(now - each.graded_at, 0.0),
                }
                for each in endings
            ],
        )
        counting = [each for each, count in zip(endings, changed, strict=True) if count]
        self._keep_results(cursor, counting)
        over = [(each.submission, each.state) for each in counting]
        self.outbox.add(cursor, [_told(*each) for each in over if each[0].original is None], now)
        if counting:
            self._entrance.notify(cursor, *(each.submission.id for each in counting))
        return [
            bool(count) or self._is_known(cursor, each)
            for each, count in zip(endings, changed, strict=True)
        ]

    def _keep_results(self, cursor: Cursor, counting: Sequence[Ending]) -> None:
        results: list[Values] = [
            {"id": each.submission.id, "result": each.result.result} for each in counting
        ]
        self._sql.add_result.run_all(cursor, results)
        archives: list[Values] = [
            {
                "submission": each.submission.id,
                "revision": each.submission.revision,
                "content": each.result.archive,
            }
            for each in counting
            if each.result.archive is not None
        ]
        self._sql.add_archive.run_all(cursor, archives)

    def note(self, cursor: Cursor, all_measured: Sequence[Measured]) -> None:
        """Keep what was measured after a transaction."""
        for statement, name in (
            (self._sql.note_sending, "sending_seconds"),
            (self._sql.note_response, "response_seconds"),
        ):
            known = [(each.id, getattr(each, name)) for each in all_measured]
            values: list[Values] = [
                {"key": key, "measured": seconds} for key, seconds in known if seconds is not None
            ]
            statement.run_all(cursor, values)

    def _is_known(self, cursor: Cursor, ending: Ending) -> bool:
        """Whether the same was said before, and the answer got lost."""
        found = self._sql.get.rows(cursor, {"key": ending.submission.id})
        said = (ending.holder, ending.submission.claim, ending.state.value)
        return any((row["holder"], row["claim"], row["state"]) == said for row in found)

    def delay(
        self, cursor: Cursor, holder: str, submission: Submission, seconds: float, now: float
    ) -> bool:
        """Try it again later; whether it was still this worker's."""
        values = {**_claim(holder, submission), "not_before_new": now + seconds}
        return self._sql.delay.run(cursor, values) > 0

    def release(self, cursor: Cursor, holder: str, submissions: Sequence[Submission]) -> int:
        """Take back what a worker will not grade; that was no attempt. How many there were."""
        rows = self._sql.held_by.rows(cursor, {"holder": holder})
        there = {(row["id"], row["claim"]) for row in rows}
        back = [each for each in submissions if (each.id, each.claim) in there]
        self._entrance.add_to_lines(cursor, back)
        self._sql.uncount.run_all(cursor, [{"key": each.id} for each in back])
        return len(back)

    def leave(self, cursor: Cursor, holder: str) -> None:
        """Forget a worker; what it still had comes back when its leases are over."""
        self._sql.remove_worker.run(cursor, {"key": holder})

    def cancel(self, cursor: Cursor, name: str, now: float) -> bool:
        """Whether it was not over yet, and is now."""
        found = self._sql.get.rows(cursor, {"key": name})
        if not found or State(found[0]["state"]).is_over:
            return False
        (row,) = found
        self._sql.cancel.run(cursor, {"key": name, "new_state": State.CANCELLED.value, "now": now})
        if row["turn"] is not None:
            key = LineKey(row["priority"], row["course"])
            lines = self._entrance.lines(cursor, [key])
            fewer = replace(lines[key], waiting=lines[key].waiting - 1)
            self._entrance.keep_lines(cursor, [fewer], lines)
        if row["original"] is None:
            self.outbox.add(cursor, [(name, row["course"], State.CANCELLED)], now)
        self._entrance.notify(cursor, name)
        return True

    def tend(self, cursor: Cursor, now: float, monotonic: float) -> Tended:
        """Take back what lost workers had, and let go on what has waited long enough."""
        may_expire = self._decide.watch(clock=now, monotonic=monotonic)
        self._clip(cursor, now)
        asked = {"now": now, "most": MOST_AT_ONCE}
        ready = [submission_of(row) for row in self._sql.due.rows(cursor, asked)]
        self._entrance.add_to_lines(cursor, ready)
        if not may_expire:
            return Tended(ready=len(ready))
        self._sql.remove_workers.run(cursor, {"before": now - self._decide.lease_seconds})
        return replace(self._take_back(cursor, now, now), ready=len(ready))

    def recover(self, cursor: Cursor, now: float) -> Tended:
        """Take back what anybody has: for who knows that nobody else is there."""
        self._sql.remove_workers.run(cursor, {"before": math.inf})
        return self._take_back(cursor, math.inf, now)

    def _take_back(self, cursor: Cursor, until: float, now: float) -> Tended:
        expired = self._sql.expired.rows(cursor, {"now": until, "most": MOST_AT_ONCE})
        lost = [(submission_of(row), str(row["holder"])) for row in expired]
        given_up = [each for each, holder in lost if self._abandon(cursor, holder, each, now)]
        return Tended(lost=tuple(each for each, _ in lost), given_up=tuple(given_up))

    def _abandon(self, cursor: Cursor, holder: str, submission: Submission, now: float) -> bool:
        fate = self._decide.abandon(submission)
        if isinstance(fate, KeptResult):
            over = Ending(
                holder=holder, submission=submission, result=fate, seconds=0.0, state=State.FAILED
            )
            return self.finish(cursor, [over], now)[0]
        self.delay(cursor, holder, submission, fate, now)
        return False

    def _clip(self, cursor: Cursor, now: float) -> None:
        lease, retry = now + self._decide.lease_seconds, now + self._decide.longest_delay_seconds
        self._sql.clip_leases.run(cursor, {"latest": lease})
        self._sql.clip_delays.run(cursor, {"latest": retry})

    def going_on(self, cursor: Cursor, names: Sequence[str]) -> set[str]:
        """Which of these are neither over nor gone."""
        found: set[str] = set()
        for first in range(0, len(names), ASKED_AT_ONCE):
            some = names[first : first + ASKED_AT_ONCE]
            asked = dict(zip_longest(NAMES, some, fillvalue=some[0]))
            found.update(row["id"] for row in self._sql.going_on.rows(cursor, asked))
        return found

    def purge(self, cursor: Cursor, before: float) -> int:
        """Remove some of what was over before then, with all that belongs to it; how many."""
        old = self._sql.old.rows(cursor, {"before": before, "most": PURGED_AT_ONCE})
        for statement in (*self._sql.remove, self.outbox.forget):
            statement.run_all(cursor, [{"key": row["id"]} for row in old])
        return len(old)


def _told(submission: Submission, state: State) -> tuple[str, str, State]:
    return submission.id, submission.course, state


def _place(row: AnyRow) -> dict[str, object]:
    """Where a row waits: its line, and its place there."""
    line = {name: row[name] for name in ("priority", "course")}
    return {**line, "last_turn": row["turn"], "last_id": row["id"]}


def _leased(row: AnyRow, now: float) -> Work:
    """A row as it is once it was handed out."""
    before = submission_of(row)
    leased = replace(
        before,
        state=State.LEASED,
        attempts=before.attempts + 1,
        claim=before.claim + 1,
        claimed_at=now,
    )
    return Work(submission=leased, content=bytes(row["content"]))


def _claim(holder: str, submission: Submission) -> dict[str, object]:
    return {"key": submission.id, "holder": holder, "nth": submission.claim}
