"""Real drivers to measure, and a check that measuring leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from assay.bench import Subject
from assay.bootstrap.subjects import open_subject
from assay.config import read_settings


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    missing = os.geteuid() != 0
    for item in items:
        if missing and not os.environ.get("CI") and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture
def state() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="assay-bench-"))
    try:
        yield folder
        left = [*folder.glob("*/sandboxes/*"), *folder.glob("*/run/*"), *folder.glob("users/*")]
        assert left == []
        assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
async def lean(state: Path) -> AsyncIterator[Subject]:
    async with open_subject(read_settings(state=str(state)), "lean") as subject:
        yield subject
