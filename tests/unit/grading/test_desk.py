"""What learners may see of a result, and how it is kept."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from assay.domain.errors import InvalidInput
from assay.domain.outcome import Outcome, OutcomeKind
from assay.grading.desk import Desk, HandedIn, for_learner
from assay.grading.joint import Seats
from assay.grading.record import Record
from assay.grading.results import PartResult, Result, Verdict, archive_of, kept
from assay.grading.results import TestResult as Tried


def test_of_a_hidden_test_nothing_is_told_that_its_program_could_choose() -> None:
    test = Tried(
        name="a", verdict=Verdict.FAILED, score=0.0, message="not yet", detail="it had 42",
        outcome=Outcome(kind=OutcomeKind.EXITED, code=42), wall_seconds=0.42,
        cpu_seconds=0.42, peak_memory_bytes=42 << 20,
    )  # fmt: skip
    part = PartResult(
        id="all", verdict=Verdict.FAILED, score=0.0, tests=(replace(test, hidden=True), test)
    )
    seen = for_learner(Result(verdict=Verdict.FAILED, grade=0.0, parts=(part,)))
    hidden, shown = seen.parts[0].tests
    assert hidden == Tried(
        name="a", verdict=Verdict.FAILED, score=0.0, message="not yet", hidden=True
    )
    assert shown == replace(test, detail="")


def a_part(name: str, *, hidden: bool = False) -> PartResult:
    test = Tried(name="a", verdict=Verdict.PASSED, score=1.0, hidden=hidden)
    return PartResult(id=name, verdict=Verdict.PASSED, score=1.0, tests=(test,))


def test_what_costs_no_attempt_tells_nothing_of_hidden_tests() -> None:
    shown, hidden, after = a_part("shown"), a_part("hidden", hidden=True), a_part("after")
    result = Result(verdict=Verdict.ERROR, grade=None, parts=(shown, hidden, after))
    assert for_learner(result).parts == (shown,)  # "after" may need "hidden", and tell of it
    graded = replace(result, verdict=Verdict.PASSED, grade=100.0)
    assert [part.id for part in for_learner(graded).parts] == ["shown", "hidden", "after"]


def test_who_follows_hears_whether_a_learner_may_know_a_part_before_there_is_a_grade() -> None:
    nothing: Any = None
    desk = Desk(nothing, nothing, nothing, parallel=1, seats=Seats(1))
    told: list[tuple[str, bool]] = []
    parts = a_part("shown"), a_part("hidden", hidden=True), a_part("after")
    tell = desk._teller("s")
    for part in parts[:2]:
        tell(part)
    desk.listen("s", lambda part, early: told.append((part.id, early)))
    tell(parts[2])  # to somebody who came after the hidden one
    again = desk._teller("s")
    for part in parts:
        again(part)
    assert told == [("after", False), ("shown", True), ("hidden", False), ("after", False)]


def test_what_a_grader_keeps_is_for_teachers() -> None:
    result = Result(verdict=Verdict.PASSED, grade=100.0, archive=archive_of(b"hidden tests"))
    assert for_learner(result).archive is None


def test_a_result_is_kept_without_its_archive_and_with_what_is_asked_of_many() -> None:
    record = Record(grader="1", digest="sha256:of-the-task", seed=7)
    result = Result(
        verdict=Verdict.PARTIAL, grade=50.0, record=record, archive=archive_of(b"hidden tests")
    )
    found = kept(result)
    assert (found.verdict, found.grade, found.version) == ("partial", 50.0, "sha256:of-the-task")
    assert found.archive == b"hidden tests"
    read = msgspec.json.decode(found.result, type=Result)
    assert read == replace(result, archive=replace(archive_of(b"hidden tests"), content=None))


@pytest.mark.parametrize("wrong", [{"learner": "a\0b"}, {"learner": ""}, {"key": "a\0b"}])
async def test_a_name_that_no_database_takes_is_refused_before_one_is_asked(
    wrong: dict[str, str],
) -> None:
    courses: Any = SimpleNamespace(task=lambda course, task: None)
    submissions: Any = None
    desk = Desk(courses, submissions, courses, parallel=1, seats=Seats(1))
    new = replace(HandedIn(course="c", task="t", learner="ada"), **wrong)
    with pytest.raises(InvalidInput, match="printable letters"):
        await desk.hand_in(new, now=0.0)
