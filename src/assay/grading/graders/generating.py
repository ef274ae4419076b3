"""Cases that are made anew from each submission's seed."""

from __future__ import annotations

from assay.domain.errors import TaskFault
from assay.grading.attempt import Attempt
from assay.grading.graders.checking import run_of_task
from assay.grading.programs import Program, Uncompiled, build
from assay.grading.tasks.model import Case, Cases, RandomCases


async def random_cases(part: Cases, attempt: Attempt) -> list[Case]:
    """The inputs of a generator with the answers of the reference solution. Raises TaskFault."""
    if part.random is None:
        return []
    solution = await build(attempt, attempt.task.solution)
    if isinstance(solution, Uncompiled):
        raise TaskFault("the reference solution can't be compiled", detail=solution.message)
    return [
        await _case(part.random, attempt, solution, number)
        for number in range(1, part.random.count + 1)
    ]


async def _case(random: RandomCases, attempt: Attempt, solution: Program, number: int) -> Case:
    name = f"random {number}"
    made = await run_of_task(
        attempt,
        (*random.argv, str(attempt.seed), str(number)),
        environment=random.environment,
        what=f"the generator of {name!r}",
    )
    async with attempt.place() as place:
        answered = await solution.run(attempt, place, stdin=made.stdout)
    if not answered.outcome.success:
        raise TaskFault(
            f"the reference solution ended with {answered.outcome} at {name!r},"
            f" with the seed {attempt.seed}"
        )
    return Case(name=name, stdin=made.stdout, expected=answered.stdout, hidden=random.hidden)
