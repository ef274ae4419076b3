"""Real gradings, in sandboxes of `lean`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from assay.bootstrap import Catalogue, open_driver
from assay.bootstrap.places import DriverPlaces
from assay.config import Settings
from assay.grading.attempt import Attempt
from assay.grading.grade import grade
from assay.grading.results import Result
from assay.grading.tasks import load_task, submission_of

Grading = Callable[[Path, Mapping[str, bytes]], Awaitable[Result]]


def grading_in(state: Path) -> Grading:
    """Grades files for the task of a folder, each time with a driver of its own."""
    settings = Settings(state=state, images=state / "images", driver="lean")

    async def run(folder: Path, files: Mapping[str, bytes]) -> Result:
        task, bundle = load_task(folder)
        async with open_driver(settings, "lean") as driver:
            attempt = Attempt(
                task=task, bundle=bundle, submission=submission_of(task, files, {}),
                places=DriverPlaces(driver, Catalogue(settings)), seed=1,
                # With one at a time, whoever waits for a second one while it has one never ends.
                parallel=asyncio.Semaphore(1),
            )  # fmt: skip
            return await grade(attempt)

    return run
