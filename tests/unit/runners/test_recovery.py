"""Connections that break, and servers that are killed: what runs goes on, nothing is lost."""

import asyncio

import pytest

from assay.agent.session import AGENT_DIED, ENDED_FROM_OUTSIDE
from assay.agent.witness import OVERDUE, PROTOCOL_BROKEN
from assay.domain.errors import RunnerGone, UnknownExecution
from assay.domain.limits import ExecutionLimits
from assay.runners import EndReason, State
from assay.runners import link as link_module
from assay.runners.events import RunnerReconnected

from .conftest import Server, Taken, begin, environment, take, until

NUMBERS = b"".join(f"{number}\n".encode() for number in range(60))


def agent_of(server: Server, runner) -> object:
    return server.driver.agent(runner.lease.sandbox_id)


async def test_a_broken_connection_does_not_show(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "count", "60", "0.005")
    taken = Taken()
    for size in (10, 50, 90):
        taken = await take(attachment, taken, until=lambda taken, size=size: taken.offset > size)
        agent_of(server, runner).cut()
    taken = await take(attachment, taken)
    assert taken.stdout == NUMBERS
    assert taken.code == 5
    await attachment.finish()
    assert len(server.told(RunnerReconnected)) == 3
    assert all(event.executions == 1 for event in server.told(RunnerReconnected))


async def test_what_the_client_has_not_confirmed_is_kept_over_a_broken_connection(
    server: Server,
) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "count", "60", "0.002")
    await take(attachment, acknowledge=False, until=lambda taken: taken.offset > 20)
    agent_of(server, runner).cut()
    await until(lambda: server.told(RunnerReconnected))
    await attachment.detach()
    again = await runner.follow(attachment.execution_id, offset=0)
    assert (await take(again)).stdout == NUMBERS
    await again.finish()


async def test_input_is_whole_over_broken_connections(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "echo", stdin=True)
    data = bytes(range(256)) * 8000

    async def write() -> None:
        for start in range(0, len(data), 100_000):
            await attachment.write(data[start : start + 100_000])
        await attachment.end_input()

    writing = asyncio.create_task(write())
    taken = Taken()
    for size in (1, 500_000, 1_200_000):
        taken = await take(attachment, taken, until=lambda taken, size=size: taken.offset > size)
        agent_of(server, runner).cut()
    taken = await take(attachment, taken)
    await writing
    assert taken.stdout == data
    assert taken.code == 0
    await attachment.finish()


async def test_what_runs_without_a_client_goes_on_over_a_broken_connection(
    server: Server,
) -> None:
    runner = await server.runners.create("bash")
    left = await begin(runner, "count", "60", "0.002", mode="poseidon")
    await left.detach()
    agent_of(server, runner).cut()
    await until(lambda: runner.executions() == [])
    attachment = await begin(runner, "say", "usable")
    assert (await take(attachment)).stdout == b"usable\n"
    await attachment.finish()


async def test_a_cancel_while_the_connection_is_broken_is_not_forgotten(
    server: Server, monkeypatch
) -> None:
    monkeypatch.setattr(link_module, "_DELAYS", (0.1,))
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "wait", "20")
    await asyncio.sleep(0.02)
    agent_of(server, runner).cut()
    await until(lambda: runner.link.agent is None)
    await attachment.cancel()
    assert (await take(attachment)).ended.outcome.kind == "cancelled"
    await attachment.finish()


async def test_a_sandbox_that_vanishes_loses_what_runs_and_ends_the_lease(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "wait", "20")
    await asyncio.sleep(0.02)
    server.driver.end_from_outside(runner.lease.sandbox_id)
    assert (await take(attachment)).lost == ENDED_FROM_OUTSIDE
    await attachment.finish()
    await until(lambda: runner.over is EndReason.SANDBOX_LOST)
    with pytest.raises(RunnerGone):
        server.runners.get(runner.id)
    assert await server.storage.leases() == []


async def test_an_agent_that_dies_is_said_to_have_died(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "wait", "20")
    await asyncio.sleep(0.02)
    agent_of(server, runner).die()
    assert (await take(attachment)).lost == AGENT_DIED
    await until(lambda: server.stock.discarded)
    assert await server.driver.list() == []


async def test_an_agent_that_dies_of_memory_makes_it_out_of_memory(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "wait", "20")
    await asyncio.sleep(0.02)
    server.driver.sandbox(runner.lease.sandbox_id).oom_kills += 1
    agent_of(server, runner).die()
    assert (await take(attachment)).ended.outcome.kind == "out_of_memory"


