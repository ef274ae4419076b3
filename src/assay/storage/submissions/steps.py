"""The transactions that move submissions about: each function is a step, in the storage's thread.

All that they know is in the database; so they may be taken again after a connection was lost.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from assay.domain.errors import InvalidInput
from assay.domain.line import Line, LineKey, Newcomer, Timing
from assay.domain.submission import NewSubmission, Receipt, State, Submission, Work
from assay.storage.kind import Cursor, Kind
from assay.storage.statements import Values
from assay.storage.submissions.decisions import Decisions
from assay.storage.submissions.rows import (
    digest_of,
    line_of,
    line_values,
    new_id,
    submission_of,
    submission_values,
)
from assay.storage.submissions.statements import QueueStatements

MOST_AT_ONCE: Final = 500
"""Rows of what is looked after once a second, or removed."""
_MOVED: Final = ("waiting", "due", "served", "turn")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tended:
    """What was looked after."""

    ready: int = 0
    """That wait in their lines again."""
    lost: tuple[Submission, ...] = ()
    """Whose workers were given up."""
    given_up: tuple[Submission, ...] = ()
    """Of these, what is over."""


class Steps:
    """They share the statements and the decisions."""

    def __init__(self, kind: Kind, decisions: Decisions) -> None:
        self._kind = kind
        self._sql = QueueStatements(kind.engine.dialect)
        self._decide = decisions

    @property
    def sql(self) -> QueueStatements:
        """Every statement."""
        return self._sql

    # --- handing in ---

    def add(
        self, cursor: Cursor, news: Sequence[NewSubmission], now: float
    ) -> list[Receipt | InvalidInput]:
        """Keep all of them; of those with a key that is there, the receipt of before."""
        answers = self._known(cursor, news)
        unknown = self._first_of_each_key(news, answers)
        ids = {place: new_id(now) for place in unknown}
        self._insert(cursor, [(ids[place], news[place]) for place in unknown], now)
        for place in unknown:
            answers[place] = Receipt(id=ids[place], new=True)
        self._answer_repeated(news, answers)
        return [answers[place] for place in range(len(news))]

    def _known(
        self, cursor: Cursor, news: Sequence[NewSubmission]
    ) -> dict[int, Receipt | InvalidInput]:
        places = [place for place, new in enumerate(news) if new.key is not None]
        asked: list[Values] = [{"owner": news[at].owner, "key": news[at].key} for at in places]
        found = self._sql.keyed.rows_of_each(self._kind, cursor, asked)
        return {
            place: _again(news[place], str(rows[0]["id"]), bytes(rows[0]["digest"]))
            for place, rows in zip(places, found, strict=True)
            if rows
        }

    def _first_of_each_key(
        self, news: Sequence[NewSubmission], known: Collection[int]
    ) -> list[int]:
        first: dict[object, int] = {}
        for place, new in enumerate(news):
            if place not in known:
                first.setdefault(place if new.key is None else (new.owner, new.key), place)
        return list(first.values())

    def _answer_repeated(
        self, news: Sequence[NewSubmission], answers: dict[int, Receipt | InvalidInput]
    ) -> None:
        """Two of one key may come in one transaction."""
        if len(answers) == len(news):
            return
        first = {(new.owner, new.key): place for place, new in enumerate(news) if place in answers}
        for place, new in enumerate(news):
            if place not in answers:
                of = first[new.owner, new.key]
                earlier = answers[of]
                assert isinstance(earlier, Receipt)
                answers[place] = _again(new, earlier.id, digest_of(news[of]))

    def _insert(
        self, cursor: Cursor, news: Sequence[tuple[str, NewSubmission]], now: float
    ) -> None:
        if not news:
            return
        comers = [Newcomer(LineKey(new.priority, new.course), new.learner) for _, new in news]
        lines = self._lines(cursor, {each.line for each in comers})
        admitted = self._decide.admit(
            comers,
            lines,
            self._served(cursor, {each.line.priority for each in comers}),
            self._last_turns(cursor, set(comers)),
        )
        rows = [
            submission_values(new, name, now, turn)
            for (name, new), turn in zip(news, admitted.turns, strict=True)
        ]
        self._sql.add.run_all(cursor, rows)
        contents: list[Values] = [{"id": name, "content": new.content} for name, new in news]
        self._sql.add_content.run_all(cursor, contents)
        self._keep_lines(cursor, admitted.lines, lines)
        self._notify(cursor)

    def _notify(self, cursor: Cursor, name: str = "") -> None:
        if self._sql.can_notify:
            self._sql.notify.rows(cursor, {"key": name})

    def _last_turns(self, cursor: Cursor, comers: Collection[Newcomer]) -> dict[Newcomer, int]:
        each = list(comers)
        asked: list[Values] = [
            {"priority": comer.line.priority, "course": comer.line.course, "learner": comer.learner}
            for comer in each
        ]
        found = self._sql.last_turn.rows_of_each(self._kind, cursor, asked)
        last = {comer: rows[0]["turn"] for comer, rows in zip(each, found, strict=True)}
        return {comer: turn for comer, turn in last.items() if turn is not None}

    # --- lines ---

    def _lines(self, cursor: Cursor, keys: Iterable[LineKey]) -> dict[LineKey, Line]:
        asked = [key._asdict() for key in keys]
        found = self._sql.line.rows_of_each(self._kind, cursor, asked)
        lines = [line_of(rows[0]) for rows in found if rows]
        return {LineKey(line.priority, line.course): line for line in lines}

    def _served(self, cursor: Cursor, priorities: Iterable[int]) -> dict[int, float]:
        served = {}
        for priority in priorities:
            ((row),) = self._sql.served.rows(cursor, {"key": priority})
            served[int(priority)] = float(row["served"] or 0.0)
        return served

    def _keep_lines(
        self, cursor: Cursor, lines: Iterable[Line], known: Collection[LineKey]
    ) -> None:
        changed, fresh = [], []
        for line in lines:
            values = line_values(line)
            if (line.priority, line.course) in known:
                moved = {f"new_{name}": values[name] for name in _MOVED}
                changed.append({"priority": line.priority, "course": line.course, **moved})
            else:
                fresh.append(values)
        self._sql.keep_line.run_all(cursor, changed)
        self._sql.add_line.run_all(cursor, fresh)

    def _add_to_lines(self, cursor: Cursor, submissions: Sequence[Submission]) -> None:
        """Put them into their lines again, before all others: they have waited already."""
        keys = {_key(each) for each in submissions}
        lines = self._lines(cursor, keys)
        served = self._served(cursor, {key.priority for key in keys})
        for each in submissions:
            key = _key(each)
            line = self._decide.join(lines[key], served[key.priority])
            lines[key] = line
            self._sql.requeue.run(cursor, {"key": each.id, "new_turn": line.turn})
        self._keep_lines(cursor, lines.values(), lines)
        if submissions:
            self._notify(cursor)

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
        self._keep_lines(cursor, moved, {LineKey(each.priority, each.course) for each in moved})
        return self._lease(cursor, [row for rows in taken for row in rows], holder, now)

    def _lease(
        self, cursor: Cursor, rows: Sequence[dict[str, object]], holder: str, now: float
    ) -> list[Work]:
        until = now + self._decide.lease_seconds
        given = {"new_holder": holder, "until": until, "now": now}
        self._sql.lease.run_all(cursor, [{"key": row["id"], **given} for row in rows])
        contents = self._sql.content.rows_of_each(
            self._kind, cursor, [{"key": row["id"]} for row in rows]
        )
        found = []
        for row, (content,) in zip(rows, contents, strict=True):
            leased = replace(
                (before := submission_of(row)),
                state=State.LEASED,
                attempts=before.attempts + 1,
                claim=before.claim + 1,
                claimed_at=now,
            )
            found.append(Work(submission=leased, content=bytes(content["content"])))
        return found

    def _learn(self, cursor: Cursor, timings: Mapping[str, Timing]) -> None:
        for course, timing in timings.items():
            found = self._sql.course.rows(cursor, {"key": course})
            if found:
                seconds = self._decide.learn(found[0]["seconds"], timing)
                self._sql.time_course.run(cursor, {"key": course, "seconds": seconds})
            else:
                seconds = self._decide.learn(None, timing)
                self._sql.add_course.run(
                    cursor, {"name": course, "weight": 1.0, "seconds": seconds}
                )

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

    def finish(
        self, cursor: Cursor, holder: str, submission: Submission, result: bytes, seconds: float,
        state: State, now: float,
    ) -> bool:  # fmt: skip
        """Keep a result, if the submission is still this worker's; whether it counts."""
        values = {
            **_claim(holder, submission), "new_state": state.value, "now": now, "took": seconds
        }  # fmt: skip
        if self._sql.finish.run(cursor, values):
            self._sql.add_result.run(cursor, {"id": submission.id, "result": result})
            self._notify(cursor, submission.id)
            return True
        # The answer to the same may have been lost.
        found = self._sql.get.rows(cursor, {"key": submission.id})
        return bool(found) and (found[0]["holder"], found[0]["claim"], found[0]["state"]) == (
            holder, submission.claim, state.value,
        )  # fmt: skip

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
        self._add_to_lines(cursor, back)
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
            lines = self._lines(cursor, [key])
            fewer = replace(lines[key], waiting=lines[key].waiting - 1)
            self._keep_lines(cursor, [fewer], lines)
        self._notify(cursor, name)
        return True

    def tend(self, cursor: Cursor, now: float, monotonic: float) -> Tended:
        """Take back what lost workers had, and let go on what has waited long enough."""
        may_expire = self._decide.watch(clock=now, monotonic=monotonic)
        self._clip(cursor, now)
        asked = {"now": now, "most": MOST_AT_ONCE}
        ready = [submission_of(row) for row in self._sql.due.rows(cursor, asked)]
        self._add_to_lines(cursor, ready)
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
        if isinstance(fate, bytes):
            self.finish(cursor, holder, submission, fate, 0.0, State.FAILED, now)
            return True
        self.delay(cursor, holder, submission, fate, now)
        return False

    def _clip(self, cursor: Cursor, now: float) -> None:
        lease, retry = now + self._decide.lease_seconds, now + self._decide.longest_delay_seconds
        self._sql.clip_leases.run(cursor, {"latest": lease})
        self._sql.clip_delays.run(cursor, {"latest": retry})

    def purge(self, cursor: Cursor, before: float) -> int:
        """Remove some of what was over before then, with all that belongs to it; how many."""
        old = self._sql.old.rows(cursor, {"before": before, "most": MOST_AT_ONCE})
        for statement in self._sql.remove:
            statement.run_all(cursor, [{"key": row["id"]} for row in old])
        return len(old)


def _key(submission: Submission) -> LineKey:
    return LineKey(int(submission.priority), submission.course)


def _claim(holder: str, submission: Submission) -> dict[str, object]:
    return {"key": submission.id, "holder": holder, "nth": submission.claim}


def _again(new: NewSubmission, name: str, digest: bytes) -> Receipt | InvalidInput:
    if digest_of(new) == digest:
        return Receipt(id=name, new=False)
    return InvalidInput(
        f"the key {new.key!r} belongs to another submission: each needs a key of its own"
    )
