"""Messages of what became of submissions: none is lost, none is sent by two, none waits for others.

Receivers are on this machine's loopback, which is allowed for the tests.
"""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from tests.grading.queue.conftest import Open, made

from assay.domain.errors import InvalidInput
from assay.domain.submission import KeptResult, State
from assay.domain.webhook import Delivery, DeliveryState
from assay.grading.submissions import Submissions
from assay.grading.webhooks.names import Names
from assay.grading.webhooks.post import Posting
from assay.grading.webhooks.registrations import Registrations, Wanted
from assay.grading.webhooks.sender import Sender
from assay.grading.webhooks.signature import sign
from assay.storage.kind import Cursor
from assay.storage.submissions import results
from assay.storage.submissions.outbox import delivery_values
from assay.storage.submissions.steps import Ending

LOOPBACK = ("127.0.0.0/8",)
EVENTS = ["submission.graded", "submission.failed", "submission.cancelled"]
Got = list[tuple[web.BaseRequest, bytes]]


@contextlib.asynccontextmanager
async def receiver(
    got: Got, answer: Callable[[], Awaitable[web.Response]] | None = None
) -> AsyncIterator[str]:
    async def take(request: web.BaseRequest) -> web.Response:
        got.append((request, await request.read()))
        return web.Response(status=204) if answer is None else await answer()

    runner = web.ServerRunner(web.Server(take), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def sending(*each: Submissions) -> AsyncIterator[None]:
    tell = Posting(Names())
    tasks = [asyncio.create_task(Sender(one, tell, allowed=LOOPBACK).run()) for one in each]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def registered(submissions: Submissions) -> Registrations:
    return Registrations(store=submissions.store, allowed=LOOPBACK)


async def graded(submissions: Submissions, count: int, *, state: State = State.DONE) -> list[str]:
    receipts = await asyncio.gather(
        *(submissions.submit(made(f"learner{nth}")) for nth in range(count))
    )
    made_of = json.dumps({"verdict": "partial", "grade": 75.0}).encode()
    result = KeptResult(result=made_of, verdict="partial", grade=75.0)
    endings = [
        Ending(holder="tester", submission=work.submission, result=result, seconds=0.1, state=state)
        for work in await submissions.store.claim("tester", count, {})
    ]
    await asyncio.gather(*(submissions.store.finish(each) for each in endings))  # fmt: skip
    return [each.id for each in receipts]


async def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  # what a database says is no event
            await asyncio.sleep(0.02)


async def logged(hooks: Registrations, name: str, least: int) -> list[Delivery]:
    """Those that were answered, once it is written of so many; that is a moment later."""
    async with asyncio.timeout(20):
        while True:
            log = await hooks.log("algebra", name, before=None, most=100)
            answered = [each for each in log if each.last_status is not None]
            if len(answered) >= least:
                return answered
            await asyncio.sleep(0.02)


async def test_a_grade_is_told_signed_and_small(submissions: Submissions) -> None:
    got: Got = []
    async with receiver(got) as url, sending(submissions):
        hooks = registered(submissions)
        hook = await hooks.add("algebra", url, EVENTS)
        await hooks.add("geometry", url, EVENTS)
        (name,) = await graded(submissions, 1)
        await until(lambda: bool(got))
        ((request, body),) = got
        sent = request.headers
        signed = sign(hook.secret, sent["webhook-id"], int(sent["webhook-timestamp"]), body)
        assert sent["webhook-signature"] == signed
        said = json.loads(body)
        assert said["type"] == "submission.graded"
        assert (said["data"]["submission"], said["data"]["grade"]) == (name, 75.0)
        assert said["data"]["links"] == {"submission": f"/api/v1/submissions/{name}"}
        rotated = await hooks.rotate("algebra", hook.id)
        assert (rotated.secret != hook.secret, rotated.former_secret) == (True, hook.secret)
        await hooks.test("algebra", hook.id)
        await until(lambda: len(got) == 2)
        assert len(got[1][0].headers["webhook-signature"].split()) == 2
        log = await logged(hooks, hook.id, 2)
        assert [(each.event, each.state, each.last_status) for each in log] == [
            ("webhook.test", DeliveryState.DELIVERED, 204),
            ("submission.graded", DeliveryState.DELIVERED, 204),
        ]


async def test_what_was_graded_while_nobody_sent_is_told_and_by_one_of_several(
    url: str, open_submissions: Open
) -> None:
    """The messages are in the database: who was killed with the sender in its process lost none."""
    first, got = await open_submissions(url), Got()
    async with receiver(got) as address:
        await registered(first).add("algebra", address, EVENTS)
        names = await graded(first, 12)
        assert await first.cancel((await first.submit(made("eve"))).id)
        await first.aclose()
        others = [await open_submissions(url), await open_submissions(url)]
        async with sending(*others):
            await until(lambda: len(got) >= 13)
            await asyncio.sleep(0.5)
        said = [json.loads(body) for _, body in got]
        assert len(said) == 13
        about = {each["data"]["submission"] for each in said}
        assert set(names) < about
        assert sorted({each["type"] for each in said}) == [
            "submission.cancelled", "submission.graded",
        ]  # fmt: skip


async def test_who_hangs_delays_nobody_and_who_fails_is_tried_again(
    submissions: Submissions,
) -> None:
    hung, got, failed = Got(), Got(), Got()

    over = asyncio.Event()

    async def hang() -> web.Response:
        await over.wait()
        return web.Response()

    async def redirect() -> web.Response:
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:9/"})

    async with (
        receiver(hung, hang) as bad, receiver(got) as good, receiver(failed, redirect) as wrong,
        sending(submissions),
    ):  # fmt: skip
        hooks = registered(submissions)
        await hooks.add("algebra", bad, EVENTS)
        third = await hooks.add("algebra", wrong, ["submission.graded"])
        await hooks.add("algebra", good, EVENTS)
        await graded(submissions, 20)
        await until(lambda: len(got) == 20, seconds=8.0)
        assert len(hung) <= 4
        tried = await logged(hooks, third.id, 1)
        assert {(each.last_status, each.state) for each in tried} == {(307, DeliveryState.WAITING)}
        switched = await hooks.change("algebra", third.id, Wanted(active=False))
        assert switched.disabled_at is not None
        over.set()
    assert len({body for _, body in got}) == 20


async def test_what_is_next_is_found_by_an_index_however_much_waits(
    submissions: Submissions,
) -> None:
    hooks = registered(submissions)
    hook = await hooks.add("algebra", "http://127.0.0.1:9/", EVENTS)
    off = await hooks.add("algebra", "http://127.0.0.1:9/", EVENTS)
    webhooks = submissions.store.webhooks
    assert await webhooks.next_at() is None

    def least_seconds(cursor: Cursor) -> float:
        taken = []
        for _ in range(200):
            started = time.perf_counter()
            webhooks._next.rows(cursor)
            taken.append(time.perf_counter() - started)
        return min(taken)

    before = await submissions.store._ask("time", least_seconds)
    now = submissions.store.clock()

    def fill(cursor: Cursor) -> None:
        for webhook, at in ((hook.id, now), (off.id, now - 100)):
            rows = [
                {**delivery_values(webhook, "", "webhook.test", now), "not_before": at + nth}
                for nth in range(3000)
            ]
            submissions.store._steps.outbox._add.run_all(cursor, rows)
        if submissions.store.kind == "postgresql":
            cursor.execute("ANALYZE")

    await submissions.store._write("fill", fill)
    await hooks.change("algebra", off.id, Wanted(active=False))
    assert await webhooks.next_at() == now

    def plan(cursor: Cursor) -> str:
        asked = "EXPLAIN" if submissions.store.kind == "postgresql" else "EXPLAIN QUERY PLAN"
        cursor.execute(f"{asked} {webhooks._next._text}", webhooks._next._arrange({}))
        return str(cursor.fetchall())

    found = await submissions.store._ask("plan", plan)
    assert "ix_delivery_due" in found
    assert "SCAN delivery" not in found
    assert "Seq Scan on delivery" not in found
    assert await submissions.store._ask("time", least_seconds) < 5 * before


async def test_two_servers_let_a_course_have_ten_and_no_more(
    url: str, open_submissions: Open
) -> None:
    servers = [registered(await open_submissions(url)) for _ in range(2)]
    made = [
        each.add("algebra", f"http://127.0.0.1:9/{n}", EVENTS) for n in range(9) for each in servers
    ]
    answers = await asyncio.gather(*made, return_exceptions=True)
    refused = [each for each in answers if isinstance(each, InvalidInput)]
    assert len(refused) == 8
    assert len(await servers[0].all("algebra")) == 10
    await servers[1].add("geometry", "http://127.0.0.1:9/", EVENTS)


async def test_while_an_address_fails_it_gets_one_message_at_a_time(
    url: str, open_submissions: Open
) -> None:
    """From all servers together, and also while those that were sent before it failed end."""
    servers = [await open_submissions(url) for _ in range(2)]
    spans: list[tuple[float, float]] = []
    loop = asyncio.get_running_loop()

    async def fail() -> web.Response:
        began = loop.time()
        await asyncio.sleep(0.1 + 0.05 * (len(spans) % 4))
        spans.append((began, loop.time()))
        return web.Response(status=500)

    async with receiver([], fail) as address:
        hooks = registered(servers[0])
        hook = await hooks.add("algebra", address, EVENTS)
        await graded(servers[0], 30)
        async with sending(*servers):
            while (await hooks.get("algebra", hook.id)).failing_since is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            failed_at = loop.time() + 0.1  # for what was on its way to be sent
            await until(lambda: sum(began > failed_at for began, _ in spans) >= 8)
        await asyncio.sleep(0.4)  # what was broken off ends there, too
    later = sorted(span for span in spans if span[0] > failed_at)
    for (_, ended), (began, _) in itertools.pairwise(later):
        assert began >= ended, later


@pytest.mark.parametrize("policy", ["course", "learner"])
async def test_results_come_page_by_page_in_order(submissions: Submissions, policy: str) -> None:
    names = await graded(submissions, 120)
    wanted = None if policy == "course" else "learner7"
    results = submissions.store.results
    meant = results.submissions("algebra", learner=wanted)
    found = [each async for each in results.known(meant)]
    keys = [(each.submission.task, each.submission.learner) for each in found]
    assert keys == sorted(keys)
    expected = set(names) if wanted is None else {names[7]}
    assert {each.submission.id for each in found} == expected
    assert all(each.result is not None for each in found)


async def test_a_page_of_large_results_is_short(
    submissions: Submissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "RESULT_BYTES", 100)  # of which one has about forty
    names = await graded(submissions, 7)
    store = submissions.store.results
    meant = [each async for each in store.submissions("algebra")]
    assert len(await store._first(meant)) == 2
    found = [each.submission.id async for each in store.known(store.submissions("algebra"))]
    assert sorted(found) == sorted(names)
