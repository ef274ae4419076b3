"""What submissions are worth: folders with a submission, and what is expected of its grading."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from assay.bootstrap.places import DriverPlaces
from assay.grading.attempt import Attempt
from assay.grading.grade import grade
from assay.grading.joint import Seats
from assay.grading.references import References
from assay.grading.results import Result
from assay.grading.tasks import load_task, submission_of

from .conftest import driver_places, state_folder

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.parent for path in GOLDEN.glob("cases/*/expected.toml"))
AT_ONCE = 3
"""Gradings: those that wait for a limit of time leave a processor to others."""
Gradings = Callable[[Path], asyncio.Task[Result]]

# A busy machine takes a minute for a compiler.
pytestmark = [pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gradings(request: pytest.FixtureRequest) -> AsyncIterator[Gradings]:
    """All cases that were asked for are graded side by side, in the order of the tests."""
    named = {case.name: case for case in CASES}
    wanted = [
        item.callspec.params["case"]  # type: ignore[attr-defined]
        for item in request.session.items
        if item.path == Path(__file__)
    ]
    with state_folder() as state:
        async with driver_places(state) as places:
            turns, references = asyncio.Semaphore(AT_ONCE), References()
            tasks = {
                name: asyncio.create_task(_graded(named[name], places, turns, references))
                for name in wanted
            }
            try:
                yield lambda case: tasks[case.name]
            finally:
                for task in tasks.values():
                    task.cancel()
                await asyncio.gather(*tasks.values(), return_exceptions=True)


async def _graded(
    case: Path, places: DriverPlaces, turns: asyncio.Semaphore, references: References
) -> Result:
    async with turns:
        folder = GOLDEN / "tasks" / tomllib.loads((case / "expected.toml").read_text())["task"]
        task, bundle = load_task(folder)
        files = {name: (case / name).read_bytes() for name in task.files}
        attempt = Attempt(
            task=task, bundle=bundle, seed=1, places=places, references=references,
            submission=submission_of(task, files, {}),
            # With one at a time, whoever waits for a second one while it has one never ends.
            seats=Seats(1),
        )  # fmt: skip
        return await grade(attempt)


@pytest.mark.parametrize("case", [case.name for case in CASES])
async def test_a_submission_is_worth_what_is_expected(case: str, gradings: Gradings) -> None:
    folder = GOLDEN / "cases" / case
    expected = tomllib.loads((folder / "expected.toml").read_text())
    result = await gradings(folder)
    verdicts = {
        part.id: {"verdict": str(part.verdict)}
        | {_last(test.name): str(test.verdict) for test in part.tests}
        for part in result.parts
    }
    assert verdicts == expected["parts"], result
    assert result.grade == expected["grade"]
    said = "\n".join(test.message for part in result.parts for test in part.tests)
    for text in expected.get("says", []):
        assert text in said
    for text in expected.get("never_says", []):
        assert text not in said


def _last(name: str) -> str:
    return name.rpartition("::")[2].rpartition(".")[2]
