"""From tests to parts, from parts to a grade: functions of data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from assay.grading.results import PartResult, Result, TestResult, Verdict
from assay.grading.tasks.model import Common, Rules, Task

_ALMOST = 1e-9
"""Sums of weights such as a third leave so much to be wished."""


def verdict_for(score: float) -> Verdict:
    """What a score is called when there is nothing else to say."""
    if score >= 1 - _ALMOST:
        return Verdict.PASSED
    return Verdict.PARTIAL if score > 0 else Verdict.FAILED


def of_tests(
    part: Common, tests: Sequence[TestResult], *, all_or_nothing: bool = False, message: str = ""
) -> PartResult:
    """A part's result: its tests' scores by their weights. An error of one is the part's.

    Where no test gives marks, the part is called after the first that failed.
    """
    errors = [test for test in tests if test.verdict is Verdict.ERROR]
    weight = sum(test.weight for test in tests)
    score = sum(test.score * test.weight for test in tests) / weight if weight else 0.0
    if all_or_nothing and score < 1 - _ALMOST:
        score = 0.0
    failed = next((test.verdict for test in tests if test.verdict is not Verdict.PASSED), None)
    verdict = verdict_for(score)
    if errors or not tests:
        verdict, score = Verdict.ERROR, 0.0
    elif verdict is Verdict.FAILED and failed not in (None, Verdict.PARTIAL):
        assert failed is not None
        verdict = failed
    return PartResult(
        id=part.id,
        verdict=verdict,
        score=1.0 if verdict is Verdict.PASSED else score,
        weight=part.weight,
        message=message,
        tests=tuple(tests),
    )


def of_parts(task: Task, parts: Sequence[PartResult], *, factor: float = 1.0) -> Result:
    """The whole's result. Closed: with an error anywhere, or a part without a result, no grade."""
    wrong = [part for part in parts if part.verdict is Verdict.ERROR]
    if wrong or [part.id for part in parts] != [part.id for part in task.parts]:
        return Result(verdict=Verdict.ERROR, grade=None, parts=tuple(parts), message=NO_GRADE)
    score = sum(part.score * part.weight for part in parts) / task.weight
    score = 1.0 if score >= 1 - _ALMOST else score
    grade = 100 * score * factor
    verdict = Verdict.PASSED if grade >= task.passing_grade - _ALMOST else verdict_for(score)
    if verdict is Verdict.PASSED and grade < task.passing_grade - _ALMOST:
        verdict = Verdict.PARTIAL  # complete, and late
    return Result(
        verdict=verdict,
        grade=round(grade, 6),
        parts=tuple(parts),
        message="" if factor == 1.0 else f"It was late, and counts {100 * factor:g} %.",
    )


NO_GRADE = "This could not be graded, and that is not your fault. It costs you nothing."


def late_factor(rules: Rules, submitted: datetime) -> float | None:
    """What a submission of that time counts; None: it comes too early or too late."""
    if rules.closed or (rules.opens is not None and submitted < rules.opens):
        return None
    if rules.deadline is None or submitted <= rules.deadline:
        return 1.0
    return next((late.factor for late in rules.late if submitted <= late.until), None)


def counted(times: Sequence[float], hours: float | None, now: float) -> int:
    """How many of the submissions of these times, in seconds, use up what a task allows now.

    `hours`: of a period, which begins with the first one after the period before; None: in all.
    """
    if hours is None:
        return len(times)
    began, count = now, 0
    for time in sorted(times):
        if not count or time - began >= 3600 * hours:
            began, count = time, 0
        count += 1
    return 0 if now - began >= 3600 * hours else count
