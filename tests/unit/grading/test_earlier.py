"""What earlier submissions say to who comes next: attempts that count, and a state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from assay.domain.submission import Priority, State, Submission
from assay.grading.earlier import Whose, before
from assay.grading.offered import Before
from assay.grading.record import Record
from assay.grading.results import Result, Verdict

HANDED_IN = Submission(
    id="0", owner="", key=None, course="c", task="t", learner="l", priority=Priority.LIVE,
    state=State.DONE, submitted_at=100.0, environment="python", task_hash="", seed=None,
    attempts=0, claim=0, not_before=None, claimed_at=None, finished_at=None, seconds=None,
)  # fmt: skip
WHOSE = Whose(owner="", course="c", task="t", learner="l")


@dataclass
class Kept:
    """As `Submissions` answers; the newest first."""

    rows: Sequence[Submission]
    results: dict[str, bytes] = field(default_factory=dict)
    asked: int = 0

    async def page(self, *, before: str | None, most: int, **_: str) -> list[Submission]:
        rows = [each for each in self.rows if before is None or each.id < before]
        return sorted(rows, key=lambda each: each.id, reverse=True)[:most]

    async def result(self, name: str) -> bytes | None:
        self.asked += 1
        return self.results.get(name)


def row(number: int, state: State = State.DONE) -> Submission:
    return replace(HANDED_IN, id=f"{number:04}", state=state)


def result(nth: int, state: str = "", verdict: Verdict = Verdict.PASSED) -> bytes:
    record = Record(grader="1", digest="", seed=1, inputs={"@attempts": str(nth)})
    grade = None if verdict is Verdict.ERROR else 50.0
    return msgspec.json.encode(Result(verdict=verdict, grade=grade, state=state, record=record))


async def found(kept: Kept, until: str | None = None) -> Before:
    return await before(kept, WHOSE, until=until)  # type: ignore[arg-type]


async def test_who_has_handed_in_nothing_begins_with_nothing() -> None:
    assert await found(Kept([])) == Before()


async def test_the_last_one_that_was_graded_says_all_and_no_other_is_read() -> None:
    results = {f"{n:04}": result(n + 1, f"s{n}") for n in range(300)}
    kept = Kept([row(n) for n in range(300)], results)
    assert await found(kept) == Before(attempts=300, state="s299")
    assert await found(kept, until="0007") == Before(attempts=7, state="s6")
    assert kept.asked == 2


async def test_what_could_not_be_graded_costs_no_attempt_and_keeps_the_state() -> None:
    kept = Kept([row(1), row(2)], {"0001": result(1, "s"), "0002": result(2, "s", Verdict.ERROR)})
    assert await found(kept) == Before(attempts=1, state="s")


async def test_what_waits_counts_and_what_failed_or_was_cancelled_does_not() -> None:
    rows = [row(1), row(2, State.FAILED), row(3, State.CANCELLED), row(4, State.LEASED)]
    expected = Before(attempts=2, state="s")
    assert await found(Kept(rows, {"0001": result(1, "s")})) == expected


async def test_however_many_there_are_without_a_record_all_are_counted() -> None:
    assert await found(Kept([row(n) for n in range(120)])) == Before(attempts=120)
