"""Leases: who has a runner, and when it is over."""

import asyncio

import pytest

from assay.domain.errors import (
    Draining,
    InvalidInput,
    RunnerGone,
    StorageError,
    UnknownEnvironment,
)
from assay.domain.lease import Lease
from assay.domain.limits import ExecutionLimits
from assay.runners import EndReason
from assay.runners.events import RunnerCreated, RunnerEnded
from assay.runners.runner import Runner

from .conftest import Server, begin, environment, take, until


async def gone(server: Server, runner: Runner, seconds: float = 2.0) -> bool:
    """Whether it is over within this time, and its sandbox with it."""
    await until(lambda: runner.over is not None and server.stock.discarded != [], seconds)
    return True


async def test_a_lease_is_in_the_database_before_anybody_has_it(server: Server) -> None:
    runner = await server.runners.create(
        "bash", owner="t1", inactivity_seconds=60, most_seconds=100
    )
    (lease,) = await server.storage.leases()
    assert lease == runner.lease
    assert lease.runner_id.startswith("r-")
    assert lease.expires_at == lease.created_at + 100
    assert server.runners.get(runner.id) is runner
    assert len(server.told(RunnerCreated)) == 1


async def test_somebody_elses_runner_is_as_if_there_were_none(server: Server) -> None:
    runner = await server.runners.create("bash", owner="t1")
    assert server.runners.get(runner.id, owner="t1") is runner
    assert server.runners.all(owner="t1") == [runner]
    assert server.runners.all(owner="t2") == []
    with pytest.raises(RunnerGone) as theirs:
        server.runners.get(runner.id, owner="t2")
    with pytest.raises(RunnerGone) as nobodys:
        server.runners.get("r-0", owner="t2")
    assert theirs.value.message == nobodys.value.message


async def test_a_deleted_runner_is_gone_with_its_sandbox(server: Server) -> None:
    runner = await server.runners.create("bash")
    await server.runners.delete(runner.id)
    assert await server.storage.leases() == []
    with pytest.raises(RunnerGone):
        server.runners.get(runner.id)
    with pytest.raises(RunnerGone):
        await server.runners.delete(runner.id)
    with pytest.raises(RunnerGone):
        await runner.prepare(runner.command(("say", "x")))
    with pytest.raises(RunnerGone):
        await runner.list_files()
    assert await gone(server, runner)
    assert await server.driver.list() == []
    assert [event.reason for event in server.told(RunnerEnded)] == [EndReason.DELETED]


async def test_a_reset_gives_a_fresh_sandbox_and_another_generation(server: Server) -> None:
    runner = await server.runners.create("bash", owner="t1")
    attachment = await begin(runner, "wait", "20")
    prepared = await runner.prepare(runner.command(("say", "x")))
    former = runner.lease
    following = asyncio.create_task(take(attachment))
    assert await server.runners.reset(runner.id) is runner
    assert (await following).lost == EndReason.RESET
    await attachment.finish()
    assert runner.lease.generation == 2
    assert runner.lease.sandbox_id != former.sandbox_id
    assert server.runners.get(runner.id, generation=2) is runner
    with pytest.raises(RunnerGone):
        server.runners.get(runner.id, generation=1)
    assert runner.executions() == []
    assert prepared not in [row.id for row in await server.storage.executions()]
    attachment = await begin(runner, "say", "again")
    assert (await take(attachment)).stdout == b"again\n"
    await attachment.finish()
    (lease,) = await server.storage.leases()
    assert (lease.generation, lease.sandbox_id) == (2, runner.lease.sandbox_id)
    await until(lambda: server.stock.discarded)
    assert await server.driver.list() == [runner.lease.sandbox_id]