async def test_an_agent_that_breaks_the_protocol_is_not_talked_to_again(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "wait", "20")
    await asyncio.sleep(0.02)
    agent_of(server, runner).send_garbage(b"\xff" * 40)
    assert (await take(attachment)).lost == PROTOCOL_BROKEN
    await until(lambda: server.stock.discarded)
    assert server.connections == 1


async def test_a_silent_agent_is_lost_in_the_end(server: Server, monkeypatch) -> None:
    monkeypatch.setattr(link_module, "MEND_SECONDS", 0.4)
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "wait", "20")
    await asyncio.sleep(0.02)
    agent_of(server, runner).faults.silent = True
    agent_of(server, runner).cut()
    assert (await take(attachment)).lost == "the connection broke"
    await until(lambda: server.stock.discarded)


async def test_a_program_that_its_agent_does_not_end_costs_the_sandbox(
    server: Server, monkeypatch
) -> None:
    monkeypatch.setattr("assay.runners.executions.WATCHDOG_SECONDS", 0.1)
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "wait", "20", limits=ExecutionLimits(wall_seconds=0.1))
    agent_of(server, runner).faults.no_exit = True
    assert (await take(attachment)).lost == OVERDUE
    await until(lambda: server.stock.discarded)
    assert await server.driver.list() == []


# --- a server that is killed, and the next one ------------------------------------------------


async def test_a_client_resumes_with_the_next_server(start) -> None:
    first = await start()
    runner = await first.runners.create("bash", owner="t1", inactivity_seconds=60)
    attachment = await begin(runner, "count", "60", "0.01")
    taken = await take(attachment, until=lambda taken: taken.offset > 30)
    await first.stop(killed=True)
    second = await start()
    await second.adopt_all()
    again = second.runners.get(runner.id, owner="t1", generation=1)
    assert again.lease.sandbox_id == runner.lease.sandbox_id
    resumed = await again.follow(attachment.execution_id, offset=taken.offset)
    assert resumed.resumed
    taken = await take(resumed, taken)
    assert taken.stdout == NUMBERS
    assert taken.code == 5
    await resumed.finish()
    attachment = await begin(again, "say", "still mine")
    assert (await take(attachment)).stdout == b"still mine\n"
    await attachment.finish()


async def test_a_flood_that_nobody_confirmed_is_whole_with_the_next_server(start) -> None:
    first = await start()
    runner = await first.runners.create("bash")
    attachment = await begin(runner, "flood", "3000000")
    taken = await take(attachment, acknowledge=False, until=lambda taken: taken.offset > 500_000)
    attachment.acknowledge(300_000)
    await asyncio.sleep(0.05)
    await first.stop(killed=True)
    second = await start()
    await second.adopt_all()
    again = second.runners.get(runner.id)
    got = Taken(stdout=taken.stdout, offset=taken.offset)
    resumed = await again.follow(attachment.execution_id, offset=taken.offset)
    assert len((await take(resumed, got)).stdout) == 3_000_000
    await resumed.finish()


async def test_what_ended_while_no_server_was_there_is_told(start) -> None:
    first = await start()
    runner = await first.runners.create("bash")
    attachment = await begin(runner, "count", "5", "0.01")
    await asyncio.sleep(0.02)
    await first.stop(killed=True)
    await asyncio.sleep(0.1)
    second = await start()
    await second.adopt_all()
    again = second.runners.get(runner.id)
    resumed = await again.follow(attachment.execution_id, offset=0)
    taken = await take(resumed)
    assert (taken.stdout, taken.code) == (b"0\n1\n2\n3\n4\n", 5)
    await resumed.finish()


async def test_input_goes_on_from_what_had_arrived(start) -> None:
    first = await start()
    runner = await first.runners.create("bash")
    attachment = await begin(runner, "echo", stdin=True)
    await attachment.write(b"one ", 0)
    await take(attachment, until=lambda taken: taken.offset == 4)
    await first.stop(killed=True)
    second = await start()
    await second.adopt_all()
    again = second.runners.get(runner.id)
    resumed = await again.follow(attachment.execution_id, offset=0)
    assert resumed.input_offset == 4
    await resumed.write(b"one two", 0)
    await resumed.end_input()
    assert (await take(resumed)).stdout == b"one two"
    await resumed.finish()


async def test_what_was_only_asked_for_can_still_be_started(start) -> None:
    first = await start()
    runner = await first.runners.create("bash")
    execution_id = await runner.prepare(runner.command(("say", "later")), mode="poseidon")
    attachment = await begin(runner, "say", "before")
    await take(attachment)
    await attachment.finish()
    await first.stop(killed=True)
    second = await start()
    await second.adopt_all()
    again = second.runners.get(runner.id)
    attachment = await again.follow(execution_id)
    assert not attachment.resumed
    assert (await take(attachment)).stdout == b"later\n"
    await attachment.finish()


