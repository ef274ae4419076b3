"""What a server decides about what it finds: nobody's sandbox stays, nobody's runner is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.bootstrap.recovery import Plan, Recovery, plan
from assay.bootstrap.sharing import Sharing
from assay.config.server import ServerSettings
from assay.domain.errors import DriverUnavailable
from assay.domain.lease import Lease
from assay.driver.port import Secret
from assay.storage.records import ExecutionRecord, SandboxRecord


def record(sandbox_id: str, *, taken: bool = False) -> SandboxRecord:
    return SandboxRecord(
        id=sandbox_id, driver="crun", environment="python", version="1",
        secret=Secret(bytes(32)), created_at=0.0, taken=taken,
    )  # fmt: skip


def lease(runner_id: str, sandbox_id: str) -> Lease:
    return Lease(
        runner_id=runner_id, sandbox_id=sandbox_id, environment="python", version="1", owner="",
        generation=1, created_at=0.0, inactivity_seconds=None, expires_at=None, active_at=0.0,
    )  # fmt: skip


def execution(execution_id: str, runner_id: str) -> ExecutionRecord:
    return ExecutionRecord(
        id=execution_id, runner_id=runner_id, number=1, command=b"{}", mode="assay.v1",
        created_at=0.0,
    )  # fmt: skip


def decide(**given: object) -> Plan:
    nothing = {
        "there": (), "ours": (), "others": (), "records": (), "leases": (), "executions": ()
    }  # fmt: skip
    return plan(**{**nothing, **given})  # type: ignore[arg-type]


def test_a_leased_sandbox_that_is_there_goes_on_with_its_executions() -> None:
    found = decide(
        there={"a"}, records=[record("a", taken=True)], leases=[lease("r-1", "a")],
        executions=[execution("e", "r-1"), execution("f", "r-2")],
    )  # fmt: skip
    (leased,) = found.leased
    assert (leased.record.id, [each.id for each in leased.executions]) == ("a", ["e"])
    assert (found.idle, found.over, found.gone, found.unwanted, found.strangers) == ((),) * 5


def test_a_lease_of_a_sandbox_that_vanished_is_over() -> None:
    found = decide(records=[record("a", taken=True)], leases=[lease("r-1", "a")])
    assert (found.over, found.gone, found.leased) == (("r-1",), ("a",), ())


def test_a_lease_without_a_row_of_its_sandbox_is_over_and_the_sandbox_unwanted() -> None:
    """Without its secret, nobody can use it."""
    found = decide(there={"a"}, ours={"a"}, leases=[lease("r-1", "a")])
    assert (found.over, found.unwanted) == (("r-1",), ("a",))


def test_an_idle_sandbox_goes_back_into_the_pool() -> None:
    found = decide(there={"a"}, ours={"a"}, records=[record("a")])
    assert [each.id for each in found.idle] == ["a"]
    assert (found.gone, found.unwanted) == ((), ())


def test_what_was_handed_over_when_the_server_died_is_destroyed_never_given_to_another() -> None:
    found = decide(there={"a"}, records=[record("a", taken=True)])
    assert (found.idle, found.unwanted, found.gone) == ((), ("a",), ("a",))


def test_what_only_an_earlier_server_noted_is_destroyed_at_once() -> None:
    assert decide(there={"a"}, ours={"a"}).unwanted == ("a",)


def test_what_nobody_noted_may_be_in_the_making() -> None:
    assert decide(there={"a"}).strangers == ("a",)


def test_what_others_have_is_theirs() -> None:
    assert decide(there={"a"}, others={"a"}) == decide()


ids = st.sets(st.sampled_from("abcdefgh"))


@given(there=ids, ours=ids, others=ids, rows=ids, taken=ids, leased=ids)
def test_each_sandbox_has_one_fate_and_each_row_too(
    there: set[str], ours: set[str], others: set[str], rows: set[str], taken: set[str],
    leased: set[str],
) -> None:  # fmt: skip
    found = decide(
        there=there, ours=ours, others=others - rows,
        records=[record(each, taken=each in taken) for each in rows],
        leases=[lease(f"r-{each}", each) for each in leased],
    )  # fmt: skip
    running = [each.record.id for each in found.leased]
    idle = [each.id for each in found.idle]
    fates = [*running, *idle, *found.unwanted, *found.strangers]
    assert sorted(fates) == sorted(there - (others - rows))
    assert sorted([*running, *idle, *found.gone]) == sorted(rows)
    assert sorted([*(f"r-{each}" for each in running), *found.over]) == sorted(
        f"r-{each}" for each in leased
    )
    assert not set(idle) & (taken | leased)


def recovery_in(world: Any, settings: ServerSettings) -> Recovery:
    return Recovery(
        settings.base, guard=world, ownership=world, storage=world, pool=world, runners=world,
        sharing=Sharing(settings.base, None),
    )  # fmt: skip


async def test_strangers_are_destroyed_unless_somebody_has_noted_them_meanwhile(
    settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class World:
        """What there is a little later: the driver's list, notes of others, and rows."""

        name = "crun"
        create_seconds = 0.0
        destroyed: list[str] = []  # noqa: RUF012

        async def list(self) -> list[str]:
            return ["abandoned", "noted", "in a row"]

        async def destroy(self, sandbox_id: str) -> None:
            self.destroyed.append(sandbox_id)

        def others(self) -> frozenset[str]:
            return frozenset({"noted"})

        async def sandboxes(self) -> list[SandboxRecord]:
            return [record("in a row")]

    world: Any = World()
    monkeypatch.setattr("assay.bootstrap.recovery._SECONDS_TO_NOTE", 0.0)
    recovery = recovery_in(world, settings)
    await recovery.destroy_strangers(["abandoned", "noted", "in a row", "gone"])
    assert world.destroyed == ["abandoned"]


async def test_nobody_waits_for_what_can_not_be_destroyed_as_its_machine_is_silent(
    settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class World:
        name = "crun"
        create_seconds = 0.0
        former: dict[str, str] = {}  # noqa: RUF012
        tried = 0

        async def destroy(self, sandbox_id: str) -> None:
            self.tried += 1
            if self.tried < 4:
                raise DriverUnavailable("it does not answer")

        async def list(self) -> list[str]:
            return []

        async def sandboxes(self) -> list[SandboxRecord]:
            return []

    world: Any = World()
    monkeypatch.setattr("assay.bootstrap.recovery._SECONDS_BETWEEN_TRIES", 0.1)
    recovery = recovery_in(world, settings)
    recovery._plan = decide(there={"a"}, ours={"a"})
    cleaning = asyncio.create_task(recovery.clean_up())
    await asyncio.wait_for(recovery.cleaned.wait(), 5)
    assert not cleaning.done()
    await asyncio.wait_for(cleaning, 5)
    assert world.tried == 4
