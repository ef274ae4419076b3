"""What unit tests share: nothing may be left, and a sandbox of nothing in particular."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay.driver.port import RootFilesystem, SandboxSpec, Secret


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """No test leaves a task or a descriptor behind."""
    tasks = asyncio.all_tasks()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    yield
    for _ in range(20):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - tasks - {asyncio.current_task()}
    assert not left, f"tasks are left: {left}"
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors


@pytest.fixture
def spec() -> SandboxSpec:
    root = RootFilesystem(digest="none", path=Path("/"))
    return SandboxSpec(root=root, secret=Secret(bytes(32)))
