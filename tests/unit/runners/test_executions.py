"""Executions of runners: start, streams, the end, and clients that come and go."""

import asyncio
import gc

import pytest

from assay.agent.execution import Execution
from assay.domain.command import TerminalSize
from assay.domain.errors import InvalidInput, OffsetLost, QuotaExceeded, UnknownExecution
from assay.domain.limits import ExecutionLimits
from assay.runners import EndReason, State
from assay.runners import executions as executions_module
from assay.runners.attachment import Attachment
from assay.runners.events import ExecutionEnded, ExecutionStarted
from assay.runners.executions import HostedExecution
from assay.runners.runner import Runner

from .conftest import NO_LIMITS, Server, Taken, begin, environment, take, until


async def test_a_program_is_followed_from_its_start_to_its_end(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "say", "hello", "err:oops")
    assert (attachment.resumed, attachment.started_offset, attachment.input_offset) == (False, 0, 0)
    taken = await take(attachment)
    assert (taken.stdout, taken.stderr, taken.code) == (b"hello\n", b"oops\n", 0)
    await attachment.finish()
    assert runner.executions() == []
    assert len(server.told(ExecutionStarted)) == 1
    (ended,) = server.told(ExecutionEnded)
    assert ended.outcome == "exited"
    assert ended.first_output_seconds is not None


async def test_nothing_runs_before_a_client_follows(server: Server) -> None:
    runner = await server.runners.create("bash")
    execution_id = await runner.prepare(runner.command(("say", "x")))
    await asyncio.sleep(0.02)
    assert server.driver.sandbox(runner.lease.sandbox_id).executions == {}
    assert [listed.state for listed in runner.executions()] == [State.PREPARED]
    assert len(await server.storage.executions(runner.id)) == 1
    attachment = await runner.follow(execution_id)
    assert (await take(attachment)).code == 0
    await attachment.finish()


async def test_what_nobody_follows_is_forgotten(server: Server, monkeypatch) -> None:
    monkeypatch.setattr(executions_module, "PREPARED_SECONDS", 0.05)
    runner = await server.runners.create("bash")
    execution_id = await runner.prepare(runner.command(("say", "x")))
    await asyncio.sleep(0.1)
    with pytest.raises(UnknownExecution):
        await runner.follow(execution_id)
    assert await server.storage.executions() == []


async def test_what_is_cancelled_before_its_client_comes_never_runs(server: Server) -> None:
    runner = await server.runners.create("bash")
    execution_id = await runner.prepare(runner.command(("say", "x")))
    runner.cancel(execution_id)
    attachment = await runner.follow(execution_id)
    taken = await take(attachment)
    assert (taken.stdout, taken.ended.outcome.kind) == (b"", "cancelled")
    await attachment.finish()
    assert server.driver.sandbox(runner.lease.sandbox_id).executions == {}
    assert runner.executions() == []
    assert await server.storage.executions() == []
    assert server.told(ExecutionEnded) == []


async def test_an_end_is_released_only_once_its_row_is_gone(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "say", "x")
    await take(attachment)
    sandbox = server.driver.sandbox(runner.lease.sandbox_id)
    await attachment.finish()
    assert len(sandbox.executions) == 1
    await until(lambda: not sandbox.executions)
    assert sandbox.executions == {}
    assert await server.storage.executions() == []


async def test_input_arrives_and_its_window_is_told(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "echo", stdin=True)
    data = bytes(range(256)) * 4000
    writing = asyncio.create_task(attachment.write(data))
    taken = await take(attachment, until=lambda taken: len(taken.stdout) == len(data))
    await writing
    await attachment.end_input()
    taken = await take(attachment, taken)
    assert taken.stdout == data
    assert taken.code == 0
    assert [window.offset for window in taken.windows] == sorted({w.offset for w in taken.windows})
    assert taken.windows[-1].offset <= len(data)
    await attachment.finish()


async def test_input_that_was_had_already_is_dropped(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "echo", stdin=True)
    await attachment.write(b"abc", 0)
    await attachment.write(b"bcd", 1)
    await attachment.write(b"a", 0)
    with pytest.raises(InvalidInput, match="missing"):
        await attachment.write(b"x", 6)
    await attachment.end_input()
    with pytest.raises(InvalidInput, match="ended"):
        await attachment.write(b"x", 4)
    assert (await take(attachment)).stdout == b"abcd"
    await attachment.finish()


async def test_input_with_an_offset_never_waits_and_ends_at_its_window(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "wait", "20", stdin=True)
    block = bytes(2**20)
    await attachment.write(block, 0)
    with pytest.raises(InvalidInput, match="more standard input"):
        await attachment.write(b"x", 2**20)
    await attachment.cancel()
    assert (await take(attachment)).ended.outcome.kind == "cancelled"
    await attachment.finish()


