"""The five delays of a submission's way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.domain.submission import Priority, State, Submission
from assay.grading.delays import of_the_way
from assay.grading.results import Delays

DONE = Submission(
    id="0", owner="", key=None, course="c", task="t", learner="l", priority=Priority.LIVE,
    state=State.DONE, submitted_at=100.0, environment="python", task_hash="", seed=None,
    attempts=1, claim=1, not_before=None, claimed_at=100.5, finished_at=103.0, seconds=2.0,
    received_at=99.0, sending_seconds=1.25, graded_at=102.75, response_seconds=0.5,
)  # fmt: skip
GRADED = Delays(waiting=0.75, booting=0.5, grading=1.5)


def test_they_follow_one_another_and_are_the_whole_way() -> None:
    delays = of_the_way(GRADED, DONE)
    # Kept at 100, durable at 100.25, begun at 100.75.
    assert delays == Delays(sending=1.25, waiting=0.5, booting=0.5, grading=1.5, response=0.5)
    assert DONE.received_at is not None
    assert DONE.graded_at is not None
    whole = delays.sending + delays.waiting + delays.booting + delays.grading
    assert DONE.received_at + whole == pytest.approx(DONE.graded_at)


def test_a_sending_that_seems_to_outlast_the_waiting_leaves_none() -> None:
    assert of_the_way(GRADED, replace(DONE, sending_seconds=9.0)).waiting == 0.0


def test_of_what_was_handed_in_before_they_were_measured_two_are_unknown() -> None:
    before = replace(DONE, received_at=None, sending_seconds=None, response_seconds=None)
    assert of_the_way(GRADED, before) == replace(GRADED, sending=0.0, response=0.0)
