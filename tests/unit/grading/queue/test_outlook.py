"""What is said to who waits, and what is not known."""

from assay.domain.line import Line
from assay.grading.queue.outlook import outlook

MINE = Line(course="mine", priority=0, waiting=3, seconds=2.0)
OTHER = Line(course="other", priority=0, waiting=10, seconds=2.0)


def test_the_wait_is_the_work_ahead_shared_by_all_workers() -> None:
    found = outlook(MINE, 2, [MINE, OTHER], leased=4, slots=4)
    assert found.ahead == 2 + 2
    assert found.wait_seconds == (4 * 2.0 + 4 * 1.0) / 4
    assert found.grading_seconds == 2.0


def test_where_workers_are_free_nobody_waits() -> None:
    assert outlook(MINE, 0, [MINE], leased=1, slots=4).wait_seconds == 0.0


def test_without_workers_nothing_is_known() -> None:
    assert outlook(MINE, 0, [MINE], leased=0, slots=0).wait_seconds is None


def test_without_measurements_nothing_is_known() -> None:
    line = Line(course="new", priority=0, waiting=9)
    found = outlook(line, 8, [line], leased=2, slots=2)
    assert (found.ahead, found.wait_seconds, found.grading_seconds) == (8, None, None)


def test_of_a_new_course_the_wait_is_known_and_the_grading_is_not() -> None:
    new = Line(course="new", priority=0, waiting=1)
    found = outlook(new, 0, [new, OTHER], leased=2, slots=2)
    assert found.wait_seconds is not None
    assert found.grading_seconds is None


def test_what_is_graded_again_waits_for_all_that_is_live() -> None:
    again = Line(course="mine", priority=1, waiting=5, seconds=1.0)
    assert outlook(again, 0, [MINE, OTHER, again], leased=0, slots=1).ahead == 13
    assert outlook(MINE, 0, [MINE, again], leased=0, slots=1).ahead == 0
