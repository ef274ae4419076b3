"""Real HTTP to a server on the loopback, and a check that no task is left."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))

from api_server import Serve, served
from left_over import assert_nothing_left
from poseidon_client import ENVIRONMENT, POSEIDONS, PoseidonClient

from assay.api import Services
from assay.bootstrap.server import Server, running_server
from assay.config import Settings
from assay.config.options import Address
from assay.config.server import ConfiguredEnvironment, ServerSettings


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


# --- a whole server with real sandboxes, one for a module of tests ---


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0:
        reason = "needs root"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return tmp_path_factory.mktemp("contract")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(state: Path) -> AsyncIterator[Server]:
    settings = ServerSettings(
        base=Settings(state=state / "state", images=state / "images", driver="lean"),
        listen=Address(host="127.0.0.1", port=0),
        database=f"sqlite:///{state / 'server.db'}",
        allow_host_images=True,
        destroy_on_exit=True,
        drain_seconds=1.0,
        environments=MappingProxyType(
            {name: ConfiguredEnvironment(language=name, pool_size=1) for name in ("bash", "python")}
        ),
    )
    async with running_server(settings) as server:
        yield server
    assert_nothing_left(state)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: Server) -> AsyncIterator[PoseidonClient]:
    async with aiohttp.ClientSession(base_url=f"{server.url}/api/v1/") as session:
        url = f"execution-environments/{ENVIRONMENT}"
        async with session.put(url, json=POSEIDONS) as answer:
            assert (answer.status, await answer.read()) == (201, b"")
        yield PoseidonClient(session)


@pytest_asyncio.fixture(loop_scope="module")
async def runner(client: PoseidonClient) -> AsyncIterator[str]:
    """A runner that is there at the end, too."""
    provided = await client.provide()
    yield provided
    await client.delete(provided)
