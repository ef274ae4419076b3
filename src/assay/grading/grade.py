"""Grade one submission."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from assay.domain.errors import TaskFault
from assay.grading.attempt import Attempt
from assay.grading.graders.answers import grade_choice, grade_match
from assay.grading.graders.cases import grade_cases
from assay.grading.graders.lint import grade_lint
from assay.grading.graders.unit_tests import grade_unit_tests
from assay.grading.joint import JointLimitReached
from assay.grading.marks import of_parts
from assay.grading.programs import Program, Uncompiled, build
from assay.grading.results import Delays, PartResult, Result, Verdict
from assay.grading.tasks.model import Cases, Choice, Compiles, Lint, Match, Part, UnitTests

Told = Callable[[PartResult], object]


async def grade(
    attempt: Attempt, *, factor: float = 1.0, on_part: Told = lambda part: None
) -> Result:
    """What the attempt's submission is worth; `on_part` hears of each part when it is known.

    A task that is at fault gives a result with the verdict ERROR. Raises what may be otherwise
    another time: a sandbox that was lost, or can't be had.
    """
    grading = _Grading(attempt, on_part)
    try:
        parts = [await grading.part(part) for part in attempt.task.parts]
        result = of_parts(attempt.task, parts, factor=factor)
    except JointLimitReached as reached:
        result = _used_up(grading, reached)
    except TaskFault as fault:
        result = _at_fault(grading, fault)
    record = attempt.ledger.record(
        digest=attempt.bundle.digest, seed=attempt.seed, factor=factor
    )  # fmt: skip
    return replace(result, delays=grading.delays(), record=record)


def _used_up(grading: _Grading, reached: JointLimitReached) -> Result:
    """All sandboxes together took too much: the learner's fault if learner's programs did."""
    if not reached.by_learner:
        return _at_fault(
            grading, TaskFault(f"the task's own programs took {reached.what} and more")
        )
    message = f"All runs of your program together took more than {reached.what}."
    left = [part for part in grading.attempt.task.parts if part.id not in grading.known]
    parts = [
        PartResult(
            id=part.id, score=0.0, weight=part.weight, message=message,
            verdict=Verdict.NOT_RUN if at else Verdict.TIMED_OUT,
        )
        for at, part in enumerate(left)
    ]  # fmt: skip
    return of_parts(grading.attempt.task, (*grading.known.values(), *parts))


def _at_fault(grading: _Grading, fault: TaskFault) -> Result:
    result = of_parts(grading.attempt.task, ())
    return replace(
        result,
        parts=tuple(grading.known.values()),
        detail="\n\n".join(text for text in (fault.message, fault.detail) if text),
    )


class _Grading:
    """The parts that are known, and the program, which is made when a part wants it."""

    def __init__(self, attempt: Attempt, on_part: Told) -> None:
        self.attempt = attempt
        self.known: dict[str, PartResult] = {}
        self._on_part = on_part
        self._program: Program | Uncompiled | None = None

    def delays(self) -> Delays:
        watch = self.attempt.watch
        watch.stop()
        return Delays(booting=watch.booting, grading=watch.grading)

    async def part(self, part: Part) -> PartResult:
        lacking = [need for need in part.needs if self.known[need].verdict is not Verdict.PASSED]
        result = _not_run(part, lacking) if lacking else await self._grade(part)
        self.known[part.id] = result
        self._on_part(result)
        return result

    async def _grade(self, part: Part) -> PartResult:
        if not isinstance(part, Cases | Compiles):
            return await _OF_OTHERS[type(part)](part, self.attempt)
        if self._program is None:
            self._program = await build(self.attempt, self.attempt.submission.files)
        if isinstance(self._program, Uncompiled):
            return PartResult(
                id=part.id, verdict=Verdict.FAILED, score=0.0, weight=part.weight,
                message=self._program.message,
            )  # fmt: skip
        if isinstance(part, Cases):
            return await grade_cases(part, self.attempt, self._program)
        return PartResult(id=part.id, verdict=Verdict.PASSED, score=1.0, weight=part.weight)


_OF_OTHERS: Final[dict[type, Callable[[Part, Attempt], Awaitable[PartResult]]]] = {
    Choice: grade_choice,  # type: ignore[dict-item]
    Match: grade_match,  # type: ignore[dict-item]
    UnitTests: grade_unit_tests,  # type: ignore[dict-item]
    Lint: grade_lint,  # type: ignore[dict-item]
}


def _not_run(part: Part, lacking: list[str]) -> PartResult:
    return PartResult(
        id=part.id,
        verdict=Verdict.NOT_RUN,
        score=0.0,
        weight=part.weight,
        message=f"This was not tried: {', '.join(lacking)} comes first.",
    )