async def test_of_resets_at_one_time_one_gives_a_sandbox_and_none_is_left(server: Server) -> None:
    runner = await server.runners.create("bash")
    for generation in (2, 3):
        resets = [server.runners.reset(runner.id) for _ in range(3)]
        ended = await asyncio.gather(*resets, return_exceptions=True)
        assert sorted(type(each).__name__ for each in ended) == ["Runner", *["RunnerGone"] * 2]
        assert runner.lease.generation == generation
    await until(lambda: len(server.stock.discarded) == 2)
    assert await server.driver.list() == [runner.lease.sandbox_id]
    (lease,) = await server.storage.leases()
    assert (lease.sandbox_id, lease.generation) == (runner.lease.sandbox_id, 3)


async def test_an_idle_runner_ends(server: Server) -> None:
    runner = await server.runners.create("bash", inactivity_seconds=0.1)
    assert await gone(server, runner)
    assert runner.over is EndReason.IDLE
    assert await server.storage.leases() == []


async def test_inactivity_counts_from_the_end_of_an_execution(server: Server) -> None:
    runner = await server.runners.create("bash", inactivity_seconds=0.4)
    attachment = await begin(runner, "wait", "0.6")
    assert (await take(attachment)).code == 0
    ended = asyncio.get_running_loop().time()
    await attachment.finish()
    assert await gone(server, runner)
    assert asyncio.get_running_loop().time() - ended >= 0.39


async def test_a_program_without_limit_is_no_activity_by_itself(server: Server) -> None:
    """Poseidon's `sleep infinity` in a runner with an inactivity timeout."""
    runner = await server.runners.create("bash", inactivity_seconds=0.6)
    most = ExecutionLimits(wall_seconds=60, cpu_seconds=None, output_bytes=None)
    attachment = await begin(runner, "wait", "30", mode="poseidon", limits=most)
    assert (await take(attachment)).lost == EndReason.IDLE
    await attachment.finish()
    assert await gone(server, runner)


async def test_what_it_writes_is(server: Server) -> None:
    runner = await server.runners.create("bash", inactivity_seconds=0.6)
    most = ExecutionLimits(wall_seconds=60, cpu_seconds=None, output_bytes=None)
    attachment = await begin(runner, "count", "20", "0.04", limits=most)
    assert (await take(attachment)).code == 5
    await attachment.finish()


async def test_a_file_operation_holds_inactivity_off(server: Server) -> None:
    runner = await server.runners.create("bash", inactivity_seconds=0.2)
    loop = asyncio.get_running_loop()
    later = loop.time() + 0.4
    while loop.time() < later:  # one after the other: if this machine stands still, it is in one
        await runner.list_files()
    assert runner.over is None
    assert await gone(server, runner)


async def test_the_end_of_its_life_comes_whatever_goes_on(server: Server) -> None:
    runner = await server.runners.create("bash", most_seconds=0.2)
    attachment = await begin(runner, "count", "1000", "0.01")
    assert (await take(attachment)).lost == EndReason.EXPIRED
    await attachment.finish()
    assert await gone(server, runner)


async def test_an_early_idle_end_is_found_behind_a_later_end_of_life(server: Server) -> None:
    runner = await server.runners.create("bash", inactivity_seconds=0.3, most_seconds=60)
    attachment = await begin(runner, "wait", "0.5")
    await take(attachment)
    await attachment.finish()
    assert await gone(server, runner)
    assert runner.over is EndReason.IDLE


async def test_activity_is_written_together(server: Server, monkeypatch) -> None:
    monkeypatch.setattr("assay.runners.runners.TOUCH_SECONDS", 0.05)
    runner = await server.runners.create("bash", inactivity_seconds=60)
    before = (await server.storage.leases())[0].active_at
    await runner.list_files()
    await asyncio.sleep(0.15)
    (lease,) = await server.storage.leases()
    assert lease.active_at > before
    assert lease.active_at == runner.lease.active_at


