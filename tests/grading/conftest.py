"""Graders over real sandboxes, of which nothing may be left."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from assay.bootstrap import Catalogue, open_driver
from assay.bootstrap.places import DriverPlaces
from assay.config import read_settings
from assay.grading.attempt import Attempt
from assay.grading.grade import grade
from assay.grading.joint import Seats
from assay.grading.results import Result
from assay.grading.tasks import load_task, submission_of

Grade = Callable[..., Awaitable[Result]]
GradeIn = Callable[..., Awaitable[Result]]

# Learners' programs and teachers' tests, none of which is ours to run.
collect_ignore = ["golden"]


@contextlib.contextmanager
def state_folder() -> Iterator[Path]:
    """A folder in which nothing may be left."""
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("this needs root")
        pytest.skip("this needs root")
    folder = Path(tempfile.mkdtemp(prefix="assay-grading-"))
    try:
        yield folder
        left = [*(folder / "users").glob("*"), *folder.glob("*/sandboxes/*")]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        left += [line for line in mounts if str(folder) in line]
        assert left == []
    finally:
        shutil.rmtree(folder)


@contextlib.asynccontextmanager
async def driver_places(state: Path) -> AsyncIterator[DriverPlaces]:
    """Sandboxes of lean."""
    settings = read_settings(state=str(state), variables={}, configuration=Path("/nonexistent"))
    async with open_driver(settings, "lean") as driver:
        yield DriverPlaces(driver, Catalogue(settings))


@pytest.fixture
def state() -> Iterator[Path]:
    with state_folder() as folder:
        yield folder


@pytest.fixture
async def places(state: Path) -> AsyncIterator[DriverPlaces]:
    async with driver_places(state) as places:
        yield places


@pytest.fixture
def grade_in(places: DriverPlaces) -> GradeIn:
    """Grade files for the task of a folder."""

    async def grade_in(
        folder: Path,
        files: Mapping[str, bytes],
        *,
        answers: Mapping[str, object] | None = None,
        seed: int = 1,
        parallel: int = 2,
    ) -> Result:
        task, bundle = load_task(folder)
        attempt = Attempt(
            task=task, bundle=bundle, seed=seed, places=places,
            submission=submission_of(task, files, answers or {}),
            seats=Seats(parallel),
        )  # fmt: skip
        return await grade(attempt)

    return grade_in


@pytest.fixture
def graded(grade_in: GradeIn, tmp_path: Path) -> Grade:
    """Grade files for a task that is written down first."""

    async def graded(
        task: Mapping[str, str], files: Mapping[str, str | bytes], **options: Any
    ) -> Result:
        folder = tmp_path / "task"
        for name, content in task.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        contents = {
            name: text.encode() if isinstance(text, str) else text for name, text in files.items()
        }
        return await grade_in(folder, contents, **options)

    return graded
