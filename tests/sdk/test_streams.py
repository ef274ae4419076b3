"""Running programs: their bytes, whatever happens to connections."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import pytest
from wire_server import WireServer, pattern

from assay_client import Client, Patience, Process, Runner, TerminalSize
from assay_client.errors import (
    AssayError,
    InputClosed,
    ProtocolViolation,
    Replaced,
    UnknownExecution,
    Unreachable,
)

MANY = 3_000_000


async def until(holds: object) -> None:
    for _ in range(500):
        if holds():  # type: ignore[operator]
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to hold")


async def test_a_programs_output_and_end_arrive(runner: Runner, server: WireServer) -> None:
    async with runner.start("echo", "Hello") as process:
        chunks = [chunk async for chunk in process]
        end = await process.wait()
    assert [(chunk.stream, chunk.offset, chunk.data) for chunk in chunks] == [
        ("stdout", 0, b"Hello\n")
    ]
    assert end.success
    assert str(end.outcome) == "exited(0)"
    await until(lambda: server.programs["e0"].forgotten)


async def test_no_byte_is_lost_or_doubled_by_connections_that_break(
    runner: Runner, server: WireServer
) -> None:
    server.cut_after = 700_000
    async with runner.start("count", str(MANY)) as process:
        stdout, stderr, end = await process.collect()
    assert stdout == pattern(MANY)
    assert stderr == b""
    assert end.success
    assert len(server.connections) >= MANY // 700_000
    assert server.connections[0].get("offset") is None
    assert int(server.connections[1]["offset"]) > 0


async def test_what_arrives_twice_is_dropped(runner: Runner, server: WireServer) -> None:
    def again(frame: bytes) -> bytes:
        """Each frame begins 10 bytes earlier than it has to."""
        offset = int.from_bytes(frame[1:9])
        earlier = max(0, offset - 10)
        return frame[:1] + earlier.to_bytes(8) + pattern(MANY)[earlier:offset] + frame[9:]

    server.tamper = again
    async with runner.start("count", "200000") as process:
        stdout, _, _ = await process.collect()
    assert stdout == pattern(200_000)


async def test_a_gap_in_the_output_is_an_error_and_no_silence(
    runner: Runner, server: WireServer
) -> None:
    server.tamper = lambda frame: (
        frame[:1] + (int.from_bytes(frame[1:9]) + 1).to_bytes(8) + frame[9:]
    )
    async with runner.start("count", "100") as process:
        with pytest.raises(ProtocolViolation, match="output is missing"):
            await process.collect()


@pytest.mark.parametrize("frame", [b"", b"\1", b"\7" + bytes(8) + b"x", b"\1" + bytes(8)])
async def test_bytes_that_are_no_output_are_refused(
    runner: Runner, server: WireServer, frame: bytes
) -> None:
    server.tamper = lambda _: frame
    async with runner.start("count", "100") as process:
        with pytest.raises(ProtocolViolation):
            await process.wait()


async def test_input_arrives_once_over_connections_that_break(
    runner: Runner, server: WireServer
) -> None:
    async with runner.start("cat", stdin=True) as process:

        async def feed() -> None:
            for start in range(0, MANY, 100_000):
                await process.write(pattern(MANY)[start : start + 100_000])
                if start % 700_000 == 0:
                    server.cut()
            await process.end_input()

        feeding = asyncio.ensure_future(feed())
        stdout, _, end = await process.collect()
        await feeding
    assert bytes(server.programs["e0"].stdin) == pattern(MANY)
    assert stdout == pattern(MANY)
    assert end.success
    assert len(server.connections) > 2


def kept_by(process: Process) -> int:
    return sum(len(chunk.data) for chunk in process._chunks)


async def test_output_that_nobody_reads_stops_the_program_and_takes_no_memory(
    runner: Runner, server: WireServer
) -> None:
    async with runner.start("count", str(8_000_000)) as process:
        await process.__anext__()
        await until(lambda: kept_by(process) > 500_000)
        await asyncio.sleep(0.2)
        kept = kept_by(process)
        assert 500_000 < kept <= 1024 * 1024
        stdout, _, _ = await process.collect()
        assert kept + len(stdout) >= 7_000_000
    acks = [m for m in server.programs["e0"].messages if m["type"] == "ack"]
    assert 8_000_000 // (1024 * 1024) <= len(acks) < 100


async def test_a_little_output_is_acknowledged_after_a_while(
    runner: Runner, server: WireServer
) -> None:
    async with runner.start("cat", stdin=True) as process:
        await process.write("x")
        assert (await process.__anext__()).data == b"x"
        waiting = asyncio.ensure_future(process.__anext__())
        await until(lambda: server.programs["e0"].acknowledged == 1)
        await process.end_input()
        with contextlib.suppress(StopAsyncIteration):
            await waiting


async def test_input_waits_when_nobody_takes_it_and_is_kept_no_further(
    runner: Runner, server: WireServer
) -> None:
    server.confirms_input = False
    async with runner.start("forever", stdin=True) as process:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await process.write(bytes(2_000_000))
        assert process._stream.room == 0


async def test_a_program_that_closed_its_input_says_so(runner: Runner) -> None:
    async with runner.start("deaf", stdin=True) as process:
        await until(lambda: process._stream.input_closed)
        with pytest.raises(InputClosed):
            await process.write("x")
        await process.end_input()


async def test_signals_sizes_and_cancelling_reach_the_program(
    runner: Runner, server: WireServer
) -> None:
    async with runner.start("size", terminal=TerminalSize(rows=5, columns=10)) as process:
        await process.resize(33, 44)
        assert (await process.__anext__()).data == b"33x44\n"
        server.cut()
        assert (await process.__anext__()).data == b"33x44\n"  # said again: it may not have arrived
        await process.signal(signal.SIGINT)
        assert str((await process.wait()).outcome) == "signaled(2)"
    async with runner.start("forever") as process:
        await process.cancel()
        assert str((await process.wait()).outcome) == "cancelled"


async def test_leaving_ends_the_program(runner: Runner, server: WireServer) -> None:
    async with runner.start("forever"):
        pass
    assert server.programs["e0"].outcome == {"kind": "cancelled"}


async def test_leaving_by_an_error_or_by_being_cancelled_ends_it_too(
    runner: Runner, server: WireServer
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with runner.start("forever"):
            raise ZeroDivisionError

    async def follow() -> None:
        async with runner.start("forever") as process:
            await process.wait()

    task = asyncio.ensure_future(follow())
    await until(lambda: "e1" in server.programs and server.programs["e1"].started)
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    assert [p.outcome for p in server.programs.values()] == [{"kind": "cancelled"}] * 2


async def test_a_restarted_server_is_found_again(runner: Runner, server: WireServer) -> None:
    async with runner.start("cat", stdin=True) as process:
        await process.write("before ")
        assert (await process.__anext__()).data == b"before "
        await server.stop()
        await process.write("while ")
        await process.end_input()
        await asyncio.sleep(0.3)
        await server.start()
        stdout, _, end = await process.collect()
    assert stdout == b"while "
    assert end.success


async def test_a_server_that_does_not_come_back_is_reported_in_time(server: WireServer) -> None:
    patience = Patience(request_seconds=0.1, resume_seconds=0.5)
    token = "assay_" + "a" * 32
    async with Client(server.url, token, patience=patience) as client:
        runner = await client.create_runner("python")
        process = await runner.spawn("forever")
        await until(lambda: server.programs["e0"].started)
        await server.stop()
        with pytest.raises(Unreachable):
            async with asyncio.timeout(4):
                await process.wait()
        await process.aclose()
        with pytest.raises(Unreachable):
            await runner.delete()
    await server.start()


async def test_an_execution_that_the_server_forgot_is_unknown(
    runner: Runner, server: WireServer
) -> None:
    async with runner.start("forever") as process:
        await until(lambda: server.programs["e0"].started)
        server.programs["e0"].forgotten = True
        server.cut()
        with pytest.raises(UnknownExecution):
            await process.wait()


async def test_whoever_follows_later_replaces_the_one_before(
    runner: Runner, server: WireServer
) -> None:
    first = await runner.spawn("cat", stdin=True)
    await first.write("one ")
    assert (await first.__anext__()).data == b"one "
    second = runner.attach(first.execution_id, offset=2)
    assert (await second.__anext__()).data == b"e "
    with pytest.raises(Replaced):
        await first.wait()
    await second.write("two")
    await second.end_input()
    assert (await second.collect())[0] == b"two"
    await first.aclose()
    await second.aclose()


async def test_detaching_leaves_the_program_running(runner: Runner, server: WireServer) -> None:
    process = await runner.spawn("forever")
    await until(lambda: server.programs["e0"].started)
    await process.detach()
    assert server.programs["e0"].outcome is None
    with pytest.raises(AssayError):
        await process.wait()


async def test_waiting_drops_what_nobody_reads(runner: Runner) -> None:
    async with runner.start("count", str(5_000_000)) as process:
        assert (await process.wait()).success
