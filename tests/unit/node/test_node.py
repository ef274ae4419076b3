"""Servers and nodes, on the fake driver: whose sandboxes are whose, and what an end costs."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from nodes_in_process import HOST, Gated, OpenDriver, OpenNode, of_numbers, until

from assay.agent.session import open_session
from assay.bootstrap.node import drain
from assay.domain.errors import (
    CapacityExceeded,
    ConnectionLost,
    DriverUnavailable,
    SandboxGone,
)
from assay.driver.port import SandboxSpec
from assay.drivers.fake import FakeDriver, FakeMachine
from assay.drivers.nodes import NodesDriver
from assay.drivers.nodes import driver as module
from assay.drivers.nodes import node as node_module
from assay.link.messages import Created


async def test_a_sandbox_of_a_node_is_used_like_any_other(
    open_node: OpenNode, open_driver: OpenDriver, spec: SandboxSpec
) -> None:
    async with open_node() as node, open_driver(node.port) as driver:
        async with open_session(driver, spec) as session:
            assert await driver.list() == [session.sandbox.id]
            assert session.sandbox.facts["node"] == f"{HOST}:{node.port}"
            state = await driver.examine(session.sandbox.id)
            assert state is not None
            assert state.running
            await session.agent.ping()
        assert await driver.list() == []
        assert await driver.examine(session.sandbox.id) is None
        with pytest.raises(SandboxGone):
            await driver.connect(session.sandbox.id)


@pytest.mark.parametrize(("server", "state"), [("other", "state"), ("main", "elsewhere")])
async def test_no_server_sees_or_touches_what_is_anothers(
    open_node: OpenNode, open_driver: OpenDriver, spec: SandboxSpec, server: str, state: str
) -> None:
    async with open_node() as node, open_driver(node.port) as ours:
        made = await ours.create(spec)
        async with open_driver(node.port, server=server, state=state) as theirs:
            assert await theirs.list() == []
            assert await theirs.examine(made.id) is None
            await theirs.destroy(made.id)
            with pytest.raises(SandboxGone):
                await theirs.connect(made.id)
            # Nor one that knows its id from elsewhere, and asks the node all the same.
            theirs._places.put(made.id, f"{HOST}:{node.port}")
            assert await theirs.examine(made.id) is None
            await theirs.destroy(made.id)
            theirs._places.put(made.id, f"{HOST}:{node.port}")
            with pytest.raises(SandboxGone):
                await theirs.connect(made.id)
        assert await ours.list() == [made.id]
        await ours.destroy(made.id)


async def test_the_next_node_goes_on_with_the_sandboxes_of_one_that_was_killed(
    open_node: OpenNode, open_driver: OpenDriver, spec: SandboxSpec
) -> None:
    machine = FakeMachine()
    async with open_node(FakeDriver(machine=machine)) as node:
        port = node.port
        async with open_driver(port) as driver:
            made = await driver.create(spec)
            vanished = await driver.create(spec)
    del machine.places[vanished.id]
    async with open_node(FakeDriver(machine=machine), port=port), open_driver(port) as driver:
        assert await driver.list() == [made.id]
        await (await driver.connect(made.id)).aclose()
        await driver.destroy(made.id)
    assert machine.places == {}


async def test_a_node_that_empties_itself_ends_when_nobody_has_anything_there(
    open_node: OpenNode, open_driver: OpenDriver, spec: SandboxSpec
) -> None:
    async with open_node(FakeDriver()) as node, open_driver(node.port) as driver:
        made = await driver.create(spec)
        emptying = asyncio.create_task(node.empty(30))
        await until(lambda: list(driver.leaving()) == [made.id])
        with pytest.raises(CapacityExceeded, match="their operators empty them"):
            await driver.create(spec)
        assert not emptying.done()
        await driver.destroy(made.id)
        async with asyncio.timeout(5):
            await emptying


async def test_a_node_does_not_empty_itself_for_ever(
    open_node: OpenNode, open_driver: OpenDriver, spec: SandboxSpec
) -> None:
    async with open_node(FakeDriver()) as node, open_driver(node.port) as driver:
        made = await driver.create(spec)
        async with asyncio.timeout(5):
            await node.empty(0.3)
        assert await driver.list() == [made.id]
        await driver.destroy(made.id)


async def test_a_node_destroys_what_it_made_and_nobody_was_told_of(
    open_node: OpenNode, open_driver: OpenDriver, spec: SandboxSpec, tmp_path: Path
) -> None:
    """It was killed between making it and noting for whom."""
    machine = FakeMachine()
    async with open_node(FakeDriver(machine=machine)) as node, open_driver(node.port) as driver:
        made = await driver.create(spec)
    owned = list((tmp_path / "node/node/owners").glob(f"*/{made.id}"))
    assert len(owned) == 1
    owned[0].unlink()
    async with open_node(FakeDriver(machine=machine)):
        await until(lambda: not machine.places)


async def test_a_node_destroys_what_one_that_was_killed_was_just_making(
    open_node: OpenNode, spec: SandboxSpec
) -> None:
    machine = FakeMachine()
    await FakeDriver(machine=machine).create(spec)  # and the note of it was never written
    async with open_node(FakeDriver(machine=machine)):
        await until(lambda: not machine.places)


async def test_silence_of_a_node_says_nothing_of_its_sandboxes_until_they_are_lost(
    open_node: OpenNode,
    open_driver: OpenDriver,
    spec: SandboxSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LOST_SECONDS", 0.5)
    machine = FakeMachine()
    async with AsyncExitStack() as running:
        node = await running.enter_async_context(open_node(FakeDriver(machine=machine)))
        async with open_driver(node.port) as driver:
            made = await driver.create(spec)
            stream = await driver.connect(made.id)
            await running.aclose()
            assert await stream.read(100) == b""
            await expect_unknown(driver, made.id)
            await asyncio.sleep(0.6)
            state = await driver.examine(made.id)
            assert state is not None
            assert not state.running
            assert state.lost == f"the node {HOST}:{node.port} does not answer"
            with pytest.raises(SandboxGone):
                await driver.connect(made.id)
            assert await driver.list() == [made.id]
            async with open_node(FakeDriver(machine=machine), port=node.port):
                await until(lambda: is_running(driver, made.id))
                await driver.destroy(made.id)
                assert await driver.list() == []


async def expect_unknown(driver: NodesDriver, sandbox_id: str) -> None:
    assert await driver.list() == [sandbox_id]
    for asked in (driver.examine, driver.destroy, driver.connect):
        with pytest.raises(DriverUnavailable):
            await asked(sandbox_id)
        with pytest.raises(DriverUnavailable):
            await asked("of-an-earlier-server")


async def is_running(driver: NodesDriver, sandbox_id: str) -> bool:
    try:
        state = await driver.examine(sandbox_id)
    except DriverUnavailable:
        return False
    return state is not None and state.running


async def test_sandboxes_are_made_on_the_nodes_that_are_left(
    open_node: OpenNode, open_driver: OpenDriver, spec: SandboxSpec
) -> None:
    async with AsyncExitStack() as running, open_node(of_numbers(1000), name="b") as stays:
        goes = await running.enter_async_context(open_node(name="a"))
        async with open_driver(goes.port, stays.port) as driver:
            first = [await driver.create(spec) for _ in range(4)]
            assert len({each.facts["node"] for each in first}) == 2
            await running.aclose()
            for _ in range(3):
                made = await driver.create(spec)
                assert made.facts["node"] == f"{HOST}:{stays.port}"


async def test_a_full_node_and_one_that_is_emptied_get_nothing(
    open_node: OpenNode, open_driver: OpenDriver, spec: SandboxSpec, tmp_path: Path
) -> None:
    async with (
        open_node(of_numbers(0), name="a", most=1) as small,
        open_node(of_numbers(1000), name="b") as large,
        open_driver(small.port, large.port) as driver,
    ):
        made = [await driver.create(spec) for _ in range(3)]
        assert sum(each.facts["node"].endswith(f":{small.port}") for each in made) == 1
        assert driver.leaving() == []
        drain(tmp_path / "b", wanted=True)
        moving = {each.id for each in made if each.facts["node"].endswith(f":{large.port}")}
        await until(lambda: set(driver.leaving()) == moving)
        with pytest.raises(CapacityExceeded, match="`assay node list`"):
            await driver.create(spec)
        drain(tmp_path / "b", wanted=False)
        await until(lambda: not driver.leaving())
        await driver.create(spec)


async def test_what_a_cancelled_request_was_about_is_not_made(
    open_node: OpenNode, open_driver: OpenDriver, spec: SandboxSpec
) -> None:
    machine = FakeMachine()
    gated = Gated(machine)
    async with open_node(gated) as node, open_driver(node.port) as driver:
        making = asyncio.ensure_future(driver.create(spec))
        await gated.asked.wait()
        making.cancel()
        await asyncio.wait((making,))
        assert making.cancelled()
        gated.let.set()
        await driver.destroy((await driver.create(spec)).id)
        assert machine.made == 1
        assert machine.places == {}


async def test_what_was_made_while_the_connection_was_cut_is_destroyed_when_it_is_back(
    open_node: OpenNode,
    open_driver: OpenDriver,
    spec: SandboxSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The node has made and noted it; that it says so does not arrive."""
    machine = FakeMachine()
    async with open_node(FakeDriver(machine=machine)) as node, open_driver(node.port) as driver:
        await driver.reports()
        receive = node_module.Node._receive

        def lose(self: node_module.Node, answer: object) -> None:
            if isinstance(answer, Created):
                monkeypatch.setattr(node_module.Node, "_receive", receive)
                raise ConnectionLost("cut")
            receive(self, answer)

        monkeypatch.setattr(node_module.Node, "_receive", lose)
        with pytest.raises(ConnectionLost):
            await driver.create(spec)
        assert machine.made == 1
        await until(lambda: not machine.places)
        assert await driver.list() == []
