"""Running programs in a sandbox to their end, whatever happens to the sandbox meanwhile."""

import asyncio
from dataclasses import replace

import pytest

from assay.agent.messages import exit_payload
from assay.agent.session import open_session
from assay.domain.command import Command
from assay.domain.errors import (
    AgentDied,
    AgentRefused,
    ConnectionLost,
    ExecutionRefused,
    RuntimeFailed,
)
from assay.domain.facts import KilledBy, Scope, Source
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.domain.outcome import OutcomeKind
from assay.driver.port import SandboxState
from assay.drivers.fake import FakeDriver, Process, run_in_virtual_time
from assay.drivers.fake import agent as fake_agent


def probe(*argv: str, **options) -> Command:
    return Command(argv=("probe", *argv), **options)


async def test_a_program_runs_to_its_end(session) -> None:
    opened = await session()
    completed = await opened.run(probe("cat"), b"some input")
    assert completed.stdout == b"some input"
    assert completed.stderr == b""
    assert completed.outcome.success
    assert (await opened.run(probe("exit", "3"))).outcome.code == 3


async def test_both_streams_are_collected_apart(session) -> None:
    completed = await (await session()).run(probe("interleave", "2", "0"))
    assert completed.stdout == b"out 0\nout 1\n"
    assert completed.stderr == b"err 0\nerr 1\n"


async def test_input_that_the_program_does_not_read_is_no_obstacle(session) -> None:
    completed = await (await session()).run(probe("exit", "0"), bytes(3_000_000))
    assert completed.outcome.success


async def test_a_program_with_more_output_than_is_collected_is_ended(session) -> None:
    opened = await session()
    command = probe("flood", "out", "50000000", limits=ExecutionLimits(output_bytes=None))
    completed = await opened.run(command, most=100_000)
    assert len(completed.stdout) == 100_000
    assert completed.facts.killed_by is KilledBy.OUTPUT
    assert completed.outcome.kind is OutcomeKind.OUTPUT_LIMIT


async def test_a_cancelled_run_kills_its_program(session) -> None:
    opened = await session()
    task = asyncio.create_task(opened.run(probe("sleep", "30")))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    await until_none_is_left(opened)


