"""What learners may see of a result, and what counts as an attempt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.domain.outcome import Outcome, OutcomeKind
from assay.domain.submission import Priority, State, Submission
from assay.grading.desk import for_learner
from assay.grading.earlier import is_attempt
from assay.grading.results import PartResult, Result, Verdict
from assay.grading.results import TestResult as Tried

HANDED_IN = Submission(
    id="0", owner="", key=None, course="c", task="t", learner="l", priority=Priority.LIVE,
    state=State.WAITING, submitted_at=100.0, environment="python", task_hash="", seed=None,
    attempts=0, claim=0, not_before=None, claimed_at=None, finished_at=None, seconds=None,
)  # fmt: skip


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
    assert shown == test


@pytest.mark.parametrize(
    ("state", "attempts", "counts"),
    [
        (State.WAITING, 0, True),
        (State.LEASED, 1, True),
        (State.DONE, 1, True),
        (State.FAILED, 8, False),
        (State.CANCELLED, 0, False),
        (State.CANCELLED, 1, True),
    ],
)
def test_who_cancels_what_is_being_graded_has_had_that_attempt(
    state: State, attempts: int, counts: bool
) -> None:
    assert is_attempt(replace(HANDED_IN, state=state, attempts=attempts)) is counts
