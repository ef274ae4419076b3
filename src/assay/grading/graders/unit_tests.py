"""Unit tests of the teacher's: what their framework says, if it came to its end."""

from __future__ import annotations

from assay.grading.attempt import Attempt
from assay.grading.frameworks.isolated import run_isolated
from assay.grading.frameworks.same_process import run_linked
from assay.grading.marks import of_tests
from assay.grading.programs import Uncompiled
from assay.grading.results import PartResult, Verdict
from assay.grading.tasks.model import UnitTests


async def grade_unit_tests(part: UnitTests, attempt: Attempt) -> PartResult:
    """Run all tests. Raises TaskFault for tests that are at fault themselves."""
    run = run_linked if part.same_process else run_isolated
    tests = await run(part, attempt)
    if isinstance(tests, Uncompiled):
        return PartResult(
            id=part.id, verdict=Verdict.FAILED, score=0.0, weight=part.weight,
            message=tests.message,
        )  # fmt: skip
    return of_tests(part, tests, all_or_nothing=part.all_or_nothing)
