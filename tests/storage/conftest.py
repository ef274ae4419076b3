"""Databases for the tests: SQLite's files, and a PostgreSQL server of the tests' own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.storage.postgres import Postgres, postgres_of_tests

from assay.storage.database import Storage
from assay.storage.events import Event

Open = Callable[..., Awaitable[Storage]]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with postgres_of_tests() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    return postgres.empty_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that is not there yet, or is empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/assay.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def open_storage(events: list[Event]) -> AsyncIterator[Open]:
    """Open storages that are closed at the end of the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(url: str) -> Storage:
            storage = await Storage.open(url, on_event=events.append)
            stack.push_async_callback(storage.aclose)
            return storage

        yield open_one


@pytest.fixture
async def storage(url: str, open_storage: Open) -> Storage:
    return await open_storage(url)


@pytest.fixture(autouse=True)
async def nothing_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """No test leaves a task, a descriptor or a connection behind."""
    if "postgres" in request.fixturenames:
        request.getfixturevalue("postgres")
    tasks = asyncio.all_tasks()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    yield
    for _ in range(20):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - tasks - {asyncio.current_task()}
    assert not left, f"tasks are left: {left}"
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors
