"""Programs that are given a terminal."""

from __future__ import annotations

import asyncio
from typing import Any

from assay.domain.command import TerminalSize
from assay.domain.outcome import OutcomeKind
from assay.testing.case import Group, expect, expect_equal, expect_outcome
from assay.testing.workbench import Workbench

group = Group("terminals")


@group.case()
async def no_terminal_unless_asked(bench: Workbench) -> None:
    """Without a terminal the three streams are none."""
    output = await bench.said(await bench.shared(), "tty")
    expect_equal(output, b"stdin=0 stdout=0 stderr=0 rows=0 columns=0\n", "what the program sees")


@group.case()
async def terminal_of_the_size_asked_for(bench: Workbench) -> None:
    """With a terminal all three streams are it, with the size of the command."""
    size = TerminalSize(rows=50, columns=132)
    output = await bench.said(await bench.shared(), "tty", terminal=size)
    expect_equal(output, b"stdin=1 stdout=1 stderr=1 rows=50 columns=132\r\n", "what it sees")


@group.case()
async def separate_error_beside_a_terminal(bench: Workbench) -> None:
    """Standard error can be kept apart from the terminal."""
    session = await bench.shared()
    options: dict[str, Any] = {"terminal": TerminalSize(), "separate_stderr": True}
    output = await bench.said(session, "tty", **options)
    expect_equal(output, b"stdin=1 stdout=1 stderr=0 rows=24 columns=80\r\n", "what it sees")
    completed = await bench.run(session, "interleave", "1", "1", **options)
    expect_equal(completed.stdout, b"out 0\r\n", "the terminal's output")
    expect_equal(completed.stderr, b"err 0\n", "standard error")


@group.case()
async def typing_is_echoed(bench: Workbench) -> None:
    """What is typed is echoed by the terminal, and read by the program line by line."""
    started = await bench.start(await bench.shared(), "cat", terminal=TerminalSize(), stdin=True)
    await started.execution.write(b"hello")
    expect_equal(await started.read(b"hello"), b"hello", "the echo")
    await started.execution.write(b"\r")
    expect_equal(await started.read(b"hello\r\n"), b"\r\nhello\r\n", "the program's answer")
    await started.execution.cancel()
    await started.conclude()


@group.case("terminal_keys")
async def control_d_is_end_of_file(bench: Workbench) -> None:
    """Ctrl-D at the start of a line, or the end of the input, is end-of-file."""
    session = await bench.shared()
    for typed in (b"line\n\x04", b"line\n"):
        started = await bench.start(session, "cat", terminal=TerminalSize(), stdin=True)
        await started.execution.write(typed)
        if not typed.endswith(b"\x04"):
            await started.execution.end_input()
        expect_equal(await started.read(b"line\r\nline\r\n"), b"line\r\nline\r\n", "the output")
        _, outcome = await started.conclude()
        expect_outcome(outcome, OutcomeKind.EXITED, code=0)


@group.case("terminal_keys")
async def control_c_interrupts(bench: Workbench) -> None:
    """Ctrl-C ends the program in the foreground by SIGINT."""
    started = await bench.start(
        await bench.shared(), "prompt", "ready", "30", terminal=TerminalSize(), stdin=True
    )
    await started.read(b"ready")
    await started.execution.write(b"\x03")
    async with asyncio.timeout(bench.patient(3)):
        _, outcome = await started.conclude()
    expect_outcome(outcome, OutcomeKind.SIGNALED, signal=2)


@group.case()
async def resizing(bench: Workbench) -> None:
    """A new size reaches the program as a signal, and it reads the new size."""
    started = await bench.start(
        await bench.shared(), "size", terminal=TerminalSize(rows=10, columns=20), stdin=True
    )
    await started.read(b"rows=10 columns=20\r\n")
    for rows, columns in ((40, 100), (1, 1), (65535, 65535)):
        await started.execution.resize(TerminalSize(rows=rows, columns=columns))
        await started.read(f"rows={rows} columns={columns}\r\n".encode())
    await started.execution.cancel()
    await started.conclude()


@group.case()
async def hang_up(bench: Workbench) -> None:
    """A signal sent to a program with a terminal reaches the foreground: SIGHUP ends it."""
    started = await bench.start(
        await bench.shared(), "prompt", "ready", "30", terminal=TerminalSize(), stdin=True
    )
    await started.read(b"ready")
    await started.execution.signal(1)
    _, outcome = await started.conclude()
    expect_outcome(outcome, OutcomeKind.SIGNALED, signal=1)


@group.case()
async def terminals_are_apart(bench: Workbench) -> None:
    """Two terminals in one sandbox do not see each other's typing."""
    session = await bench.shared()
    one, two = [
        await bench.start(session, "cat", terminal=TerminalSize(), stdin=True) for _ in range(2)
    ]
    await one.execution.write(b"one\n")
    await two.execution.write(b"two\n")
    first, second = await one.read(b"\r\none\r\n"), await two.read(b"\r\ntwo\r\n")
    expect(b"two" not in first and b"one" not in second, "a terminal shows the other's typing")
    for started in (one, two):
        await started.execution.cancel()
        await started.conclude()


@group.case()
async def output_flows_through_a_terminal(bench: Workbench) -> None:
    """A large output through a terminal arrives whole, each newline with its return."""
    completed = await bench.run(
        await bench.shared(), "flood", "out", "409600", terminal=TerminalSize()
    )
    expect_equal(completed.stdout.count(b"\r\n"), 200, "the number of line ends")
    expect_equal(len(completed.stdout), 409_600 + 200, "the number of bytes")
    expect_outcome(completed.outcome, OutcomeKind.EXITED, code=0)
