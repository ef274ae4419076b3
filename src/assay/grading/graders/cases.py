"""Inputs and outputs: the program runs once for each case, each time in a fresh sandbox.

What is expected never gets into a sandbox with anything of the learner's.
"""

from __future__ import annotations

from assay.agent.execution import Completed
from assay.domain.facts import Measurement
from assay.domain.outcome import OutcomeKind
from assay.grading import feedback
from assay.grading.attempt import Attempt
from assay.grading.checkers import difference
from assay.grading.graders.checking import check_by_program
from assay.grading.graders.generating import random_cases
from assay.grading.marks import of_tests
from assay.grading.patterns import matches
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
    score, wrong, verdict = await _judged(case, checker, attempt, completed)
    return _result(case, completed, score, wrong, verdict)


async def _judged(
    case: Case, checker: Checker, attempt: Attempt, completed: Completed
) -> tuple[float, str, Verdict]:
    """The score, what is wrong in words, and what to call it."""
    outcome = completed.outcome
    if outcome.kind is not OutcomeKind.EXITED:
        return 0.0, feedback.words(outcome), feedback.verdict_of(outcome)
    if case.exit_code is not None and outcome.code != case.exit_code:
        wanted = f" It should have been {case.exit_code}." if case.exit_code else ""
        return 0.0, feedback.words(outcome) + wanted, Verdict.CRASHED
    if case.expected is None:
        return 1.0, "", Verdict.PASSED
    score, wrong = await _compared(case, checker, attempt, completed.stdout)
    if score >= 1:
        return 1.0, wrong, Verdict.PASSED
    return score, wrong, Verdict.PARTIAL if score > 0 else Verdict.FAILED


async def _compared(
    case: Case, checker: Checker, attempt: Attempt, output: bytes
) -> tuple[float, str]:
    assert case.expected is not None
    if checker.kind is CheckerKind.PROGRAM:
        return await check_by_program(checker, attempt, case, output)
    if checker.kind is CheckerKind.PATTERN:
        pattern, text = case.expected.decode(errors="replace"), output.decode(errors="replace")
        found = await matches(pattern.rstrip(), text.rstrip(), ignore_case=checker.ignore_case)
        return (1.0, "") if found else (0.0, "The output has not the form that is asked for.")
    wrong = difference(checker, case.expected, output)
    return (1.0, "") if wrong is None else (0.0, f"The output is wrong: {wrong}.")


def _result(
    case: Case, completed: Completed, score: float, wrong: str, verdict: Verdict
) -> TestResult:
    facts = completed.facts
    detail = "" if verdict is Verdict.PASSED else _shown(case, completed, wrong)
    hint = "" if verdict is Verdict.PASSED else case.hint
    return TestResult(
        name=case.name,
        verdict=verdict,
        score=score,
        weight=case.weight,
        hidden=case.hidden,
        message=hint if case.hidden else feedback.paragraphs(detail, hint),
        detail=detail if case.hidden else "",
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
