"""A thousand who follow ask the database no thousand times a second, and hear of each end."""

import asyncio
import time
from typing import Any

import pytest
from tests.grading.queue.conftest import Open, made

from assay.domain.submission import KeptResult, State
from assay.grading.recent import Recent
from assay.grading.submissions import Submissions
from assay.storage.submissions.steps import Ending

FOLLOWERS = 1000
END = KeptResult(result=b"{}", verdict="passed", grade=100.0)


class Asked:
    """Counts the statements of questions."""

    def __init__(self, submissions: Submissions) -> None:
        self.count = 0
        reader = submissions.store._reader
        self._cursor: Any = reader._cursor
        reader._cursor = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, *arguments: Any) -> Any:
        self.count += "FROM" in arguments[0]
        return self._cursor.execute(*arguments)


async def end(submissions: Submissions, count: int) -> None:
    works = await submissions.store.claim("w", count, {})
    endings = [
        Ending(holder="w", submission=each.submission, result=END, seconds=0.1) for each in works
    ]
    await asyncio.gather(*(submissions.store.finish(each) for each in endings))


@pytest.mark.parametrize("distinct", [1, 500])
async def test_a_thousand_who_follow_share_their_questions(
    url: str, open_submissions: Open, distinct: int
) -> None:
    submissions, other = await open_submissions(url), await open_submissions(url)
    receipts = [submissions.submit(made(f"l{nth}")) for nth in range(distinct)]
    names = [each.id for each in await asyncio.gather(*receipts)]
    following = [
        asyncio.ensure_future(submissions.wait_until_over(names[nth % distinct], 60.0))
        for nth in range(FOLLOWERS)
    ]
    await asyncio.sleep(1.0)
    await submissions.counts()  # behind all who have asked how it is now
    asked, started = Asked(submissions), time.monotonic()
    await asyncio.sleep(2.0)
    seconds = time.monotonic() - started
    assert 1 <= asked.count <= (1 + seconds) * (1 + distinct // 200)
    # Another process grades them: SQLite tells nobody of that.
    await end(other, distinct)
    started = time.monotonic()
    found = await asyncio.gather(*following)
    assert time.monotonic() - started < 20.0
    assert {each.state for each in found} == {State.DONE}
    assert asked.count <= 2 * FOLLOWERS


async def test_who_follows_stops_when_the_server_does(submissions: Submissions) -> None:
    receipt = await submissions.submit(made())
    going = True
    following = asyncio.ensure_future(
        submissions.wait_until_over(receipt.id, 60.0, goes_on=lambda: going)
    )
    await asyncio.sleep(0.1)
    going = False
    async with asyncio.timeout(20.0):
        assert (await following).state is State.WAITING


async def test_what_many_ask_at_once_is_asked_once() -> None:
    asked: list[str] = []

    async def ask(name: str) -> int:
        asked.append(name)
        await asyncio.sleep(0.01)
        if name == "bad":
            raise ValueError(name)
        return len(asked)

    recent = Recent(ask, seconds=60.0)
    assert set(await asyncio.gather(*(recent.get("a") for _ in range(100)))) == {1}
    assert await recent.get("a") == 1
    failed = await asyncio.gather(*(recent.get("bad") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(each, ValueError) for each in failed)
    assert asked == ["a", "bad"]
    short = Recent(ask, seconds=0.1)
    assert await short.get("a") == 3
    await asyncio.sleep(0.15)
    assert await short.get("a") == 4
