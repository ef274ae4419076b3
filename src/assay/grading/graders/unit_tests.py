"""Unit tests of the teacher's: what their framework says, if it came to its end."""

from __future__ import annotations

from assay.grading.attempt import Attempt
from assay.grading.frameworks.isolated import run_isolated
from assay.grading.marks import of_tests
from assay.grading.results import PartResult
from assay.grading.tasks.model import UnitTests


async def grade_unit_tests(part: UnitTests, attempt: Attempt) -> PartResult:
    """Run all tests. Raises TaskFault for tests that are at fault themselves."""
    tests = await run_isolated(part, attempt)
    return of_tests(part, tests, all_or_nothing=part.all_or_nothing)
