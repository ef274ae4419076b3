"""An execution ends when its first process does; then nothing of it survives."""

from __future__ import annotations

import asyncio
import time

from assay.agent.files import read_file
from assay.agent.session import Session
from assay.domain.command import WORKSPACE
from assay.domain.facts import KilledBy
from assay.domain.outcome import OutcomeKind
from assay.testing.case import Group, expect, expect_equal, expect_in_time, expect_outcome
from assay.testing.workbench import Workbench

group = Group("ending")

BEAT = f"{WORKSPACE}/heartbeat"


async def expect_no_heartbeat(bench: Workbench, session: Session, file: str = BEAT) -> None:
    """Raise Failure if something still writes to the file 100 ms after now."""
    await asyncio.sleep(0.1)
    before = await bench.size_of(session, file)
    expect(before > 0, "the descendant never started: the case proves nothing")
    await asyncio.sleep(0.15)
    after = await bench.size_of(session, file)
    expect(after == before, f"a descendant lives on: its file grew from {before} to {after} bytes")


def add_descendant(kind: str, text: str) -> None:
    """One case for each way of staying behind."""

    async def run(bench: Workbench) -> None:
        session = await bench.session()
        started_at = time.monotonic()
        completed = await bench.run(session, "leave", kind, BEAT)
        expect_outcome(completed.outcome, OutcomeKind.EXITED, code=0)
        expect_equal(completed.stdout, b"left\n", "the output")
        took = time.monotonic() - started_at
        expect_in_time(took < bench.patient(2.0), f"its end was reported after {took:.1f} s only")
        await expect_no_heartbeat(bench, session)

    group.add(f"descendant-{kind}", f"{text} is gone 100 ms after the program.", run)


for _kind, _text in (
    ("child", "A child that ignores every signal and holds the output open"),
    ("daemon", "A daemon in a session of its own, forked twice,"),
    ("group", "A child in a process group of its own"),
):
    add_descendant(_kind, _text)


@group.case()
async def others_go_on(bench: Workbench) -> None:
    """The end of one execution does not touch the others of the same sandbox."""
    session = await bench.shared()
    staying = await bench.start(session, "cat", stdin=True)
    privileged = await bench.start(session, "cat", stdin=True, privileged=True)
    for _ in range(10):
        await bench.said(session, "many", "3", "1")
    cancelled = await bench.start(session, "sleep", "30")
    await cancelled.execution.cancel()
    await cancelled.conclude()
    for started in (staying, privileged):
        await started.execution.write(b"still here\n")
        await started.read(b"still here\n")
        await started.execution.end_input()
        _, outcome = await started.conclude()
        expect_outcome(outcome, OutcomeKind.EXITED, code=0)


@group.case()
async def cancelling(bench: Workbench) -> None:
    """A cancelled program ends at once, with that outcome, whatever it ignores."""
    started = await bench.start(await bench.shared(), "ignore", "30")
    await started.read(b"ready\n")
    began = time.monotonic()
    await started.execution.cancel()
    facts, outcome = await started.conclude()
    expect_outcome(outcome, OutcomeKind.CANCELLED)
    expect_equal(facts.killed_by, KilledBy.CANCEL, "who ended it")
    soon = time.monotonic() - began < bench.patient(1.0)
    expect_in_time(soon, "cancelling took more than a second")


@group.case()
async def cancelling_takes_descendants_along(bench: Workbench) -> None:
    """Cancelling ends all that the program has started."""
    session = await bench.session()
    started = await bench.start(session, "many", "20", "30000")
    await asyncio.sleep(0.1)
    await started.execution.cancel()
    _, outcome = await started.conclude()
    expect_outcome(outcome, OutcomeKind.CANCELLED)
    # All of the sandbox's processes are free again.
    await bench.said(session, "many", "30", "10")


@group.case()
async def the_next_is_spared(bench: Workbench) -> None:
    """What ends a cancelled program never reaches the one after it, a hundred times over."""
    session = await bench.session()
    for _ in range(100):
        cancelled = await bench.start(session, "sleep", "30")
        await cancelled.execution.cancel()
        await cancelled.conclude()
        await bench.said(session, "echo", "hi")


@group.case()
async def signals_reach_the_program(bench: Workbench) -> None:
    """Signals from the host reach the program in order, one at a time."""
    started = await bench.start(await bench.shared(), "trap")
    await started.read(b"ready\n")
    for number in (1, 2, 15, 10):
        await started.execution.signal(number)
        await started.read(f"signal {number}\n".encode())
    await started.execution.signal(12)
    _, outcome = await started.conclude()
    expect_outcome(outcome, OutcomeKind.EXITED, code=0)


@group.case()
async def signal_that_kills(bench: Workbench) -> None:
    """A program killed by a signal from the host is reported as that, not as cancelled."""
    started = await bench.start(await bench.shared(), "sleep", "30")
    await asyncio.sleep(0.05)
    await started.execution.signal(9)
    _, outcome = await started.conclude()
    expect_outcome(outcome, OutcomeKind.SIGNALED, signal=9)


@group.case()
async def late_requests_are_harmless(bench: Workbench) -> None:
    """Signals, cancelling and input after the end change nothing."""
    session = await bench.shared()
    started = await bench.start(session, "exit", "3", stdin=True)
    while not started.execution.ended:  # noqa: ASYNC110 - nobody tells who does not wait for it
        await asyncio.sleep(0.01)
    await started.execution.signal(15)
    await started.execution.cancel()
    await started.execution.write(b"late")
    _, outcome = await started.conclude()
    expect_outcome(outcome, OutcomeKind.EXITED, code=3)
    await bench.said(session, "echo", "hi")


@group.case()
async def output_before_the_end_is_whole(bench: Workbench) -> None:
    """What a program wrote just before its end is never lost, a hundred times over."""
    session = await bench.shared()
    for i in range(100):
        completed = await bench.run(session, "echo", "x" * 100, str(i))
        expect_equal(completed.stdout, f"{'x' * 100} {i}\n".encode(), "the output")


@group.case()
async def files_stay(bench: Workbench) -> None:
    """Files outlive the program that wrote them, until the sandbox ends."""
    session = await bench.shared()
    for folder in (WORKSPACE, "/tmp", "/var/tmp", "/dev/shm"):
        await bench.said(session, "write", f"{folder}/kept", "text")
        expect_equal(await bench.said(session, "read", f"{folder}/kept"), b"text", "the file")
    expect_equal(await read_file(session.agent, "/tmp", "kept", most=100), b"text", "the file")
