"""What trying a task has shown, and what follows from it: functions of results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.grading.results import PartResult, Result, TestResult, Verdict
from assay.grading.tasks.model import Task, UnitTests
from assay.grading.trials.findings import RUNNING, Finding, Severity, error, note, warning
from assay.grading.trials.mutants import Mutant
from assay.grading.trials.submissions import Trial

_ALMOST = 1e-6
NEAR = 0.5
"""Of a limit: who needs more than that fails on a busier machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """One submission, and what became of it."""

    name: str
    verdict: Verdict
    grade: float | None
    seconds: float
    right: bool
    """Whether it ended as it must."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutation:
    """What became of the mutants of the reference solution."""

    made: int
    """Mutants that there are."""
    killed: int = 0
    """That were tried and did not get full marks."""
    survived: tuple[Mutant, ...] = ()
    uncompiled: int = 0
    """That are no programs, and count for nothing."""
    faults: int = 0
    """That broke the task; they count for nothing, either."""
    left: int = 0
    """That were chosen, and not tried for lack of time."""

    @property
    def counted(self) -> int:
        """Those whose end says something about the task."""
        return self.killed + len(self.survived)

    @property
    def score(self) -> float | None:
        """The share of the counted that were killed; None of nothing."""
        return self.killed / self.counted if self.counted else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All about one task."""

    task: str
    digest: str
    environment: str
    tried: tuple[Tried, ...] = ()
    mutation: Mutation | None = None
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether it can be published."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)


def full(result: Result) -> bool:
    """Whether a result has all the marks there are."""
    return result.grade is not None and result.grade >= 100 - _ALMOST


def signature(result: Result) -> list[tuple[str, str, Verdict, float]]:
    """What must be the same whenever the same is graded."""
    return [
        (part.id, name, verdict, round(score, 6))
        for part in result.parts
        for name, verdict, score in (
            ("", part.verdict, part.score),
            *((test.name, test.verdict, test.score) for test in part.tests),
        )
    ]


def of_reference(results: Sequence[Result]) -> Iterator[Finding]:
    """Whether the reference solution has full marks, each time."""
    wrong = [result for result in results if not full(result)]
    if len(wrong) == len(results):
        yield error(
            "reference-fails",
            f"the reference solution does not get full marks: {why(wrong[0])}",
            "mend the solution, or the cases; `assay grade --teacher TASK` shows all of it",
        )
        return
    shaky = sorted({_place(one) for one in _differing(results)})
    if shaky:
        yield error(
            "flaky",
            f"the same submission is not always worth the same: {', '.join(shaky)} differed in"
            f" {len(results)} gradings",
            "make what is tested independent of time, chance and order; give more time if it"
            " lacks some",
        )


def _differing(results: Sequence[Result]) -> set[tuple[str, str]]:
    found: dict[tuple[str, str], set[tuple[Verdict, float]]] = {}
    for result in results:
        for part, test, verdict, score in signature(result):
            found.setdefault((part, test), set()).add((verdict, score))
    tests = {place for place, seen in found.items() if len(seen) > 1 and place[1]}
    return tests or {place for place, seen in found.items() if len(seen) > 1}


def _place(at: tuple[str, str]) -> str:
    part, test = at
    return f"{part} / {test}" if test else part


def why(result: Result) -> str:
    """The first thing that went wrong, in a few words."""
    if result.verdict is Verdict.ERROR:
        return _line(result.detail) or "it could not be graded"
    for part in result.parts:
        for test in part.tests:
            if test.verdict is not Verdict.PASSED:
                return f"{part.id} / {test.name}: {_said(test)}"
        if part.verdict is not Verdict.PASSED:
            return f"{part.id}: {_words(part.verdict)} {_line(part.message)}".strip()
    return _line(result.message) or _words(result.verdict)


def _said(test: TestResult) -> str:
    return f"{_words(test.verdict)}. {_line(test.detail or test.message)}".rstrip()


def _words(verdict: Verdict) -> str:
    return verdict.replace("_", " ")


def _line(text: str) -> str:
    """The first paragraphs of a Markdown, on one line, without its fences."""
    words = text.replace("```text", " ").replace("```", " ").replace("**", "").split()
    line = " ".join(words)
    return line if len(line) <= 300 else f"{line[:299]}…"


