"""Many at once, many in a row."""

from __future__ import annotations

import asyncio

from assay.domain.errors import ExecutionRefused
from assay.domain.limits import MIB
from assay.domain.outcome import OutcomeKind
from assay.testing.case import Failure, Group, expect, expect_equal, expect_outcome
from assay.testing.leaks import OwnState, programs_in, resident_bytes
from assay.testing.workbench import Workbench

group = Group("load")


@group.case(timeout=60)
async def sixty_four_executions(bench: Workbench) -> None:
    """A sandbox holds 64 executions at a time; one more is refused, and none is disturbed."""
    session = await bench.session(processes=128, memory_bytes=128 * MIB)
    running = [await bench.start(session, "cat", stdin=True) for _ in range(64)]
    for number, started in enumerate(running):
        await started.execution.write(f"{number}\n".encode())
    for number, started in enumerate(running):
        await started.read(f"{number}\n".encode())
    try:
        await bench.run(session, "echo", "one too many")
    except ExecutionRefused:
        pass
    else:
        raise Failure("a 65th execution was accepted")
    for started in running:
        await started.execution.end_input()
    for started in running:
        _, outcome = await started.conclude()
        expect_outcome(outcome, OutcomeKind.EXITED, code=0)
    await bench.said(session, "echo", "room again")


@group.case(timeout=90)
async def thousand_executions_without_growth(bench: Workbench) -> None:
    """A thousand quick programs in a row leave no memory, descriptor, task or process behind."""
    session = await bench.session()
    for _ in range(100):
        await bench.said(session, "echo", "warm")
    own, memory = OwnState.now(), resident_bytes()
    for number in range(1000):
        output = await bench.said(session, "echo", str(number))
        expect_equal(output, f"{number}\n".encode(), "the output")
    grown = resident_bytes() - memory
    expect(grown < 4 * MIB, f"the host's memory grew by {grown / MIB:.1f} MiB")
    expect_equal(own.left_since(), [], "what is left in this process")
    expect_equal(await programs_in(session), 0, "the number of processes left in the sandbox")


@group.case(timeout=60)
async def bursts(bench: Workbench) -> None:
    """Forty programs at a time, again and again, each get their own answer."""
    session = await bench.session(processes=96, memory_bytes=128 * MIB)
    for burst in range(5):
        texts = [f"{burst}-{number}" for number in range(40)]
        outputs = await asyncio.gather(*(bench.said(session, "echo", text) for text in texts))
        expect_equal([one.decode().strip() for one in outputs], texts, "the outputs")
