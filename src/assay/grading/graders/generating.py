"""Cases that are made anew from each submission's seed."""

from __future__ import annotations

from assay.domain.errors import TaskFault
from assay.grading.attempt import Attempt
from assay.grading.graders.checking import run_of_task
from assay.grading.programs import Program, Uncompiled, build
from assay.grading.tasks.model import Case, Cases, RandomCases
from assay.grading.together import each


async def random_cases(part: Cases, attempt: Attempt) -> list[Case]:
    """The inputs of a generator with the answers of the reference solution. Raises TaskFault."""
    if part.random is None:
        return []
    solution = await _solution(attempt)
    if isinstance(solution, Uncompiled):
        raise TaskFault("the reference solution can't be compiled", detail=solution.message)
    random = part.random

    async def one(number: int) -> Case:
        return await _case(random, attempt, solution, number)

    numbers = range(1, random.count + 1)
    return await each(one, numbers, at_once=len(numbers))  # the attempt says how many at a time


async def _solution(attempt: Attempt) -> Program | Uncompiled:
    """Compiled once for a version of the task and of what it is compiled with."""
    blueprint = await attempt.blueprint()
    key = attempt.bundle.digest, blueprint.version, attempt.task.limits

    async def make() -> Program:
        made = await build(attempt, attempt.task.solution, by_learner=False)
        if isinstance(made, Uncompiled):
            raise _NotCompiled(made)
        return made

    try:
        program: Program = await attempt.references.once(key, make)
    except _NotCompiled as error:
        return error.uncompiled
    return program


class _NotCompiled(Exception):
    """Not kept: the machine may have been busy."""

    def __init__(self, uncompiled: Uncompiled) -> None:
        super().__init__()
        self.uncompiled = uncompiled


async def _case(random: RandomCases, attempt: Attempt, solution: Program, number: int) -> Case:
    name = f"random {number}"
    made = await run_of_task(
        attempt,
        (*random.argv, str(attempt.seed), str(number)),
        environment=random.environment,
        what=f"the generator of {name!r}",
    )
    async with attempt.place() as place:
        answered = await solution.run(attempt, place, stdin=made.stdout, by_learner=False)
    if not answered.outcome.success:
        raise TaskFault(
            f"the reference solution ended with {answered.outcome} at {name!r},"
            f" with the seed {attempt.seed}"
        )
    return Case(name=name, stdin=made.stdout, expected=answered.stdout, hidden=random.hidden)
