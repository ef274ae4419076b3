"""What `assay grade` shows of a result."""

from __future__ import annotations

from typing import Any

import pytest

from assay.cli.grade import show
from assay.grading.results import PartResult, Result, Verdict
from assay.grading.results import TestResult as Tried


class OfTask:
    """All that is asked of it."""

    id = title = "sum"


@pytest.mark.parametrize("teacher", [False, True])
def test_without_a_grade_hidden_tests_are_shown_to_teachers_alone(
    teacher: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = tuple(
        PartResult(
            id=name, verdict=Verdict.PASSED, score=1.0,
            tests=(Tried(name=f"{name}-1", verdict=Verdict.PASSED, score=1.0, hidden=hidden),),
        )
        for name, hidden in (("open", False), ("secret", True))
    )  # fmt: skip
    task: Any = OfTask()
    show(task, Result(verdict=Verdict.ERROR, grade=None, parts=parts), teacher=teacher)
    told = capsys.readouterr().out
    assert "open-1" in told
    assert ("secret" in told) is teacher
