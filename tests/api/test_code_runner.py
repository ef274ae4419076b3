"""What CodeRunner does when not all goes well: its requests in their order, and what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from api_server import served, services
from code_runner import CodeRunner
from test_jobe import Keys, Runs, ended, offering

from assay.domain.errors import AssayError, PoolExhausted
from assay.storage.file_cache import FileCache

Moodle = Callable[..., Awaitable[CodeRunner]]
FILES = {"a.txt": b"a", "b.txt": b"b"}


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
async def moodle(runs: Runs, tmp_path: Path) -> AsyncIterator[Moodle]:
    stack: list[Any] = []

    async def opened(key: str | None = None, **changes: Any) -> CodeRunner:
        given = {
            "runners": runs,
            "environments": offering("c", "python"),
            "sent_files": FileCache(tmp_path / "files"),
        }
        server = served(services(**{**given, **changes}))
        base = await server.__aenter__()
        stack.append(server)
        session = aiohttp.ClientSession()
        stack.append(session)
        return CodeRunner(session, base, key=key)

    yield opened
    while stack:
        await stack.pop().__aexit__(None, None, None)


class Forgetful(FileCache):
    """Has lost everything by the time that it is asked."""

    async def get(self, owner: str, file_id: str) -> bytes | None:
        return None


class Full(FileCache):
    """Has no room."""

    async def put(self, owner: str, file_id: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")


async def test_what_makes_no_sense_is_400_and_a_string(moodle: Moodle) -> None:
    client = await moodle()
    for language, parameters in (("octave", None), ("c", {"cputime": 1000}), ("c", {"runargs": 1})):
        verdict = await client.execute("x", language, parameters=parameters)
        assert (verdict.error, type(client.told)) == (400, str)
    assert client.sent == ["POST runs"] * 3  # none of them is tried again


async def test_a_wrong_key_is_403_and_no_file_is_sent(moodle: Moodle) -> None:
    client = await moodle(key="wrong", authenticator=Keys())
    assert (await client.execute("x", "c", files=FILES)).error == 403
    assert isinstance(client.told, str)
    assert await client.languages() == []
    assert client.sent == ["POST runs", "GET languages"]


async def test_the_right_key_sends_its_files_after_404(moodle: Moodle, runs: Runs) -> None:
    client = await moodle(key="mine", authenticator=Keys())
    runs.results = [ended(stdout=b"ab")]
    assert (await client.execute("x", "c", files=FILES)).output == "ab"
    assert client.sent == ["POST runs", "PUT files", "PUT files", "POST runs"]
    [(_, request)] = runs.asked
    assert {each.path: each.content for each in request.files} == FILES


async def test_files_that_are_lost_again_are_told_once_more(moodle: Moodle, tmp_path: Path) -> None:
    client = await moodle(sent_files=Forgetful(tmp_path))
    assert (await client.execute("x", "c", files=FILES)).error == 404
    assert client.sent == ["POST runs", "PUT files", "PUT files", "POST runs"]


async def test_a_file_that_cannot_be_kept_ends_it(moodle: Moodle, tmp_path: Path) -> None:
    client = await moodle(sent_files=Full(tmp_path))
    assert (await client.execute("x", "c", files=FILES)).error == 507
    assert client.sent == ["POST runs", "PUT files"]


async def test_an_empty_file_is_a_file(moodle: Moodle, runs: Runs) -> None:
    client = await moodle()
    assert (await client.execute("x", "c", files={"empty": b""})).error is None
    [(_, request)] = runs.asked
    assert [(each.path, each.content) for each in request.files] == [("empty", b"")]


async def test_too_many_requests_are_429(moodle: Moodle) -> None:
    keys = Keys()
    client = await moodle(key="mine", authenticator=keys)
    keys.limited = True
    assert (await client.execute("x", "c")).error == 429
    assert isinstance(client.told, str)
    assert client.sent == ["POST runs"]


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [(PoolExhausted("no sandbox"), 200, 21), (AssayError("broken"), 200, 20)],
)
async def test_what_goes_wrong_inside_is_an_outcome(
    moodle: Moodle, runs: Runs, error: Exception, status: int, outcome: int
) -> None:
    client = await moodle()
    runs.results = [error]
    await client.execute("x", "c")
    assert (client.status, client.told["outcome"]) == (status, outcome)
