"""The sandbox that a grading makes ahead of its use goes with the grading, however that ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from assay.domain.errors import ConnectionLost
from assay.grading.places import Place
from assay.grading.script.rooms import Room
from assay.grading.script.students import Rules, Students


class Rooms:
    """Counts those that are there."""

    def __init__(self) -> None:
        self.there = 0
        self.made, self.ended = asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def room(self, room: Room) -> AsyncIterator[Place]:
        await asyncio.sleep(0)
        self.there += 1
        self.made.set()
        try:
            yield SimpleNamespace()  # type: ignore[misc]
        finally:
            self.there -= 1
            self.ended.set()


RULES = Rules(
    environment="bash", environments=str, cpu_seconds=1, wall_seconds=1, memory_bytes=1 << 20,
    expected=True,
)  # fmt: skip


def grading(start: Callable[[object], Any]) -> Any:
    """A sandbox in which a relay is started so."""
    root = SimpleNamespace(user=1000, group=1000)
    return SimpleNamespace(
        session=SimpleNamespace(start=start), blueprint=SimpleNamespace(root=root)
    )


async def none_is_left(rooms: Rooms) -> bool:
    await asyncio.sleep(0.05)  # for one that is being made
    if rooms.there:
        await asyncio.wait_for(rooms.ended.wait(), 5)
    return rooms.there == 0


async def test_none_is_left_where_the_grading_sandbox_is_lost_at_once() -> None:
    async def start(command: object) -> None:
        raise ConnectionLost("it is gone")

    rooms = Rooms()
    students = Students(grading(start), rooms, RULES)  # the garbage collector must not have to
    with pytest.raises(ConnectionLost):
        async with students:
            pass
    assert await none_is_left(rooms)


class Relay:
    """Whoever is cancelled while it waits for one takes its time."""

    def __init__(self) -> None:
        self.ends = asyncio.Event()

    def output(self) -> Relay:
        return self

    def __aiter__(self) -> Relay:
        return self

    async def __anext__(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await self.ends.wait()

    def abandon(self) -> None:
        pass


async def test_none_is_left_where_a_grading_is_cancelled_again_while_it_ends() -> None:
    relay, rooms, begun = Relay(), Rooms(), asyncio.Event()

    async def start(command: object) -> Relay:
        return relay

    async def grade() -> None:
        async with Students(grading(start), rooms, RULES):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(grade())
    async with asyncio.timeout(5):
        await begun.wait()
        await rooms.made.wait()
    for _ in range(3):  # as a worker does with every beat whose claim is lost
        task.cancel()
        await asyncio.sleep(0.01)
    relay.ends.set()
    await asyncio.wait((task,))
    assert task.cancelled()
    assert await none_is_left(rooms)
