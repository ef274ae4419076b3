"""Batches, with a Nomad that is a model: what it is asked, and what becomes of who gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from assay.domain.errors import CapacityExceeded, DriverUnavailable, RuntimeFailed
from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.drivers.nomad.api import Answer
from assay.drivers.nomad.batches import Batches
from assay.drivers.nomad.job import batch_of
from assay.drivers.nomad.options import Options

SPEC = SandboxSpec(
    root=RootFilesystem(digest="d", path=Path("/nowhere")), secret=Secret(b"s" * 32)
)  # fmt: skip


class Model:
    """Jobs whose allocations run at once, unless they are told not to."""

    options = Options()

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, str]] = {}
        self.registered = 0
        self.status = "running"
        self.room = True
        self.there = True

    async def register(self, job: Mapping[str, Any]) -> None:
        await asyncio.sleep(0.03)
        if not self.there:
            raise DriverUnavailable("no Nomad listens")
        self.registered += 1
        names = [group["Name"] for group in job["TaskGroups"]]
        self.jobs[job["ID"]] = dict.fromkeys(names, self.status) if self.room else {}

    async def allocations(self, job: str, index: int = 0, seconds: int = 0) -> Answer:
        await asyncio.sleep(0.005)
        found = [
            {"ID": f"of-{name}", "TaskGroup": name, "DesiredStatus": "run", "ClientStatus": status}
            for name, status in self.jobs.get(job, {}).items()
        ]
        return Answer(data=found, index=index + 1)

    async def evaluations(self, job: str) -> list[Mapping[str, Any]]:
        return [{"FailedTGAllocs": None if self.room else {name: {} for name in self.wanted}}]

    wanted: tuple[str, ...] = ()

    async def signal(self, allocation: str, task: str, name: str) -> None:
        for members in self.jobs.values():
            if (sandbox := allocation.removeprefix("of-")) in members:
                if members[sandbox] != "running":
                    raise RuntimeFailed("it does not run")
                members[sandbox] = "failed"

    async def stop(self, job: str, *, purge: bool = False) -> None:
        if purge:
            self.jobs.pop(job, None)
        self.jobs.get(job, {}).update(dict.fromkeys(self.jobs.get(job, {}), "complete"))


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def batches(model: Model) -> Batches:
    return Batches(model, lambda: "mark")  # type: ignore[arg-type]


async def test_what_is_wanted_together_is_asked_for_once(model: Model, batches: Batches) -> None:
    asked = [batches.ask("image", SPEC, []) for _ in range(7)]
    placed = await asyncio.gather(*(promise for _, promise in asked))
    assert [each.sandbox_id for each in placed] == [sandbox_id for sandbox_id, _ in asked]
    assert model.registered == 1
    assert len({batch_of(sandbox_id) for sandbox_id, _ in asked}) == 1


async def test_one_ends_without_the_others_and_the_job_with_the_last(
    model: Model, batches: Batches
) -> None:
    ids = []
    for sandbox_id, promise in [batches.ask("image", SPEC, []) for _ in range(3)]:
        await promise
        ids.append(sandbox_id)
    await batches.end(ids[0])
    (members,) = model.jobs.values()
    assert members == {ids[0]: "failed", ids[1]: "running", ids[2]: "running"}
    await asyncio.gather(batches.end(ids[1]), batches.end(ids[2]))
    assert model.jobs == {}
    await batches.end(ids[2])  # which is no error


async def test_two_servers_that_end_one_each_at_the_same_time_leave_no_job(
    model: Model, batches: Batches
) -> None:
    other = Batches(model, lambda: "mark")  # type: ignore[arg-type]
    ids = []
    for sandbox_id, promise in [batches.ask("image", SPEC, []) for _ in range(2)]:
        await promise
        ids.append(sandbox_id)
    await asyncio.gather(batches.end(ids[0]), other.end(ids[1]))
    assert model.jobs == {}


async def test_who_gives_up_before_nomad_knows_leaves_nothing(
    model: Model, batches: Batches
) -> None:
    sandbox_id, _ = batches.ask("image", SPEC, [])
    await batches.end(sandbox_id)
    await asyncio.sleep(0.1)
    assert (model.registered, model.jobs) == (0, {})


async def test_who_gives_up_while_nomad_is_told_leaves_nothing(
    model: Model, batches: Batches
) -> None:
    sandbox_id, _ = batches.ask("image", SPEC, [])
    await asyncio.sleep(0.02)
    await batches.end(sandbox_id)
    await asyncio.sleep(0.1)
    assert (model.registered, model.jobs) == (1, {})


async def test_who_gives_up_takes_nobody_along(model: Model, batches: Batches) -> None:
    model.status = "pending"
    (first, _), (second, promise) = (batches.ask("image", SPEC, []) for _ in range(2))
    ending = asyncio.create_task(batches.end(first))
    async with asyncio.timeout(10):
        while not model.jobs:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for members in model.jobs.values():
        members |= {name: "running" for name in members if name != first}
    assert (await promise).sandbox_id == second
    assert [*model.jobs.values()] == [{second: "running"}]
    await ending


async def test_all_hear_why_there_is_none(model: Model, batches: Batches) -> None:
    model.there = False
    asked = [batches.ask("image", SPEC, []) for _ in range(2)]
    found = await asyncio.gather(*(promise for _, promise in asked), return_exceptions=True)
    assert [type(each) for each in found] == [DriverUnavailable, DriverUnavailable]


async def test_who_has_no_room_hears_it(model: Model, batches: Batches) -> None:
    model.room = False
    sandbox_id, promise = batches.ask("image", SPEC, [])
    model.wanted = (sandbox_id,)
    with pytest.raises(CapacityExceeded):
        await promise
    await batches.end(sandbox_id)
    assert model.jobs == {}


async def test_what_nobody_expects_is_an_answer_too(model: Model, batches: Batches) -> None:
    async def register(job: Mapping[str, Any]) -> None:
        raise OSError("no room for a mark")

    model.register = register  # type: ignore[method-assign]
    _, promise = batches.ask("image", SPEC, [])
    with pytest.raises(RuntimeFailed, match="could not be asked for"):
        async with asyncio.timeout(2):
            await promise


async def test_an_id_that_a_batch_never_gave_ends_without_an_error(
    model: Model, batches: Batches
) -> None:
    sandbox_id, promise = batches.ask("image", SPEC, [])
    await batches.end(batch_of(sandbox_id) + "x" * 13)
    assert (await promise).sandbox_id == sandbox_id
