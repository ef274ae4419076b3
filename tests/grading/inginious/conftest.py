"""Tasks of INGInious that were written for these tests, graded in sandboxes of lean."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from assay.bootstrap import Catalogue, open_driver
from assay.bootstrap.places import DriverPlaces
from assay.config import Settings, read_settings
from assay.driver.guard import Guard
from assay.grading.inginious import (
    Environments,
    Graded,
    Submission,
    grade_submission,
    load_task,
)
from assay.grading.script.kit import Answer

HERE = Path(__file__).parent
Grade = Callable[..., Awaitable[Graded]]


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("these tests need root")
        pytest.skip("this needs root")
    # Not below pytest's folder, which every pytest that starts closes to others again.
    with tempfile.TemporaryDirectory(prefix="assay-inginious-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield replace(
            read_settings(variables={}, configuration=folder / "none"), state=folder, driver="lean"
        )


@pytest.fixture
async def driver(settings: Settings) -> AsyncIterator[Guard]:
    async with open_driver(settings, "lean") as driver:
        yield driver
        left = {each: await driver.examine(each) for each in await driver.list()}
        seen = sorted(settings.state.glob("lean/sandboxes/*/*"))
        assert not left, f"left behind: {left}, {seen}"


@pytest.fixture
def grade(settings: Settings, driver: Guard) -> Grade:
    rooms = DriverPlaces(driver, Catalogue(settings))

    async def graded(task: str | Path, **options: object) -> Graded:
        answers: dict[str, Answer] = options.pop("answers", {})  # type: ignore[assignment]
        folder = HERE / "course" / task if isinstance(task, str) else task
        submission = Submission(answers=answers, **options)  # type: ignore[arg-type]
        return await grade_submission(rooms, load_task(folder), submission, Environments())

    return graded