async def test_who_writes_without_offset_waits_and_is_let_go_at_the_end(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "wait", "0.1", stdin=True)
    writing = asyncio.create_task(attachment.write(bytes(2_000_000)))
    await take(attachment)
    await asyncio.wait_for(writing, 1)
    await attachment.finish()


async def test_a_terminal_echoes_resizes_and_takes_signals(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "echo", terminal=TerminalSize(rows=10, columns=20))
    await attachment.write(b"hi\n")
    taken = await take(attachment, until=lambda taken: taken.stdout.count(b"hi") == 2)
    await attachment.resize(TerminalSize(rows=30, columns=90))
    await attachment.write(b"\x03")
    taken = await take(attachment, taken)
    assert taken.ended.outcome.signal == 2
    await attachment.finish()


async def test_a_signal_ends_a_program_and_is_no_cancel(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "wait", "20")
    await attachment.signal(15)
    assert (await take(attachment)).ended.outcome.signal == 15
    with pytest.raises(InvalidInput):
        await attachment.resize(TerminalSize())
    with pytest.raises(InvalidInput):
        await attachment.write(b"x")
    await attachment.finish()


async def test_the_wall_limit_ends_a_program(server: Server) -> None:
    runner = await server.runners.create("bash")
    limits = ExecutionLimits(wall_seconds=0.1)
    attachment = await begin(runner, "wait", "20", limits=limits)
    outcome = (await take(attachment)).ended.outcome
    assert (outcome.kind, outcome.clock) == ("timed_out", "wall")
    await attachment.finish()


async def test_a_lost_connection_is_not_the_end_and_a_client_resumes(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "count", "40", "0.005")
    taken = await take(attachment, acknowledge=False, until=lambda taken: taken.offset >= 20)
    await attachment.detach()
    # The client got only 8 bytes of it.
    got = Taken(stdout=taken.stdout[:8], offset=8)
    again = await runner.follow(attachment.execution_id, offset=8)
    assert again.resumed
    assert again.started_offset == 8
    whole = await take(again, got)
    assert whole.stdout == b"".join(f"{number}\n".encode() for number in range(40))
    assert whole.code == 5
    await again.finish()


async def test_the_end_waits_for_a_client_that_is_not_there(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "say", "x")
    await attachment.detach()
    await until(lambda: [listed.state for listed in runner.executions()] == [State.ENDED])
    again = await runner.follow(attachment.execution_id, offset=0)
    taken = await take(again)
    assert (taken.stdout, taken.code) == (b"x\n", 0)
    await again.detach()
    once_more = await runner.follow(attachment.execution_id, offset=2)
    assert (await take(once_more)).code == 0
    await once_more.finish()
    with pytest.raises(UnknownExecution):
        await runner.follow(attachment.execution_id)


async def test_the_end_does_not_wait_for_ever(start) -> None:
    server = await start(retain_seconds=0.05)
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "say", "x")
    await attachment.detach()
    await until(lambda: not runner.executions())


async def test_a_newer_client_replaces_the_older_one(server: Server) -> None:
    runner = await server.runners.create("bash")
    older = await begin(runner, "count", "20", "0.01")
    following = asyncio.create_task(take(older, acknowledge=False))
    await asyncio.sleep(0.03)
    newer = await runner.follow(older.execution_id, offset=0)
    assert (await following).replaced
    older.acknowledge(0)
    await older.detach()
    assert [listed.attached for listed in runner.executions()] == [True]
    assert (await take(newer)).stdout.endswith(b"19\n")
    await newer.finish()


async def test_output_that_was_confirmed_is_gone(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "say", "hello")
    taken = await take(attachment)
    with pytest.raises(InvalidInput, match="not sent"):
        attachment.acknowledge(7)
    attachment.acknowledge(taken.offset)
    await attachment.detach()
    with pytest.raises(OffsetLost):
        await runner.follow(attachment.execution_id, offset=0)
    with pytest.raises(OffsetLost):
        await runner.follow(attachment.execution_id, offset=100)
    last = await runner.follow(attachment.execution_id)
    assert last.started_offset == 6
    await last.finish()


async def test_a_client_of_poseidon_has_one_connection(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "count", "10", "0.01", mode="poseidon")
    with pytest.raises(UnknownExecution):
        await runner.follow(attachment.execution_id)
    assert (await take(attachment)).code == 5
    await attachment.finish()


async def test_what_a_client_of_poseidon_left_behind_runs_on_and_is_forgotten(
    server: Server,
) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "flood", "3000000", mode="poseidon")
    await attachment.detach()
    await until(lambda: not runner.executions())
    assert runner.executions() == []
    assert [event.outcome for event in server.told(ExecutionEnded)] == ["exited"]


