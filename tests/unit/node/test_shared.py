"""Servers of one database on a node: one owner, whoever of them asks; the highest epoch has it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nodes_in_process import OpenDriver, OpenNode, until

from assay.agent.session import open_session
from assay.domain.errors import SandboxGone
from assay.driver.port import Installation, SandboxSpec, Secret
from assay.drivers.fake import FakeDriver, FakeMachine
from assay.drivers.nodes import NodesDriver
from assay.link.claims import claim_of, owner_of
from assay.node import server as module
from assay.node.owners import Owners

KEY = Secret(bytes(range(32)))


def one_of(driver: NodesDriver, epoch: int, key: Secret = KEY) -> None:
    driver.share(Installation(key=key, epoch=lambda: epoch))


async def test_what_one_server_made_another_one_of_its_database_finds_and_uses(
    open_node: OpenNode, open_driver: OpenDriver, spec: SandboxSpec
) -> None:
    """Another machine: with another state folder, and a certificate of another name."""
    async with (
        open_node() as node,
        open_driver(node.port) as first,
        open_driver(node.port, server="other", state="elsewhere") as second,
    ):
        one_of(first, 1)
        one_of(second, 2)
        made = await first.create(spec)
        assert await second.list() == [made.id]
        state = await second.examine(made.id)
        assert state is not None
        assert state.running
        await (await second.connect(made.id)).aclose()
        await second.destroy(made.id)
        assert await first.list() == []


@pytest.mark.parametrize("other", ["another database", "the same state folder, alone"])
async def test_who_does_not_know_the_key_of_a_database_sees_nothing_of_its_servers(
    open_node: OpenNode, open_driver: OpenDriver, spec: SandboxSpec, other: str
) -> None:
    async with (
        open_node() as node,
        open_driver(node.port) as ours,
        open_driver(node.port) as theirs,
    ):
        one_of(ours, 1)
        if other == "another database":
            one_of(theirs, 9, Secret(bytes(32)))
        made = await ours.create(spec)
        assert await theirs.list() == []
        assert await theirs.examine(made.id) is None
        await theirs.destroy(made.id)
        with pytest.raises(SandboxGone):
            await theirs.connect(made.id)
        assert await ours.list() == [made.id]


async def test_who_was_taken_over_from_neither_reaches_nor_ends_a_sandbox_any_more(
    open_node: OpenNode, open_driver: OpenDriver, spec: SandboxSpec
) -> None:
    """It was stopped for too long, goes on, and does not know yet; the node has started anew."""
    machine = FakeMachine()
    async with open_node(FakeDriver(machine=machine)) as node:
        port = node.port
        async with open_driver(port) as late, open_driver(port, server="other") as next_one:
            one_of(late, 1)
            one_of(next_one, 2)
            taken, left = [await late.create(spec) for _ in range(2)]
            await (await next_one.connect(taken.id)).aclose()
            for _ in range(2):
                with pytest.raises(SandboxGone, match="taken over"):
                    await late.connect(taken.id)
                with pytest.raises(SandboxGone, match="taken over"):
                    await late.destroy(taken.id)
            await (await late.connect(left.id)).aclose()
    async with open_node(FakeDriver(machine=machine), port=port), open_driver(port) as late:
        one_of(late, 1)
        with pytest.raises(SandboxGone, match="taken over"):
            await late.destroy(taken.id)
        await late.destroy(left.id)
    assert set(machine.places) == {taken.id}


async def test_a_server_that_took_over_goes_on_with_what_was_its_own_before(
    open_node: OpenNode, open_driver: OpenDriver, spec: SandboxSpec
) -> None:
    epoch = 1
    async with open_node() as node, open_driver(node.port) as driver:
        driver.share(Installation(key=KEY, epoch=lambda: epoch))
        async with open_session(driver, spec) as session:
            epoch = 3
            await session.agent.ping()
            made = await driver.create(spec)
            await driver.destroy(made.id)
        assert await driver.list() == []


def test_what_one_node_is_shown_is_another_ones_nothing() -> None:
    assert len({claim_of(KEY, name) for name in ("a", "b", "")}) == 3
    assert claim_of(KEY, "a") != claim_of(Secret(bytes(32)), "a")
    assert KEY.reveal().hex() not in claim_of(KEY, "a")
    assert owner_of("main", "s") != owner_of("other", "s") != owner_of("other", "t")
    assert owner_of("main", "s", "c") == owner_of("other", "t", "c") != owner_of("main", "s")


def test_notes_say_who_had_it_last_and_are_read_by_the_next_node(tmp_path: Path) -> None:
    owners = Owners(tmp_path)
    owners.note("owner", "sandbox", "ticket", 7)
    owners.claim("owner", "sandbox", 9)
    with pytest.raises(SandboxGone):
        owners.claim("owner", "sandbox", 8)
    again = Owners(tmp_path)
    assert again.made_by("owner", "ticket") == "sandbox"
    assert again.of("owner")["sandbox"].epoch == 9
    with pytest.raises(SandboxGone):
        again.claim("owner", "sandbox", 8)
    (tmp_path / "owner/sandbox").write_text("ticket")  # by a node of before
    assert Owners(tmp_path).of("owner")["sandbox"].epoch == 0


async def test_what_has_ended_goes_though_servers_of_its_database_are_here_that_know_nothing_of_it(
    open_node: OpenNode,
    open_driver: OpenDriver,
    spec: SandboxSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one that made it was killed before it wrote that down."""
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.02)
    monkeypatch.setattr(module, "ENDED_SECONDS", 0.3)
    machine = FakeMachine()
    async with (
        open_node(FakeDriver(machine=machine)) as node,
        open_driver(node.port) as driver,
    ):
        one_of(driver, 1)
        ended, runs = await driver.create(spec), await driver.create(spec)
        machine.places[ended.id].agent.die()
        await asyncio.sleep(0.15)
        state = await driver.examine(ended.id)  # there is time to ask how it ended
        assert state is not None
        assert not state.running
        await until(lambda: set(machine.places) == {runs.id})
