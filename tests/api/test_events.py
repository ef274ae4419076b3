"""Server-sent events of the pool, for readers of every speed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from api_server import Serve, services

from assay.api.listeners import Listeners


@dataclass
class Counts:
    target: int = 2
    idle: int = 2
    creating: int = 0
    checking: int = 0
    waiting: int = 0
    used: int = 0
    last_error: str = ""


@dataclass
class Pool:
    python: Counts = field(default_factory=Counts)
    looked: int = 0

    def statistics(self) -> dict[str, Counts]:
        self.looked += 1
        return {"python": self.python}


QUICK = {"interval_seconds": 0.01, "heartbeat_seconds": 0.05}
EAGER = {"interval_seconds": 0.01}
"""No comment breaks the silence, however long this machine stands still."""


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    """Read events; a comment is an event without a name."""
    while block := await answer.content.readuntil(b"\n\n"):
        lines = block.decode().strip().splitlines()
        fields = dict(line.split(": ", 1) for line in lines)
        if "event" in fields:
            yield fields["event"], json.loads(fields["data"])
        elif "" in fields:
            yield "", fields[""]


async def test_a_listener_is_told_the_state_and_then_what_changes(serve: Serve) -> None:
    pool = Pool()
    client = await serve(services(pool=pool, listeners=Listeners(**EAGER)))
    async with client.get("events") as answer:
        assert answer.content_type == "text/event-stream"
        told = events(answer)
        name, data = await anext(told)
        assert (name, data["environments"]["python"]["idle"]) == ("pool", 2)
        assert await anext(told) == ("queue", {"waiting": 0, "environments": {}})
        pool.python.waiting = 4
        seen = dict([await anext(told), await anext(told)])
        assert seen["queue"] == {"waiting": 4, "environments": {"python": 4}}
        assert seen["pool"]["environments"]["python"]["waiting"] == 4


async def test_silence_is_broken_by_comments(serve: Serve) -> None:
    client = await serve(services(pool=Pool(), listeners=Listeners(**QUICK)))
    async with client.get("events") as answer:
        told = events(answer)
        names = [(await anext(told))[0] for _ in range(4)]
        assert names == ["pool", "queue", "", ""]


async def test_no_more_than_two_events_a_second_come_and_the_last_state_always() -> None:
    now, count = 0.0, 0
    listeners = Listeners(clock=lambda: now)

    def look() -> dict[str, bytes]:
        return {"pool": b"%d" % count}

    sleeps: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now, count
        now += seconds
        count += 1000  # far more happens than can be told
        sleeps.append(seconds)

    real, asyncio.sleep = asyncio.sleep, sleep
    try:
        told = [event async for event in listeners.changes(look, lambda: now < 10)]
    finally:
        asyncio.sleep = real
    pools = [event for event in told if event.startswith(b"event: pool")]
    assert len(pools) <= 21
    assert pools[-1] == b"event: pool\ndata: 19000\n\n"
    assert told[-1] == b"event: end\ndata: {}\n\n"


async def test_a_slow_reader_gets_the_newest_state_and_costs_no_memory() -> None:
    listeners, state = Listeners(**EAGER), {"pool": b"0"}
    goes_on = True
    told = listeners.changes(lambda: state, lambda: goes_on)
    assert (await anext(told)).startswith(b"retry")
    assert await anext(told) == b"event: pool\ndata: 0\n\n"
    for number in range(1, 1000):
        state["pool"] = b"%d" % number
    await asyncio.sleep(0.02)
    assert await anext(told) == b"event: pool\ndata: 999\n\n"
    goes_on = False
    assert (await anext(told)).startswith(b"event: end")
    await told.aclose()
    assert listeners.count == 0


async def test_many_listeners_look_no_more_often_than_one(serve: Serve) -> None:
    pool = Pool()
    client = await serve(services(pool=pool, listeners=Listeners(interval_seconds=0.05)))
    started = asyncio.get_running_loop().time()
    answers = [await client.get("events") for _ in range(20)]
    await asyncio.sleep(0.3)
    assert pool.looked <= 2 * (asyncio.get_running_loop().time() - started) / 0.05
    for answer in answers:
        answer.close()


async def test_listeners_are_bounded_and_leave_room_when_they_go(serve: Serve) -> None:
    listeners = Listeners(most=2, **QUICK)
    client = await serve(services(pool=Pool(), listeners=listeners))
    first, second = await client.get("events"), await client.get("events")
    async with client.get("events") as third:
        assert third.status == 429
        assert third.headers["Retry-After"] == "1"
    first.close()
    second.close()
    for _ in range(200):
        if not listeners.count:
            break
        await asyncio.sleep(0.01)
    assert listeners.count == 0


async def test_events_end_when_the_server_drains(serve: Serve) -> None:
    ready = True
    client = await serve(services(pool=Pool(), listeners=Listeners(**QUICK), ready=lambda: ready))
    async with client.get("events") as answer:
        told = events(answer)
        await anext(told)
        ready = False
        assert [name async for name, _ in _rest(answer)][-1] == "end"
    async with client.get("events") as answer:
        assert answer.status == 503
    async with client.get("ready") as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (503, "draining")


async def _rest(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    text = (await answer.content.read()).decode()
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        yield fields.get("event", ""), fields.get("data")
