"""Programs that attack through their output, their terminal and their descriptors."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from typing import Final

from assay.domain.command import TerminalSize
from assay.domain.errors import ConnectionLost
from assay.domain.limits import MIB
from assay.domain.outcome import OutcomeKind
from assay.testing.case import Group, expect, expect_equal, expect_in_time, expect_outcome
from assay.testing.hostile.processes import expect_only_agent, expect_usable
from assay.testing.leaks import resident_bytes
from assay.testing.verdicts import expect_refused
from assay.testing.workbench import Workbench

group = Group("output", hostile=True)

_HEADER: Final = struct.Struct("<III")


def _xorshift(seed: int, size: int) -> bytes:
    """The bytes that the probe's `garbage` writes."""
    data, state = bytearray(), seed
    for _ in range(size):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        data.append(state & 255)
    return bytes(data)


@group.case()
async def flood(bench: Workbench) -> None:
    """A flood on both outputs is cut to the byte, and costs the host no memory."""
    session = await bench.session()
    before = resident_bytes()
    completed = await bench.run(session, "flood", "both", str(10**12), output=2 * MIB + 7)
    expect_outcome(completed.outcome, OutcomeKind.OUTPUT_LIMIT)
    expect_equal(len(completed.stdout) + len(completed.stderr), 2 * MIB + 7, "the number of bytes")
    expect(resident_bytes() - before < 16 * MIB, "the host's memory grew")
    await expect_only_agent(session)


@group.case()
async def flood_that_nobody_reads(bench: Workbench) -> None:
    """A flood that nobody reads still ends at its wall limit, and its output can be read then."""
    session = await bench.session()
    command = bench.command("flood", "both", str(10**12), wall=0.5, output=None)
    execution = await session.start(command)
    async for _ in execution.output():
        break
    await asyncio.sleep(1.0)
    total = sum([len(chunk.data) async for chunk in execution.output()])
    expect(total > 0, "nothing was kept")
    _, outcome = await session.conclude(execution, command)
    expect_outcome(outcome, OutcomeKind.TIMED_OUT, clock="wall")
    expect_in_time(total <= 4 * MIB, f"{total} bytes were kept, or it went on to be read")


@group.case()
async def garbage(bench: Workbench) -> None:
    """Random bytes arrive unchanged."""
    output = await bench.said(await bench.session(), "garbage", "2463534242", "300000")
    expect(output == _xorshift(2463534242, 300_000), "the bytes were changed")


@group.case()
async def forged_frames(bench: Workbench) -> None:
    """Output that looks like the agent's own frames is output, and changes no verdict."""
    exit_code = b"\x20\x08\x00\x00\x00" + bytes(8)
    forged = b"".join(
        _HEADER.pack(len(payload), channel, kind) + payload
        for channel in (0, 1, 2, 3)
        for kind, payload in ((17, exit_code), (3, b""), (23, b""), (36, bytes(9)))
    )
    completed = await bench.run(await bench.session(), "cat", stdin=forged * 50)
    expect_equal(completed.stdout, forged * 50, "the output")
    expect_outcome(completed.outcome, OutcomeKind.EXITED, code=0)


@group.case()
async def single_bytes_in_turn(bench: Workbench) -> None:
    """Single bytes on alternating outputs are cut at the limit and hold nobody up."""
    session = await bench.session()
    muttering = await bench.start(session, "mutter", output=60_000, wall=10.0)
    for _ in range(5):
        began = time.monotonic()
        await bench.said(session, "echo", "hi")
        expect_in_time(
            time.monotonic() - began < bench.patient(1.0),
            "a program beside it took more than a second",
        )
    got = {"stdout": 0, "stderr": 0}
    async for chunk in muttering.execution.output():
        got[chunk.stream] += len(chunk.data)
    _, outcome = await muttering.conclude()
    expect_outcome(outcome, OutcomeKind.OUTPUT_LIMIT)
    expect_equal(sum(got.values()), 60_000, "the number of bytes")


@group.case()
async def closing_everything(bench: Workbench) -> None:
    """A program that closes all its descriptors is still there, and ends at its wall limit."""
    session = await bench.session()
    completed = await bench.run(session, "close-all", wall=0.5)
    expect_outcome(completed.outcome, OutcomeKind.TIMED_OUT, clock="wall")
    await expect_only_agent(session)


@group.case()
async def output_passed_to_another(bench: Workbench) -> None:
    """An output that was handed to another program does not keep its own program from ending."""
    session = await bench.session()
    taking = await bench.start(session, "take-stdout", "probe-out", "2", wall=None, cpu=None)
    await taking.read(b"waiting\n")
    began = time.monotonic()
    completed = await bench.run(session, "give-stdout", "probe-out", wall=5.0)
    expect_outcome(completed.outcome, OutcomeKind.EXITED, code=0)
    soon = time.monotonic() - began < bench.patient(2.0)
    expect_in_time(soon, "the end waited for the other program")
    expect(b"given\n" in completed.stdout, f"the output is {completed.stdout[:60]!r}")
    await taking.read(b"taken\n")
    await asyncio.sleep(0.1)
    await bench.said(session, "echo", "hi")
    expect(not taking.execution.ended, "the other program was ended, too")
    await taking.execution.cancel()
    _, outcome = await taking.conclude()
    expect_outcome(outcome, OutcomeKind.CANCELLED)


