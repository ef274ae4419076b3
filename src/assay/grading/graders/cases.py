"""Inputs and outputs: the program runs once for each case, each time in a fresh sandbox.

What is expected never gets into a sandbox with anything of the learner's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from assay.agent.execution import Completed
from assay.domain.facts import Measurement
from assay.domain.outcome import OutcomeKind
from assay.grading import feedback
from assay.grading.attempt import Attempt
from assay.grading.checkers import difference
from assay.grading.graders.checking import check_by_program
from assay.grading.graders.generating import random_cases
from assay.grading.marks import of_tests
from assay.grading.patterns import matches, too_slow
from assay.grading.programs import Program
from assay.grading.results import PartResult, TestResult, Verdict
from assay.grading.tasks.model import Case, Cases, Checker, CheckerKind
from assay.grading.together import each


async def grade_cases(part: Cases, attempt: Attempt, program: Program) -> PartResult:
    """Run every case, as many at a time as the attempt allows."""
    cases = (*part.cases, *await random_cases(part, attempt))

    async def one(case: Case) -> TestResult:
        return await _grade(case, part.checker, attempt, program)

    tests = await each(one, cases, at_once=len(cases))  # the attempt says how many at a time
    return of_tests(part, tests, all_or_nothing=part.all_or_nothing)


async def _grade(case: Case, checker: Checker, attempt: Attempt, program: Program) -> TestResult:
    async with attempt.place() as place:
        completed = await program.run(
            attempt, place, arguments=case.arguments, files=case.files, stdin=case.stdin
        )
    return _result(case, completed, await _judged(case, checker, attempt, completed))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judged:
    """What a run is worth."""

    score: float
    verdict: Verdict
    wrong: str = ""
    """In words."""
    remark: str = ""
    """For teachers."""


async def _judged(case: Case, checker: Checker, attempt: Attempt, completed: Completed) -> _Judged:
    outcome = completed.outcome
    if outcome.kind is not OutcomeKind.EXITED:
        wrong = feedback.words(outcome)
        return _Judged(score=0.0, verdict=feedback.verdict_of(outcome), wrong=wrong)
    if case.exit_code is not None and outcome.code != case.exit_code:
        wanted = f" It should have been {case.exit_code}." if case.exit_code else ""
        wrong = feedback.words(outcome) + wanted
        return _Judged(score=0.0, verdict=Verdict.CRASHED, wrong=wrong)
    if case.expected is None:
        return _Judged(score=1.0, verdict=Verdict.PASSED)
    if checker.kind is CheckerKind.PATTERN:
        return await _matched(case.expected, checker, completed.stdout)
    score, wrong = await _compared(case, checker, attempt, completed.stdout)
    if score >= 1:
        return _Judged(score=1.0, verdict=Verdict.PASSED, wrong=wrong)
    verdict = Verdict.PARTIAL if score > 0 else Verdict.FAILED
    return _Judged(score=score, verdict=verdict, wrong=wrong)


async def _matched(expected: bytes, checker: Checker, output: bytes) -> _Judged:
    """An output so long that nobody knows in time is wrong: else whoever prints it asks freely."""
    pattern, text = (each.decode(errors="replace").rstrip() for each in (expected, output))
    found = await matches(pattern, text, ignore_case=checker.ignore_case)
    if found:
        return _Judged(score=1.0, verdict=Verdict.PASSED)
    return _Judged(
        score=0.0,
        verdict=Verdict.FAILED,
        wrong="The output has not the form that is asked for.",
        remark=f"It counts as wrong: {too_slow(pattern, text)}." if found is None else "",
    )


async def _compared(
    case: Case, checker: Checker, attempt: Attempt, output: bytes
) -> tuple[float, str]:
    assert case.expected is not None
    if checker.kind is CheckerKind.PROGRAM:
        return await check_by_program(checker, attempt, case, output)
    wrong = await asyncio.to_thread(difference, checker, case.expected, output)
    return (1.0, "") if wrong is None else (0.0, f"The output is wrong: {wrong}.")


def _result(case: Case, completed: Completed, judged: _Judged) -> TestResult:
    facts, passed = completed.facts, judged.verdict is Verdict.PASSED
    said = "" if passed else _shown(case, completed, judged.wrong)
    hint = "" if passed else case.hint
    return TestResult(
        name=case.name,
        verdict=judged.verdict,
        score=judged.score,
        weight=case.weight,
        hidden=case.hidden,
        message=hint if case.hidden else feedback.paragraphs(said, hint),
        detail=feedback.paragraphs(judged.remark, said if case.hidden else ""),
        outcome=completed.outcome,
        wall_seconds=_seconds(facts.wall_ns),
        cpu_seconds=_seconds(facts.cpu_ns),
        peak_memory_bytes=facts.peak_memory_bytes.value if facts.peak_memory_bytes else None,
    )


def _shown(case: Case, completed: Completed, wrong: str) -> str:
    arguments = " ".join(case.arguments)
    return feedback.paragraphs(
        wrong,
        feedback.section("Arguments", arguments) if arguments else "",
        feedback.section("Input", case.stdin) if case.stdin else "",
        feedback.section("Expected", case.expected) if case.expected is not None else "",
        feedback.section("Got", completed.stdout),
        feedback.section("Errors", completed.stderr) if completed.stderr else "",
    )


def _seconds(measured: Measurement | None) -> float | None:
    return None if measured is None else measured.value / 1e9