async def test_nonsense_makes_no_lease(server: Server) -> None:
    with pytest.raises(InvalidInput):
        await server.runners.create("bash", inactivity_seconds=-1)
    with pytest.raises(InvalidInput):
        await server.runners.create("bash", most_seconds=0)
    with pytest.raises(UnknownEnvironment):
        await server.runners.create("none")
    assert await server.driver.list() == []


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34])
async def test_a_request_that_is_cancelled_leaves_no_sandbox(server: Server, turns: int) -> None:
    creating = asyncio.create_task(server.runners.create("bash"))
    for _ in range(turns):
        await asyncio.sleep(0)
    creating.cancel()
    await asyncio.wait((creating,))
    if not creating.cancelled():  # it was done by then, and is somebody's
        await server.runners.delete(creating.result().id)
    await asyncio.sleep(0.05)
    left = await server.driver.list()
    # Either the claim itself was cancelled (the stock's to clean up), or it was discarded.
    assert left == [] or server.stock.discarded == []
    assert await server.storage.leases() == []
    for sandbox_id in left:
        await server.driver.destroy(sandbox_id)


async def test_a_draining_server_leases_nothing_and_waits_for_what_runs(server: Server) -> None:
    runner = await server.runners.create("bash")
    loop = asyncio.get_running_loop()
    started = loop.time()
    attachment = await begin(runner, "wait", "0.2")
    await server.runners.drain(50)
    assert 0.1 < loop.time() - started < 20
    with pytest.raises(Draining):
        await server.runners.create("bash")
    await take(attachment)
    await attachment.finish()


async def test_with_an_heir_only_what_nobody_could_go_on_with_is_waited_for(
    server: Server,
) -> None:
    runner = await server.runners.create("bash")
    resumable = await begin(runner, "wait", "25")
    loop = asyncio.get_running_loop()
    started = loop.time()
    await server.runners.drain(50, heir=lambda: True)
    assert loop.time() - started < 10
    running = asyncio.create_task(runner.run(runner.command(("wait", "0.4")), most=100))
    await asyncio.sleep(0.1)
    await server.runners.drain(50, heir=lambda: True)
    assert 0.3 < loop.time() - started < 20
    await running
    await resumable.abandon()


async def test_commands_are_the_environments(start) -> None:
    served = environment("bash", variables={"A": "1", "B": "1"})
    server = await start(environments={"bash": served})
    runner = await server.runners.create("bash")
    command = runner.command(("say",), variables={"B": "2"}, privileged=True)
    assert command.environment["A"] == "1"
    assert command.environment["B"] == "2"
    assert command.privileged
    assert command.limits == served.execution
    with pytest.raises(InvalidInput):
        runner.command(("say",), limits=ExecutionLimits(wall_seconds=61))


async def test_a_sandbox_that_is_lost_while_its_lease_is_written_down_is_nobodys(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_lease = server.storage.add_lease

    def slowly(lease: Lease) -> asyncio.Future[bool]:
        async def add() -> bool:
            added = await add_lease(lease)
            await server.driver.destroy(lease.sandbox_id)
            await until(lambda: server.stock.discarded)
            return added

        return asyncio.ensure_future(add())

    monkeypatch.setattr(server.storage, "add_lease", slowly)
    with pytest.raises(RunnerGone):
        await server.runners.create("bash")
    assert server.runners.all() == []
    assert server.told(RunnerCreated) == server.told(RunnerEnded) == []
    assert await server.storage.leases() == []


@pytest.mark.parametrize("error", [StorageError("the answer was lost"), asyncio.CancelledError()])
async def test_a_runner_keeps_its_lease_where_nobody_heard_that_its_reset_was_written_down(
    server: Server, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    runner = await server.runners.create("bash")
    replace_lease = server.storage.replace_lease

    def lost(lease: Lease) -> asyncio.Future[bool]:
        async def replace() -> bool:
            monkeypatch.setattr(server.storage, "replace_lease", replace_lease)
            await replace_lease(lease)
            raise error

        return asyncio.ensure_future(replace())

    monkeypatch.setattr(server.storage, "replace_lease", lost)
    with pytest.raises(type(error)):
        await server.runners.reset(runner.id)
    await until(lambda: server.stock.discarded)
    assert await server.storage.leases() == [runner.lease]
    assert server.runners.get(runner.id) is runner