async def until_none_is_left(opened) -> None:
    """Until its agent has released every execution."""
    async with asyncio.timeout(10):
        while opened.driver.sandbox(opened.sandbox.id).executions:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_cancelling_a_run_at_any_point_leaves_the_connection_sound(session) -> None:
    opened = await session()
    for turns in range(60):
        task = asyncio.create_task(opened.run(probe("cat"), bytes(200_000)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
    assert (await opened.run(probe("echo", "hi"))).stdout == b"hi\n"
    await until_none_is_left(opened)


async def lost_by(session, what) -> str:
    opened = await session()
    task = asyncio.create_task(opened.run(probe("sleep", "30")))
    await asyncio.sleep(0.02)
    what(opened.driver, opened.sandbox.id)
    completed = await task
    assert completed.outcome.kind is OutcomeKind.LOST
    assert not completed.outcome.success
    assert completed.facts.exit_code is None
    return completed.outcome.reason


async def test_the_reason_of_a_loss_is_found_out(session) -> None:
    outside = await lost_by(session, lambda driver, number: driver.end_from_outside(number))
    assert outside == "the sandbox was ended from outside"
    died = await lost_by(session, lambda driver, number: driver.agent(number).die())
    assert died == "the agent died"
    broke = await lost_by(session, lambda driver, number: driver.agent(number).cut())
    assert broke == "the connection broke"
    garbage = await lost_by(
        session, lambda driver, number: driver.agent(number).send_garbage(b"\xff" * 100)
    )
    assert garbage == "the agent broke the protocol"


async def test_a_driver_that_cannot_say_leaves_the_connection_as_the_reason(session) -> None:
    class Blind(FakeDriver):
        async def examine(self, sandbox_id: str) -> SandboxState | None:
            raise RuntimeFailed("no answer")

    opened = await session(Blind())
    execution = await opened.start(probe("sleep", "30"))
    opened.driver.agent(opened.sandbox.id).die()
    _, outcome = await opened.conclude(execution, probe("sleep", "30"))
    assert outcome.reason == "the connection broke"


async def test_an_agent_that_was_killed_for_memory_is_an_out_of_memory(session) -> None:
    opened = await session()
    execution = await opened.start(probe("sleep", "30"))
    await opened.agent.ping()
    opened.driver.sandbox(opened.sandbox.id).oom_kills += 1
    opened.driver.agent(opened.sandbox.id).die()
    facts, outcome = await opened.conclude(execution, probe("sleep", "30"))
    assert facts.lost == "the agent died"
    assert facts.oom_kills is not None
    assert (facts.oom_kills.source, facts.oom_kills.scope) == (Source.HOST, Scope.SANDBOX)
    assert outcome.kind is OutcomeKind.OUT_OF_MEMORY


async def test_kills_of_earlier_programs_are_not_counted_again(session, new_spec) -> None:
    limits = SandboxLimits(memory_bytes=64 * MIB, disk_bytes=MIB)
    async with open_session(FakeDriver(), new_spec(limits=limits)) as opened:
        eaten = await opened.run(probe("alloc", "100", "0"))
        assert eaten.outcome.kind is OutcomeKind.OUT_OF_MEMORY
        execution = await opened.start(probe("sleep", "30"))
        await opened.agent.ping()
        opened.driver.agent(opened.sandbox.id).die()
        _, outcome = await opened.conclude(execution, probe("sleep", "30"))
        assert outcome.kind is OutcomeKind.LOST


async def test_without_the_agents_word_the_host_counts_the_kills(session, monkeypatch) -> None:
    """An agent without control groups reports a SIGKILL only; the host knows better."""
    monkeypatch.setattr(
        fake_agent, "exit_payload", lambda facts: exit_payload(replace(facts, oom_kills=None))
    )
    opened = await session()
    completed = await opened.run(probe("alloc", "300", "0"))
    assert completed.outcome.kind is OutcomeKind.OUT_OF_MEMORY
    assert completed.facts.oom_kills.source is Source.HOST
    assert (await opened.run(probe("signal", "9"))).outcome.kind is OutcomeKind.SIGNALED


async def test_a_refused_execution_is_an_error_not_an_outcome(session) -> None:
    opened = await session()
    running = [await opened.start(probe("sleep", "30")) for _ in range(64)]
    with pytest.raises(ExecutionRefused):
        await opened.run(probe("echo"))
    for execution in running:
        execution.abandon()


def test_an_agent_that_misses_the_wall_limit_is_found_out(new_spec) -> None:
    async def main() -> None:
        async with open_session(FakeDriver(), new_spec()) as opened:
            opened.driver.agent(opened.sandbox.id).faults.no_exit = True
            loop = asyncio.get_running_loop()
            started = loop.time()
            completed = await opened.run(
                probe("sleep", "30", limits=ExecutionLimits(wall_seconds=2.0))
            )
            assert loop.time() - started == pytest.approx(7.0)
            assert completed.outcome.kind is OutcomeKind.LOST
            assert completed.outcome.reason == "the agent did not end the program in time"
            assert await opened.driver.list() == []

    run_in_virtual_time(main())


def test_the_watchdog_waits_for_a_slow_reader(new_spec) -> None:
    async def main() -> None:
        async with open_session(FakeDriver(), new_spec()) as opened:
            limits = ExecutionLimits(wall_seconds=2.0, output_bytes=None)
            command = probe("flood", "out", "3000000", limits=limits)
            execution = await opened.start(command)
            concluding = asyncio.create_task(opened.conclude(execution, command))
            async for _ in execution.output():
                await asyncio.sleep(1.0)
            _, outcome = await concluding
            assert outcome.kind is OutcomeKind.TIMED_OUT

    run_in_virtual_time(main())


def test_a_program_without_wall_limit_is_never_overdue(new_spec) -> None:
    async def main() -> None:
        async with open_session(FakeDriver(), new_spec()) as opened:
            limits = ExecutionLimits(wall_seconds=None)
            completed = await opened.run(probe("sleep", "100000", limits=limits))
            assert completed.outcome.success

    run_in_virtual_time(main())


async def test_the_sandbox_is_destroyed_whatever_happens(new_spec) -> None:
    driver = FakeDriver()
    with pytest.raises(RuntimeError):
        async with open_session(driver, new_spec()):
            raise RuntimeError
    assert await driver.list() == []


async def test_an_agent_that_refuses_costs_the_sandbox(new_spec, monkeypatch) -> None:
    driver = FakeDriver()
    monkeypatch.setattr("assay.drivers.fake.agent._Connection._judge", lambda self, hello: "secret")
    with pytest.raises(AgentRefused):
        async with open_session(driver, new_spec()):
            pass
    assert await driver.list() == []


async def test_an_agent_that_died_before_it_was_used_is_said_to_have(new_spec) -> None:
    class Dying(FakeDriver):
        async def connect(self, sandbox_id: str):
            stream = await super().connect(sandbox_id)
            self.agent(sandbox_id).die()
            return stream

    driver = Dying()
    with pytest.raises(AgentDied):
        async with open_session(driver, new_spec()):
            pass
    assert await driver.list() == []


async def test_cancelling_the_opening_at_any_point_leaves_nothing(new_spec) -> None:
    driver = FakeDriver()

    async def use() -> None:
        async with open_session(driver, new_spec()) as opened:
            await opened.run(probe("echo", "hi"))

    for turns in range(40):
        task = asyncio.create_task(use())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        assert await driver.list() == []


async def test_after_the_loss_nothing_starts(session) -> None:
    opened = await session()
    opened.driver.agent(opened.sandbox.id).cut()
    await asyncio.sleep(0.02)
    with pytest.raises(ConnectionLost):
        await opened.run(probe("echo"))


async def test_scripts_of_ones_own_run_as_programs(session) -> None:
    async def greet(process: Process) -> int:
        name = (await process.read()).decode().strip()
        await process.write(f"hello {name}\n".encode())
        return 5

    opened = await session(greet=greet)
    completed = await opened.run(Command(argv=("greet",)), b"you\n")
    assert (completed.stdout, completed.outcome.code) == (b"hello you\n", 5)