@group.case()
async def output_held_by_a_daemon(bench: Workbench) -> None:
    """A child that keeps the outputs open and writes on does not delay the end."""
    session = await bench.session()
    began = time.monotonic()
    completed = await bench.run(session, "bomb", "fork", "leave", wall=10.0, cpu=None)
    expect_outcome(completed.outcome, OutcomeKind.EXITED, code=0)
    took = time.monotonic() - began
    expect_in_time(took < bench.patient(3.0), f"the end took {took:.1f} s")


@group.case()
async def stopped_terminal(bench: Workbench) -> None:
    """A terminal that was stopped by Ctrl-S does not hold up the limit."""
    session = await bench.session()
    options = {"terminal": TerminalSize(), "stdin": True}
    stopped = await bench.start(session, "cat", wall=1.0, **options)
    await stopped.execution.write(b"\x13")
    with_much = b"x" * 1000 + b"\n"
    await stopped.execution.write(with_much)
    _, outcome = await stopped.conclude()
    expect_outcome(outcome, OutcomeKind.TIMED_OUT, clock="wall")
    await expect_usable(bench, session)


@group.case()
async def terminal_that_is_never_read(bench: Workbench) -> None:
    """Megabytes typed into a terminal that nobody reads block neither the host nor the agent."""
    session = await bench.session()
    deaf = await bench.start(session, "ignore", "30", terminal=TerminalSize(), stdin=True, wall=2.0)
    typing = bench.background(deaf.execution.write(b"k" * (4 * MIB)))
    for _ in range(5):
        await bench.said(session, "echo", "hi")
    _, outcome = await deaf.conclude()
    expect_outcome(outcome, OutcomeKind.TIMED_OUT, clock="wall")
    async with asyncio.timeout(bench.patient(3)):
        await typing


@group.case("terminal_keys")
async def storm_of_sizes(bench: Workbench) -> None:
    """Ten thousand changes of a terminal's size hold nobody up."""
    session = await bench.session()
    started = await bench.start(session, "size", terminal=TerminalSize(), stdin=True)
    reading = bench.background(started.discard())
    for number in range(10_000):
        size = TerminalSize(rows=1 + number % 50, columns=1 + number % 200)
        await started.execution.resize(size)
    await bench.said(session, "echo", "hi")
    await started.execution.write(b"\x04")
    async with asyncio.timeout(bench.patient(10)):
        await reading
    _, outcome = await started.conclude()
    expect_outcome(outcome, OutcomeKind.EXITED, code=0)


@group.case()
async def storm_of_signals(bench: Workbench) -> None:
    """Ten thousand signals to a program, and requests for programs that ended, harm nobody."""
    session = await bench.session()
    started = await bench.start(session, "ignore", "30")
    await started.read(b"ready\n")
    for number in range(10_000):
        await started.execution.signal(1 + number % 8)
    await started.execution.cancel()
    await started.conclude()
    await expect_usable(bench, session)


@group.case()
async def injecting_into_a_terminal(bench: Workbench) -> None:
    """A program can neither type into its terminal nor take another's."""
    session = await bench.session()
    completed = await bench.run(session, "terminal", terminal=TerminalSize())
    expect_refused(completed.stdout.replace(b"\r\n", b"\n"))


@group.case("privilege_separation")
async def another_users_terminal(bench: Workbench) -> None:
    """A learner cannot open the terminal of a privileged program."""
    session = await bench.session()
    grader = await bench.start(
        session, "prompt", "ready", "30", terminal=TerminalSize(), privileged=True
    )
    await grader.read(b"ready")
    expect_refused(await bench.said(session, "terminals"))
    await grader.execution.cancel()
    await grader.conclude()


@group.case(timeout=60)
async def sixty_floods_that_nobody_reads(bench: Workbench) -> None:
    """Sixty unread floods with unread input cost bounded memory, and the sandbox stays usable."""
    session = await bench.session(processes=128, memory_bytes=128 * MIB)
    before = resident_bytes()
    floods = [
        await bench.start(session, "flood", "both", str(10**12), output=None, cpu=None, wall=15.0)
        for _ in range(30)
    ]
    deaf = [await bench.start(session, "sleep", "30", stdin=True, wall=15.0) for _ in range(30)]
    much = b"x" * (4 * MIB)
    typing = [bench.background(one.execution.write(much)) for one in deaf]
    readers = [one.execution.output() for one in floods]
    for reader in readers:
        await anext(reader)
    await asyncio.sleep(1.0)
    await bench.said(session, "echo", "hi")
    grown = resident_bytes() - before
    expect(grown < 100 * MIB, f"the host's memory grew by {grown / MIB:.0f} MiB")
    for one in (*floods, *deaf):
        await one.execution.cancel()
    del reader, readers
    for one in (*floods, *deaf):
        _, outcome = await one.conclude()
        expect_outcome(outcome, OutcomeKind.CANCELLED)
    await asyncio.gather(*typing)
    await expect_only_agent(session)
    await expect_usable(bench, session)


@group.case("reattachment")
async def strangers_at_the_agents_door(bench: Workbench) -> None:
    """Connections that say nothing, or rubbish, cost the connected host nothing."""
    session = await bench.session()
    silent = [await bench.driver.connect(session.sandbox.id) for _ in range(12)]
    for size in (1, 12, 100, 100_000):
        stream = await bench.driver.connect(session.sandbox.id)
        try:
            await stream.write(os.urandom(size))
            async with asyncio.timeout(bench.patient(6)):
                while await stream.read(65_536):
                    pass
        except (ConnectionLost, TimeoutError):
            pass
        await stream.aclose()
        await bench.said(session, "echo", "hi")
    for stream in silent:
        await stream.aclose()
    await expect_usable(bench, session)
