"""What was over long enough ago is forgotten, a little at a time, and nothing else ever."""

import asyncio
import contextlib

import pytest
from tests.grading.queue.conftest import Open, made
from tests.grading.queue.test_regrades import courses, regrades

from assay.domain.errors import NotFound
from assay.domain.submission import KeptResult, State
from assay.grading import submissions as queue
from assay.grading.events import Forgotten
from assay.grading.regrading.regrades import Applying, Regrades
from assay.grading.regrading.wish import Wish
from assay.grading.submissions import Submissions
from assay.grading.webhooks.registrations import Registrations
from assay.storage.kind import Cursor
from assay.storage.submissions import steps
from assay.storage.submissions.steps import Ending

__all__ = ["courses", "regrades"]

DAY = 86_400.0
END = KeptResult(
    result=b'{"verdict": "passed", "grade": 100.0}', verdict="passed", grade=100.0, archive=b"kept"
)


async def graded(submissions: Submissions, count: int, *, days_ago: float) -> list[str]:
    receipts = [submissions.submit(made(f"l{nth}")) for nth in range(count)]
    names = [each.id for each in await asyncio.gather(*receipts)]
    works = await submissions.store.claim("w", count, {})
    endings = [
        Ending(holder="w", submission=each.submission, result=END, seconds=0.1) for each in works
    ]
    await asyncio.gather(*(submissions.store.finish(each) for each in endings))
    at = submissions.store.clock() - days_ago * DAY

    def age(cursor: Cursor) -> None:
        ids = ", ".join(f"'{name}'" for name in names)
        cursor.execute(f"UPDATE submission SET finished_at = {at} WHERE id IN ({ids})")

    await submissions.store._write("age", age)
    return names


async def test_what_is_old_goes_in_small_steps_and_what_is_new_or_waits_stays(
    submissions: Submissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "PURGED_AT_ONCE", 10)
    monkeypatch.setattr(queue, "PURGE_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(queue, "SECONDS_BETWEEN_PURGES", 0.1)
    old = await graded(submissions, 45, days_ago=31)
    new = await graded(submissions, 3, days_ago=29)
    sizes: list[int] = []
    purge = submissions.store.purge

    async def counted(before: float) -> int:
        sizes.append(await purge(before))
        return sizes[-1]

    monkeypatch.setattr(submissions.store, "purge", counted)
    events: list[Forgotten] = []
    forgetting = asyncio.ensure_future(submissions.forget_old(30 * DAY, events.append))
    try:
        async with asyncio.timeout(10):
            while not events:  # noqa: ASYNC110  # what a database does is no event
                await asyncio.sleep(0.02)
        later = await graded(submissions, 2, days_ago=31)
        async with asyncio.timeout(10):
            while len(events) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        waits = (await submissions.submit(made("waits"))).id
        await asyncio.sleep(0.3)
    finally:
        forgetting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await forgetting
    assert [each.submissions for each in events] == [45, 2]
    assert [size for size in sizes if size] == [10, 10, 10, 10, 5, 2]
    for name in (*old, *later):
        with pytest.raises(NotFound):
            await submissions.get(name)
        with pytest.raises(NotFound):  # what learners wrote is theirs
            await submissions.content(name)
        assert await submissions.result(name) is None
        with pytest.raises(NotFound):
            await submissions.archive(name, 0)
    assert {each.id for each in await submissions.page()} == {*new, waits}
    assert await submissions.archive(new[0], 0) == b"kept"
    assert (await submissions.get(waits)).state is State.WAITING


async def test_a_database_that_is_away_ends_no_forgetting(
    url: str, open_submissions: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    submissions = await open_submissions(url)
    monkeypatch.setattr(queue, "SECONDS_BETWEEN_PURGES", 0.05)
    await submissions.aclose()  # what is asked of it now fails
    forgetting = asyncio.ensure_future(submissions.forget_old(DAY, lambda _: None))
    await asyncio.sleep(0.3)
    assert not forgetting.done()
    forgetting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await forgetting


async def test_with_a_submission_go_the_messages_about_it(submissions: Submissions) -> None:
    hooks = Registrations(store=submissions.store, allowed=("127.0.0.0/8",))
    hook = await hooks.add("algebra", "http://127.0.0.1:9/", ["submission.graded"])
    old = await graded(submissions, 3, days_ago=31)
    new = await graded(submissions, 2, days_ago=29)

    async def told() -> set[str]:
        log = await hooks.log("algebra", hook.id, before=None, most=100)
        return {each.submission for each in log}

    assert await told() == {*old, *new}
    assert await submissions.purge(submissions.store.clock() - 30 * DAY) == 3
    assert await told() == set(new)


async def test_what_a_campaign_has_graded_again_goes_with_it_and_not_before_it_is_over(
    regrades: Regrades, submissions: Submissions
) -> None:
    (name,) = await graded(submissions, 1, days_ago=31)
    started = await regrades.start(Wish(course="algebra"))
    before = submissions.store.clock() - 30 * DAY
    assert await submissions.purge(before) == 0
    (work,) = await submissions.store.claim("w", 1, {})
    assert await submissions.store.finish(
        Ending(holder="w", submission=work.submission, result=END, seconds=0.1)
    )
    assert await submissions.purge(before) == 0, "it has not been decided upon"
    await regrades.apply(started.id, Applying(), by="")
    assert await submissions.purge(before) == 1
    with pytest.raises(NotFound):
        await submissions.get(name)
    assert await submissions.store.campaigns.history(name) == []
