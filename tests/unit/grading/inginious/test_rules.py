"""When and how often a task of INGInious may be handed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from assay.domain.errors import InvalidTask
from assay.grading.inginious.rules import accessible, rules_of
from assay.grading.marks import counted, late_factor


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone()


OPEN: list[tuple[object, str, bool]] = [
    (True, "2026-01-01", True),
    (None, "2026-01-01", True),
    (False, "2026-01-01", False),
    ("2026-01-01", "2025-12-31 23:59:59", False),
    ("2026-01-01", "2026-01-01", True),
    ("2026-01-01 00:00:00/2026-02-01 00:00:00", "2026-02-01", True),
    ("2026-01-01 00:00:00/2026-02-01 00:00:00", "2026-02-01 00:00:01", False),
    ("2026-01-01/2026-02-01/2026-03-01", "2026-02-15", True),
    ("2026-01-01/2026-02-01/2026-03-01", "2026-03-02", False),
    ("/2026-02-01", "1999-01-01", True),
    ("2026-01-01/", "2099-01-01", True),
    ("2026-02-01 10", "2026-02-01 09:59:59", False),
    ("2026-02-01 10:30", "2026-02-01 10:30:00", True),
]


@pytest.mark.parametrize(("said", "when", "is_open"), OPEN)
def test_a_task_is_open_when_its_course_says_so(said: object, when: str, is_open: bool) -> None:
    assert (late_factor(accessible(said, "x"), at(when)) is not None) is is_open


@pytest.mark.parametrize("said", ["soon", "2026-13-01", "1/2/3/4", "2026-01-01/2026-02-01/x"])
def test_what_is_no_time_is_said(said: str) -> None:
    with pytest.raises(InvalidTask, match="accessible"):
        accessible(said, "course.yaml")


def test_a_soft_end_is_shown_and_costs_nothing() -> None:
    rules = accessible("2026-01-01/2026-02-01/2026-03-01", "x")
    assert rules.deadline == at("2026-02-01")
    assert late_factor(rules, at("2026-02-15")) == 1.0


def test_a_task_is_open_while_it_and_its_course_are() -> None:
    task = {"accessible": "2026-01-01/2026-03-01"}
    rules = rules_of(task, "2026-02-01/2026-04-01", archived=False, where="x")
    days = ("2026-01-15", "2026-02-15", "2026-03-15")
    assert [late_factor(rules, at(day)) for day in days] == [None, 1.0, None]
    assert rules_of(task, True, archived=True, where="x").closed
    assert rules_of({"accessible": True}, False, archived=False, where="x").closed


def test_attempts_are_counted_anew_after_each_period() -> None:
    limited = {"submission_limit": {"amount": 2, "period": 24}}
    rules = rules_of(limited, True, archived=False, where="x")
    assert (rules.attempts, rules.per_hours) == (2, 24.0)
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    times = [(begun + timedelta(hours=hours)).timestamp() for hours in (0, 1, 25, 26)]

    def used(hours: float) -> int:
        now = (begun + timedelta(hours=hours)).timestamp()
        return counted([time for time in times if time <= now], rules.per_hours, now)

    assert [used(hours) for hours in (0.5, 2, 24.5, 25.5, 30, 50)] == [1, 2, 0, 1, 2, 0]
    assert counted(times, None, times[-1]) == 4


@pytest.mark.parametrize("limit", [None, "", {"amount": -1, "period": -1}])
def test_no_limit_is_no_limit(limit: object) -> None:
    found = rules_of({"submission_limit": limit}, True, archived=False, where="x")
    assert (found.attempts, found.per_hours) == (None, None)


def test_a_limit_that_is_none_is_said() -> None:
    for limit in ("two", {"amount": "many"}):
        with pytest.raises(InvalidTask, match="submission_limit"):
            rules_of({"submission_limit": limit}, True, archived=False, where="x")
