"""Programs of the task that look at an output: each in a sandbox of its own."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from assay.agent.execution import Completed
from assay.agent.files import put_files
from assay.domain.command import Command
from assay.domain.errors import TaskFault
from assay.domain.limits import MIB, ExecutionLimits
from assay.domain.outcome import OutcomeKind
from assay.environments.plan import command_in
from assay.grading.attempt import Attempt
from assay.grading.feedback import block
from assay.grading.places import Place
from assay.grading.programs import entries_of
from assay.grading.tasks.model import Case, Checker

LIMITS: Final = ExecutionLimits(wall_seconds=20, cpu_seconds=10, output_bytes=64 * MIB)
RIGHT, WRONG, PARTLY = 42, 43, 44
"""Exit statuses of a checker, which none has by accident: 0 is that of one that forgot to look, and
1 that of one that broke. With PARTLY the first line of its output is the score."""
_SAID_MOST: Final = 64 * 1024


async def check_by_program(
    checker: Checker, attempt: Attempt, case: Case, output: bytes
) -> tuple[float, str]:
    """The score, and what the checker says to the learner.

    Raises TaskFault for every end of it but those that mean something: it is never taken for right.
    """
    completed = await run_of_task(
        attempt,
        checker.argv,
        environment=checker.environment,
        files={"input": case.stdin, "expected": case.expected or b"", "output": output},
        what=f"the checker, at the case {case.name!r}",
        statuses=(RIGHT, WRONG, PARTLY),
    )
    said = completed.stdout[:_SAID_MOST]
    if completed.outcome.code == PARTLY:
        first, _, said = said.partition(b"\n")
        return _score(first), said.decode(errors="replace").strip()
    score = float(completed.outcome.code == RIGHT)
    return score, said.decode(errors="replace").strip() or ("" if score else "The output is wrong.")


def _score(word: bytes) -> float:
    try:
        score = float(word)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise TaskFault(
            f"the checker ended with {PARTLY}, so the first line of its output is a score from"
            f" 0 to 1, and not {word[:40].decode(errors='replace')!r}"
        )
    return score


async def run_of_task(
    attempt: Attempt,
    argv: tuple[str, ...],
    *,
    what: str,
    environment: str = "",
    files: dict[str, bytes] | None = None,
    statuses: tuple[int, ...] = (0,),
    most: int = MIB,
) -> Completed:
    """Run a program of the task's folder, all of which is there with it, and `files`.

    Raises TaskFault when it doesn't end with one of the statuses.
    """
    async with attempt.place(environment) as place:
        folder = place.blueprint.root.working_folder
        own = entries_of(attempt.bundle.files, attempt.bundle.executable)
        await put_files(place.session.agent, folder, (*own, *entries_of(files or {})))
        completed = await attempt.run(place, _command(place, argv), most=most)
    if completed.outcome.kind is not OutcomeKind.EXITED or completed.outcome.code not in statuses:
        raise TaskFault(
            f"{what}: it ended with {completed.outcome}",
            detail=block(completed.stderr or completed.stdout),
        )
    return completed


def _command(place: Place, argv: tuple[str, ...]) -> Command:
    blueprint = place.blueprint
    made = command_in(blueprint.root, argv, variables=blueprint.variables(), limits=LIMITS)
    return replace(made, last=True)
