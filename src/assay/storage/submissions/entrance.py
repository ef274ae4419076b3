"""What is handed in gets its place in its line; with it, all that is about lines."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from assay.domain.errors import AssayError, Conflict, InvalidInput, InvalidSubmission
from assay.domain.line import Line, LineKey, Newcomer
from assay.domain.submission import NewSubmission, Receipt, Submission
from assay.storage.kind import Cursor, Kind
from assay.storage.statements import Values
from assay.storage.submissions.decisions import Decisions
from assay.storage.submissions.rows import (
    digest_of,
    line_of,
    line_values,
    new_id,
    submission_values,
)
from assay.storage.submissions.statements import QueueStatements

_MOST_NAMES: Final = 200
"""In one notice, which has 8,000 bytes at most."""
_Whose = tuple[str, str, str, str]
"""Of what attempts are counted: owner, course, task, learner."""
_MOVED: Final = ("waiting", "due", "served", "turn")


class Entrance:
    """Shares statements and decisions with the other steps."""

    def __init__(self, kind: Kind, sql: QueueStatements, decisions: Decisions) -> None:
        self._kind = kind
        self._sql = sql
        self._decide = decisions

    def add(
        self, cursor: Cursor, news: Sequence[NewSubmission], now: float
    ) -> list[Receipt | AssayError]:
        """Keep all of them; of those with a key that is there, the receipt of before.

        An error of learners who have had all their attempts, or to whom another one is to come
        first.
        """
        answers = self._known(cursor, news)
        unknown = self._first_of_each_key(news, answers)
        refused = self._refused(cursor, [(place, news[place]) for place in unknown], now)
        answers |= refused
        unknown = [place for place in unknown if place not in refused]
        ids = {place: new_id(now) for place in unknown}
        self._insert(cursor, [(ids[place], news[place]) for place in unknown], now)
        for place in unknown:
            answers[place] = Receipt(id=ids[place], new=True)
        self._answer_repeated(news, answers)
        return [answers[place] for place in range(len(news))]

    def _known(
        self, cursor: Cursor, news: Sequence[NewSubmission]
    ) -> dict[int, Receipt | AssayError]:
        places = [place for place, new in enumerate(news) if new.key is not None]
        asked: list[Values] = [{"owner": news[at].owner, "key": news[at].key} for at in places]
        found = self._sql.keyed.rows_of_each(self._kind, cursor, asked)
        return {
            place: _again(news[place], str(rows[0]["id"]), bytes(rows[0]["digest"]))
            for place, rows in zip(places, found, strict=True)
            if rows
        }

    def _refused(
        self, cursor: Cursor, news: Sequence[tuple[int, NewSubmission]], now: float
    ) -> dict[int, AssayError]:
        """Those that have to wait for another one of theirs, or for which no attempt is left; of
        several in one transaction the later ones.

        Whoever hands in holds the one lock of the queue, so nobody else's comes between.
        """
        busy = self._unfinished(cursor, dict.fromkeys(_whose(new) for _, new in news if new.alone))
        limited = (new for _, new in news if new.most_attempts is not None)
        had = self._attempts(cursor, dict.fromkeys(map(_whose, limited)))
        refused: dict[int, AssayError] = {}
        for place, new in news:
            whose = _whose(new)
            times = had.setdefault(whose, [])
            error = _busy() if new.alone and whose in busy else self._too_many(new, times, now)
            if error is not None:
                refused[place] = error
                continue
            times.append(now)
            busy.add(whose)
        return refused

    def _too_many(
        self, new: NewSubmission, times: Sequence[float], now: float
    ) -> InvalidSubmission | None:
        most, hours = new.most_attempts, new.attempts_hours
        if most is None:
            return None
        used = self._decide.used(times, hours, now)
        if used < most:
            return None
        per = "" if hours is None else f" in {hours:g} hours"
        return InvalidSubmission(
            f"this task takes {most} submissions{per}, and has {used} of yours"
        )

    def _unfinished(self, cursor: Cursor, each: Iterable[_Whose]) -> set[_Whose]:
        wanted = list(each)
        found = self._sql.unfinished.rows_of_each(self._kind, cursor, _named(wanted))
        return {whose for whose, rows in zip(wanted, found, strict=True) if rows}

    def _attempts(self, cursor: Cursor, each: Iterable[_Whose]) -> dict[_Whose, list[float]]:
        """When they were handed in."""
        wanted = list(each)
        found = self._sql.attempts.rows_of_each(self._kind, cursor, _named(wanted))
        return {
            whose: [float(row["submitted_at"]) for row in rows]
            for whose, rows in zip(wanted, found, strict=True)
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
        self, news: Sequence[NewSubmission], answers: dict[int, Receipt | AssayError]
    ) -> None:
        """Two of one key may come in one transaction."""
        if len(answers) == len(news):
            return
        first = {(new.owner, new.key): place for place, new in enumerate(news) if place in answers}
        for place, new in enumerate(news):
            if place not in answers:
                of = first[new.owner, new.key]
                earlier = answers[of]
                answers[place] = (
                    _again(new, earlier.id, digest_of(news[of]))
                    if isinstance(earlier, Receipt)
                    else earlier
                )

    def _insert(
        self, cursor: Cursor, news: Sequence[tuple[str, NewSubmission]], now: float
    ) -> None:
        if not news:
            return
        comers = [Newcomer(LineKey(new.priority, new.course), new.learner) for _, new in news]
        lines = self.lines(cursor, {each.line for each in comers})
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
        contents: list[Values] = [
            {"id": name, "content": new.content} for name, new in news if new.original is None
        ]
        self._sql.add_content.run_all(cursor, contents)
        self.keep_lines(cursor, admitted.lines, lines)
        self.notify(cursor)

    def notify(self, cursor: Cursor, *names: str) -> None:
        """Tell other servers what is over; without names, that something waits."""
        if self._sql.can_notify:
            for first in range(0, max(len(names), 1), _MOST_NAMES):
                words = " ".join(names[first : first + _MOST_NAMES])
                self._sql.notify.rows(cursor, {"key": words})

    def _last_turns(self, cursor: Cursor, comers: Collection[Newcomer]) -> dict[Newcomer, int]:
        each = list(comers)
        asked: list[Values] = [
            {"priority": comer.line.priority, "course": comer.line.course, "learner": comer.learner}
            for comer in each
        ]
        found = self._sql.last_turn.rows_of_each(self._kind, cursor, asked)
        last = {comer: rows[0]["turn"] for comer, rows in zip(each, found, strict=True)}
        return {comer: turn for comer, turn in last.items() if turn is not None}

    def lines(self, cursor: Cursor, keys: Iterable[LineKey]) -> dict[LineKey, Line]:
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

    def keep_lines(self, cursor: Cursor, lines: Iterable[Line], known: Collection[LineKey]) -> None:
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

    def add_to_lines(self, cursor: Cursor, submissions: Sequence[Submission]) -> None:
        """Put them into their lines again, before all others: they have waited already."""
        keys = {line_key(each) for each in submissions}
        lines = self.lines(cursor, keys)
        served = self._served(cursor, {key.priority for key in keys})
        for each in submissions:
            key = line_key(each)
            line = self._decide.join(lines[key], served[key.priority])
            lines[key] = line
            self._sql.requeue.run(cursor, {"key": each.id, "new_turn": line.turn})
        self.keep_lines(cursor, lines.values(), lines)
        if submissions:
            self.notify(cursor)


def line_key(submission: Submission) -> LineKey:
    """The line in which it waits."""
    return LineKey(int(submission.priority), submission.course)


def _whose(new: NewSubmission) -> _Whose:
    return new.owner, new.course, new.task, new.learner


def _named(each: Sequence[_Whose]) -> list[Values]:
    names = ("owner", "course", "task", "learner")
    return [dict(zip(names, whose, strict=True)) for whose in each]


def _busy() -> Conflict:
    return Conflict(
        "another submission of yours for this task is being graded, and what it leaves"
        " counts for the next one: hand in when it is over"
    )


def _again(new: NewSubmission, name: str, digest: bytes) -> Receipt | InvalidInput:
    if digest_of(new) == digest:
        return Receipt(id=name, new=False)
    return InvalidInput(
        f"the key {new.key!r} belongs to another submission: each needs a key of its own"
    )
