"""A pool of real sandboxes and a real database, and a check that nothing of them is left."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from real_pool import RealPool, left_over, opened


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    missing = os.geteuid() != 0
    for item in items:
        if missing and not os.environ.get("CI") and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture
def state() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="assay-pool-"))
    try:
        yield folder
        assert left_over(folder) == []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def real(state: Path) -> AsyncIterator[RealPool]:
    async with opened(state) as made:
        yield made