async def test_poseidons_executions_run_on_and_are_cleaned_up(start) -> None:
    first = await start()
    runner = await first.runners.create("bash")
    attachment = await begin(runner, "count", "30", "0.01", mode="poseidon")
    await first.stop(killed=True)
    second = await start()
    await second.adopt_all()
    again = second.runners.get(runner.id)
    await again.link.connected()
    with pytest.raises(UnknownExecution):
        await again.follow(attachment.execution_id)
    assert [listed.state for listed in again.executions()] == [State.RUNNING]
    await until(lambda: again.executions() == [])
    sandbox = second.driver.sandbox(runner.lease.sandbox_id)
    await until(lambda: sandbox.executions == {})
    assert await second.storage.executions() == []


async def test_what_only_the_killed_server_knew_is_ended(start) -> None:
    first = await start()
    runner = await first.runners.create("bash")
    running = asyncio.create_task(runner.run(runner.command(("wait", "20")), most=10))
    sandbox = first.driver.sandbox(runner.lease.sandbox_id)
    await until(lambda: sandbox.executions)
    runner.link.session.agent.on_lost = None
    await first.stop(killed=True)
    running.cancel()
    await asyncio.wait((running,))
    second = await start()
    await second.adopt_all()
    await until(lambda: sandbox.executions == {})


async def test_a_runner_is_not_idle_just_because_the_server_was_away(start, monkeypatch) -> None:
    monkeypatch.setattr("assay.runners.runner.AFTER_RESTART_SECONDS", 0.3)
    first = await start()
    runner = await first.runners.create("bash", inactivity_seconds=0.1)
    await first.stop(killed=True)
    await asyncio.sleep(0.2)
    second = await start()
    await second.adopt_all()
    again = second.runners.get(runner.id)
    attachment = await begin(again, "say", "here")
    assert (await take(attachment)).code == 0
    await attachment.finish()
    await until(lambda: again.over is EndReason.IDLE)


async def test_a_lease_whose_environment_is_gone_ends(start) -> None:
    first = await start()
    runner = await first.runners.create("bash")
    await first.stop(killed=True)
    second = await start(environments={"other": environment("other")})
    await second.adopt_all()
    with pytest.raises(RunnerGone):
        second.runners.get(runner.id)
    assert await second.storage.leases() == []
    assert second.stock.discarded == [runner.lease.sandbox_id]


async def test_an_adopted_sandbox_that_is_gone_ends_its_lease(start) -> None:
    first = await start()
    runner = await first.runners.create("bash")
    attachment = await begin(runner, "wait", "20")
    await first.stop(killed=True)
    second = await start()
    second.driver.agent(runner.lease.sandbox_id).die()
    await second.adopt_all()
    again = second.runners.get(runner.id)
    with pytest.raises(RunnerGone):
        await again.follow(attachment.execution_id)
    await until(lambda: second.stock.discarded == [runner.lease.sandbox_id])
    assert await second.storage.leases() == []


async def test_who_comes_back_and_finds_the_sandbox_lost_is_told_what_became_of_the_program(
    start,
) -> None:
    first = await start()
    runner = await first.runners.create("bash")
    attachment = await begin(runner, "count", "60", "0.01")
    taken = await take(attachment, until=lambda taken: taken.offset > 30)
    await first.stop(killed=True)
    second = await start()
    second.driver.agent(runner.lease.sandbox_id).die()
    await second.adopt_all()
    resumed = await second.runners.get(runner.id).follow(
        attachment.execution_id, offset=taken.offset
    )
    taken = await take(resumed, taken)
    assert taken.lost == AGENT_DIED
    assert taken.ended is not None
    assert taken.ended.offset == taken.offset
    await resumed.finish()
    assert await second.storage.executions() == []


async def test_an_older_server_that_is_still_there_gives_way(start) -> None:
    """The agent refuses its epoch: the lease and the sandbox are the newer one's to look after."""
    first = await start()
    runner = await first.runners.create("bash")
    older = await begin(runner, "count", "60", "0.01")
    following = asyncio.create_task(take(older, acknowledge=False))
    second = await start()
    await second.adopt_all()
    assert (await following).replaced
    assert runner.over is EndReason.TAKEN_OVER
    assert first.runners.all() == []
    newer = await second.runners.get(runner.id).follow(older.execution_id, offset=0)
    assert (await take(newer)).stdout == NUMBERS
    await newer.finish()
    assert first.stock.discarded == []
    assert len(await second.storage.leases()) == 1