async def test_a_client_that_leaves_in_an_orderly_way_ends_its_program(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "wait", "20", mode="poseidon")
    await attachment.abandon()
    await until(lambda: not runner.executions())
    assert [event.outcome for event in server.told(ExecutionEnded)] == ["cancelled"]
    assert runner.executions() == []


async def test_without_a_limit_and_a_client_a_program_is_cancelled(start) -> None:
    limitless = ExecutionLimits(wall_seconds=None)
    open_end = {"bash": environment("bash", ceiling=limitless_ceiling())}
    server = await start(environments=open_end, detached_seconds=0.05)
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "wait", "20", limits=limitless)
    await attachment.detach()
    await asyncio.sleep(0.2)
    again = await runner.follow(attachment.execution_id)
    assert (await take(again)).ended.outcome.kind == "cancelled"
    await again.finish()


def limitless_ceiling() -> ExecutionLimits:
    return ExecutionLimits(wall_seconds=None, cpu_seconds=None, output_bytes=None, open_files=None)


async def test_a_program_that_floods_waits_for_its_client(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "flood", "5000000")
    (hosted,) = runner._hosted.values()
    await until(lambda: hosted.replay.unconfirmed >= 2**20)
    await asyncio.sleep(0.05)
    assert hosted.replay.unconfirmed == 2**20
    assert len((await take(attachment)).stdout) == 5_000_000
    await attachment.finish()


async def test_a_runner_has_so_many_executions_and_no_more(server: Server, monkeypatch) -> None:
    monkeypatch.setattr("assay.runners.runner.EXECUTIONS_MOST", 3)
    runner = await server.runners.create("bash")
    attachments = [await begin(runner, "wait", "20") for _ in range(3)]
    with pytest.raises(QuotaExceeded):
        await runner.prepare(runner.command(("say", "x")))
    await attachments[0].abandon()
    await until(lambda: len(runner.executions()) == 2)
    fourth = await begin(runner, "say", "x")
    assert (await take(fourth)).code == 0
    await fourth.finish()


async def test_a_command_too_long_for_a_sandbox_is_refused_before_it_starts(
    server: Server,
) -> None:
    runner = await server.runners.create("bash")
    with pytest.raises(InvalidInput):
        await runner.prepare(runner.command(("say", "x" * 70_000)))
    with pytest.raises(InvalidInput):
        await runner.prepare(runner.command(("say", *["x"] * 14_000)))
    assert runner.executions() == []


async def test_one_call_runs_a_program_with_its_input(server: Server) -> None:
    runner = await server.runners.create("bash")
    completed = await runner.run(runner.command(("echo",)), b"in and out", most=1000)
    assert (completed.stdout, completed.outcome.code) == (b"in and out", 0)
    completed = await runner.run(runner.command(("flood", "100000"), limits=NO_LIMITS), most=1000)
    assert completed.outcome.kind == "output_limit"
    assert len(completed.stdout) == 1000
    running = asyncio.create_task(runner.run(runner.command(("wait", "20")), most=10))
    await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.wait((running,))
    await until(lambda: not runner.executions())
    assert runner.executions() == []
    assert await server.storage.executions() == []


async def test_a_deleted_runner_tells_those_who_wait(server: Server) -> None:
    runner = await server.runners.create("bash")
    attachment = await begin(runner, "wait", "20")
    following = asyncio.create_task(take(attachment))
    await asyncio.sleep(0.02)
    await server.runners.delete(runner.id)
    assert (await following).lost == EndReason.DELETED
    await attachment.finish()


async def test_ends_that_nobody_came_back_for_make_room(server: Server, monkeypatch) -> None:
    monkeypatch.setattr("assay.runners.runner.EXECUTIONS_MOST", 3)
    runner = await server.runners.create("bash")
    left = []
    for _ in range(5):
        attachment = await begin(runner, "say", "x")
        assert (await take(attachment)).code == 0
        await attachment.detach()
        left.append(attachment.execution_id)
    assert [listed.execution_id for listed in runner.executions()] == left[-3:]


async def test_what_is_over_is_not_left_to_the_garbage_collector(server: Server) -> None:
    """Among thousands of runners its passes keep everybody waiting for tenths of a second."""
    gc.collect()
    gc.disable()
    try:
        runner = await server.runners.create("bash")
        for _ in range(3):
            attachment = await begin(runner, "say", "x")
            await take(attachment)
            await attachment.finish()
        await server.runners.delete(runner.id)
        del attachment, runner
        await asyncio.sleep(0.05)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        ours = {type(one) for one in gc.garbage} & {HostedExecution, Execution, Attachment, Runner}
        assert ours == set()
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
