"""Linters: feedback, and marks for what they don't find. Nothing of the learner's is run."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from assay.agent.execution import Completed
from assay.agent.files import put_files
from assay.domain.errors import TaskFault
from assay.domain.limits import MIB, ExecutionLimits
from assay.domain.outcome import OutcomeKind
from assay.environments.plan import command_in
from assay.grading import feedback
from assay.grading.attempt import Attempt
from assay.grading.linters import (
    LINTERS,
    Finding,
    Linter,
    Unreadable,
    score,
    silenced,
)
from assay.grading.marks import verdict_for
from assay.grading.programs import entries_of
from assay.grading.results import PartResult, Verdict
from assay.grading.tasks.model import Lint

LIMITS: Final = ExecutionLimits(wall_seconds=60, cpu_seconds=60, output_bytes=4 * MIB)
_SHOWN: Final = 50


async def grade_lint(part: Lint, attempt: Attempt) -> PartResult:
    """What is found costs marks by its severity. Raises TaskFault when the linter can't work."""
    linter = LINTERS[part.tool]
    files = {n: each for n, each in attempt.submission.files.items() if n.endswith(linter.endings)}
    if not files:
        raise TaskFault(
            f"no file is handed in that {part.tool} reads: {' or '.join(linter.endings)}"
        )
    completed = await _run(part, linter, attempt, tuple(files))
    kind = completed.outcome.kind
    if kind in (OutcomeKind.TIMED_OUT, OutcomeKind.OUT_OF_MEMORY, OutcomeKind.OUTPUT_LIMIT):
        message = f"The linter could not read this. {feedback.words(completed.outcome)}"
        return _result(part, feedback.verdict_of(completed.outcome), 0.0, message)
    findings = _findings(part, linter, completed)
    searched = attempt.submission.files if linter.includes else files
    findings += [each for name in searched for each in silenced(linter, name, searched[name])]
    reached = score(findings, part.weights, part.most)
    return _result(part, verdict_for(reached), reached, _said(findings))


async def _run(part: Lint, linter: Linter, attempt: Attempt, names: tuple[str, ...]) -> Completed:
    async with attempt.place(part.environment) as place:
        root, agent = place.blueprint.root, place.session.agent
        everything = {**attempt.task.given, **attempt.submission.files}
        await put_files(agent, root.working_folder, entries_of(everything))
        operands = tuple(name if name[0].isalnum() else f"./{name}" for name in names)
        argv = (*linter.argv, *part.arguments, *operands)
        made = command_in(root, argv, variables=place.blueprint.variables(), limits=LIMITS)
        return await attempt.run(place, replace(made, last=True), most=4 * MIB, by_learner=True)


def _findings(part: Lint, linter: Linter, completed: Completed) -> list[Finding]:
    """Closed: a linter that found nothing and says that it has has not worked."""
    code = completed.outcome.code
    try:
        findings = list(linter.read(completed.stdout, completed.stderr))
    except Unreadable as error:
        findings, code = [], None
        completed = replace(completed, stderr=completed.stderr or str(error).encode())
    if code not in linter.statuses or (code and not findings):
        raise TaskFault(
            f"{part.tool} ended with {completed.outcome}; is it in the environment, and are"
            " its arguments right?",
            detail=feedback.block(completed.stderr or completed.stdout),
        )
    return findings


def _said(findings: list[Finding]) -> str:
    if not findings:
        return ""
    lines = [str(each) for each in findings[:_SHOWN]]
    left = len(findings) - len(lines)
    more = [f"… and {left} more"] if left else []
    return feedback.block("\n".join((*lines, *more)), most=16_000)


def _result(part: Lint, verdict: Verdict, reached: float, message: str) -> PartResult:
    return PartResult(
        id=part.id, verdict=verdict, score=reached, weight=part.weight, message=message
    )
