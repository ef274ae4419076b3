"""Runners over real sandboxes, of which nothing may be left."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from .hosting import Hosting, hosting


@pytest.fixture
def state() -> Iterator[Path]:
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("this needs root")
        pytest.skip("this needs root")
    folder = Path(tempfile.mkdtemp(prefix="assay-runners-"))
    try:
        yield folder
        left = [*(folder / "users").glob("*"), *folder.glob("*/sandboxes/*")]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        left += [line for line in mounts if str(folder) in line]
        assert left == []
    finally:
        shutil.rmtree(folder)


@pytest.fixture
async def server(state: Path) -> AsyncIterator[Hosting]:
    tasks = asyncio.all_tasks()
    async with hosting(state) as made:
        yield made
        for runner in made.runners.all():
            await made.runners.delete(runner.id)
    for _ in range(10):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() - tasks - {asyncio.current_task()} == set()