def of_trial(trial: Trial, result: Result, passing_grade: float) -> Iterator[Finding]:
    """Whether a submission that is worth nothing got full marks."""
    if result.verdict is Verdict.ERROR:
        yield error(
            "fault",
            f"{trial.name}: the task itself failed: {why(result)}",
            "whatever a learner hands in, checkers end with 42, 43 or 44: let them expect anything",
        )
    elif full(result):
        yield error("full-marks", f"{trial.name} gets full marks", trial.remedy)
    elif result.verdict is Verdict.PASSED:
        yield warning(
            "passes",
            f"{trial.name} gets {result.grade:g} of 100, which suffices to pass"
            f" (passing_grade = {passing_grade:g})",
            trial.remedy,
        )


def of_time(
    results: Sequence[Result], limits: ExecutionLimits, sandbox: SandboxLimits
) -> Iterator[Finding]:
    """Whether the reference solution comes near to a limit. The best of its gradings counts."""
    best = _best(results)
    if not best:
        return
    for what, at, limit in (
        ("time", 0, limits.wall_seconds),
        ("processor time", 1, limits.cpu_seconds),
    ):
        place, most = max(((place, each[at]) for place, each in best.items()), key=lambda p: p[1])
        if limit is not None and most > NEAR * limit:
            yield warning(
                "near-limit",
                f"at {place} the reference solution needs {most:.2g} s of {limit:g} s {what}:"
                " on a busier machine it would fail",
                "give more time in [limits], or a smaller case",
            )
    place, most = max(((place, each[2]) for place, each in best.items()), key=lambda p: p[1])
    if most > 0.8 * sandbox.memory_bytes:
        yield warning(
            "near-limit",
            f"at {place} the reference solution needs {most / MIB:.0f} MiB of"
            f" {sandbox.memory_bytes / MIB:.0f} MiB of memory",
            "give more in [sandbox] memory, or a smaller case",
        )


def _best(results: Sequence[Result]) -> dict[str, tuple[float, float, float]]:
    """Of each test the least time, processor time and memory."""
    best: dict[str, tuple[float, float, float]] = {}
    for result in results:
        for part in result.parts:
            for test in part.tests:
                place, needs = f"{part.id} / {test.name}", _needs(test)
                before = best.get(place, needs)
                best[place] = (
                    min(before[0], needs[0]), min(before[1], needs[1]), min(before[2], needs[2]),
                )  # fmt: skip
    return best


def _needs(test: TestResult) -> tuple[float, float, float]:
    memory = float(test.peak_memory_bytes or 0)
    return test.wall_seconds or 0.0, test.cpu_seconds or 0.0, memory


def slowest(task: Task, results: Sequence[Result]) -> float:
    """Seconds that the reference solution's slowest test takes, at most.

    Of tests that are linked with it nobody knows more than what the whole grading has taken.
    """
    known = max((each[0] for each in _best(results).values()), default=0.0)
    if any(isinstance(part, UnitTests) and part.same_process for part in task.parts):
        return max(known, min(result.delays.grading for result in results))
    return known


def compiled(task: Task, result: Result) -> bool:
    """Whether there was a program at all: one that isn't compiled fails without any test."""
    programs = {part.id for part in task.parts if isinstance(part, RUNNING)}
    return not any(_uncompiled(part) for part in result.parts if part.id in programs)


def _uncompiled(part: PartResult) -> bool:
    return part.verdict is Verdict.FAILED and not part.tests


def of_mutants(mutation: Mutation, threshold: float) -> Iterator[Finding]:
    """Whether small mistakes are found."""
    if mutation.left:
        yield note(
            "mutants-left",
            f"{mutation.left} mutants were not tried: the time was over",
            "give --seconds more, or --mutants less",
        )
    score = mutation.score
    if score is None:
        return
    for mutant in mutation.survived:
        yield note(
            "survivor",
            f"a mistake that no case or test finds: {mutant}",
            "add one in which it makes a difference, unless there is none",
        )
    if 100 * score < threshold:
        yield error(
            "mutation-score",
            f"of {mutation.counted} small mistakes in the reference solution"
            f" {len(mutation.survived)} get full marks: the mutation score is {100 * score:.0f} %,"
            f" less than {threshold:g} %",
            "add cases or tests for what survived (above), hidden ones best",
        )
