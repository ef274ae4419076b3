"""Real HTTP to a server on the loopback, and a check that no task is left."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from api_server import Serve, served

from assay.api import Services


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    tasks = asyncio.all_tasks()
    yield
    for _ in range(50):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - tasks - {asyncio.current_task()}
    assert not left, f"tasks are left: {left}"


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Opens a client session whose base is the server."""
    stack: list[Any] = []

    async def opened(services: Services) -> aiohttp.ClientSession:
        server = served(services)
        base = await server.__aenter__()
        stack.append(server)
        session = aiohttp.ClientSession(base_url=f"{base}/api/v1/")
        stack.append(session)
        return session

    yield opened
    while stack:
        await stack.pop().__aexit__(None, None, None)
