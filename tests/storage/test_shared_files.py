"""Files that clients send ahead, in a PostgreSQL of several servers: as `FileCache` keeps them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest

from assay.domain.errors import InvalidInput, StorageError
from assay.storage.shared_files import SharedFiles

ID, OTHER, THIRD = "0123456789abcdef", "fedcba9876543210", "00112233445566778899"
OpenFiles = Callable[..., Awaitable[SharedFiles]]


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
async def open_files(postgres_url: str) -> AsyncIterator[OpenFiles]:
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(**options: object) -> SharedFiles:
            files = await SharedFiles.open(postgres_url, **options)
            stack.push_async_callback(files.aclose)
            return files

        yield open_one


async def test_what_one_server_keeps_the_others_find(open_files: OpenFiles) -> None:
    one, other = await open_files(), await open_files()
    content = bytes(range(256)) * 4096
    await one.put("me", ID, content)
    assert await other.has("me", ID)
    assert await other.get("me", ID) == content
    await other.put("me", ID, b"")
    assert await one.get("me", ID) == b""
    assert await one.get("me", OTHER) is None
    assert not await one.has("me", OTHER)


async def test_an_owner_finds_nothing_of_another_one(open_files: OpenFiles) -> None:
    files = await open_files()
    await files.put("me", ID, b"mine")
    assert (await files.get("you", ID), await files.has("you", ID)) == (None, False)
    await files.put("you", ID, b"yours")
    assert await files.get("me", ID) == b"mine"


async def test_an_id_that_makes_no_sense_is_refused(open_files: OpenFiles) -> None:
    files = await open_files()
    for asked in (files.put("me", "a/b", b""), files.get("me", "a/b"), files.has("me", "a/b")):
        with pytest.raises(InvalidInput):
            await asked


async def test_an_owner_who_sends_much_loses_what_was_used_longest_ago(
    open_files: OpenFiles,
) -> None:
    clock = Clock()
    files = await open_files(most_owner_bytes=3 * 5000, clock=clock)
    await files.put("you", ID, b"y" * 900)
    for each in (ID, OTHER, THIRD):
        await files.put("me", each, b"x" * 900)
    clock.now += 100
    assert await files.get("me", ID) is not None  # so it was used last
    await files.put("me", "abcdefgh", b"x" * 900)
    assert [await files.has("me", each) for each in (ID, OTHER, THIRD, "abcdefgh")] == [
        True, False, True, True,
    ]  # fmt: skip
    assert await files.has("you", ID)
    with pytest.raises(InvalidInput, match="a file has at most"):
        await files.put("me", ID, b"x" * 15_000)


async def test_all_owners_together_have_a_bound(open_files: OpenFiles) -> None:
    files = await open_files(most_bytes=3 * 5000, clock=Clock())
    for owner in "abcde":
        await files.put(owner, ID, b"x" * 900)
    assert [await files.has(owner, ID) for owner in "abcde"] == [False, False, True, True, True]


async def test_what_nobody_wants_goes(open_files: OpenFiles) -> None:
    clock = Clock()
    files = await open_files(unused_seconds=100, clock=clock)
    await files.put("me", ID, b"x")
    clock.now += 200
    await files.put("you", OTHER, b"x")
    assert not await files.has("me", ID)


async def test_servers_that_put_at_once_all_keep_theirs(open_files: OpenFiles) -> None:
    servers = [await open_files() for _ in range(3)]
    ids = [f"{number:08}" for number in range(30)]
    await asyncio.gather(
        *(servers[number % 3].put("me", each, b"x" * 9000) for number, each in enumerate(ids)),
        *(each.put("me", ID, b"same") for each in servers),
    )
    assert all([await servers[0].has("me", each) for each in [*ids, ID]])


async def test_a_connection_that_breaks_is_made_again(
    open_files: OpenFiles, postgres_url: str
) -> None:
    files = await open_files()
    await files.put("me", ID, b"x")
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
    assert await files.get("me", ID) == b"x"
    await files.put("me", OTHER, b"y")
    assert await files.has("me", OTHER)


async def test_closed_files_say_so(open_files: OpenFiles) -> None:
    files = await open_files()
    await files.aclose()
    with pytest.raises(StorageError, match="closed"):
        await files.put("me", ID, b"")
