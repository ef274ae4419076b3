"""A server that speaks the protocol as it is written down, a client of it, and nothing left."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import assay_client

sys.path.insert(0, str(Path(__file__).parent))

from wire_server import TOKEN, WireServer


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """No test leaves a task or a descriptor behind."""
    tasks = asyncio.all_tasks()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    yield
    for _ in range(50):
        await asyncio.sleep(0.001)
    left = asyncio.all_tasks() - tasks - {asyncio.current_task()}
    assert not left, f"tasks are left: {left}"
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors


@pytest.fixture
async def server(nothing_left: None) -> AsyncIterator[WireServer]:
    made = WireServer()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def client(server: WireServer) -> AsyncIterator[assay_client.Client]:
    patience = assay_client.Patience(request_seconds=2.0, resume_seconds=5.0)
    async with assay_client.Client(server.url, TOKEN, patience=patience) as made:
        yield made


@pytest.fixture
async def runner(client: assay_client.Client) -> AsyncIterator[assay_client.Runner]:
    async with client.runner("python") as made:
        yield made
