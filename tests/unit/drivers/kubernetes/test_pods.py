"""Waiting for pods, with a Kubernetes that is a model: of hints that come, lie, and stay away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from assay.domain.errors import DriverUnavailable
from assay.drivers.kubernetes.api import Outdated
from assay.drivers.kubernetes.found import Pod
from assay.drivers.kubernetes.pods import Pods


class Model:
    """Pods by name, and what is said of changes."""

    def __init__(self) -> None:
        self.there: dict[str, Mapping[str, Any]] = {}
        self.hints: asyncio.Queue[str | Exception] = asyncio.Queue()
        self.looks: list[str] = []
        self.listened = 0
        self.answers = True

    async def pod(self, name: str) -> Mapping[str, Any] | None:
        self.looks.append(name)
        if not self.answers:
            raise DriverUnavailable("no Kubernetes listens")
        return self.there.get(name)

    async def changes(self, selector: str, seconds: int) -> AsyncGenerator[str, None]:
        assert selector == "assay-server=mark"
        self.listened += 1
        yield ""
        while True:
            hint = await self.hints.get()
            if isinstance(hint, Exception):
                raise hint
            yield hint

    def run(self, name: str) -> None:
        status = {"name": "sandbox", "state": {"running": {}}}
        self.there[name] = {
            "metadata": {"name": name}, "status": {"containerStatuses": [status]},
        }  # fmt: skip


def runs(found: Pod | None) -> bool:
    return found is not None and found.runs


@pytest.fixture
def model() -> Model:
    return Model()


@pytest_asyncio.fixture
async def pods(model: Model) -> AsyncIterator[Pods]:
    made = Pods(model, lambda: "mark")  # type: ignore[arg-type]
    yield made
    await made.aclose()


async def test_a_hint_is_followed_at_once(model: Model, pods: Pods) -> None:
    waiting = asyncio.create_task(pods.wait("a", runs))
    await asyncio.sleep(0.1)
    model.run("a")
    model.hints.put_nowait("a")
    found = await asyncio.wait_for(waiting, 0.5)
    assert found is not None
    assert found.name == "a"


async def test_a_hint_that_lies_changes_nothing(model: Model, pods: Pods) -> None:
    waiting = asyncio.create_task(pods.wait("a", runs))
    for name in ("a", "b", "", "a"):
        model.hints.put_nowait(name)
    await asyncio.sleep(0.2)
    assert not waiting.done()
    assert set(model.looks) == {"a"}
    waiting.cancel()


async def test_without_any_hint_it_is_found_out_a_little_later(model: Model, pods: Pods) -> None:
    waiting = asyncio.create_task(pods.wait("a", runs))
    await asyncio.sleep(0.1)
    model.run("a")
    began = time.monotonic()
    await asyncio.wait_for(waiting, 5)
    assert time.monotonic() - began > 0.5


async def test_events_that_end_are_asked_for_again(model: Model, pods: Pods) -> None:
    waiting = asyncio.create_task(pods.wait("a", runs))
    await asyncio.sleep(0.1)
    model.hints.put_nowait(Outdated("too old"))
    await asyncio.sleep(0.7)
    model.run("a")
    model.hints.put_nowait("a")
    await asyncio.wait_for(waiting, 0.5)
    assert model.listened == 2


async def test_all_hear_of_a_server_that_does_not_answer(model: Model, pods: Pods) -> None:
    model.answers = False
    waits = [pods.wait(name, runs) for name in "ab"]
    found = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(each) for each in found] == [DriverUnavailable] * 2


async def test_who_gives_up_is_forgotten(model: Model, pods: Pods) -> None:
    waiting = asyncio.create_task(pods.wait("a", runs))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.sleep(0.1)
    looked = len(model.looks)
    model.hints.put_nowait("a")
    await asyncio.sleep(0.1)
    assert len(model.looks) == looked


async def test_nobody_waits_for_who_is_gone(pods: Pods) -> None:
    assert await asyncio.wait_for(pods.wait("a", lambda found: found is None), 1) is None
