"""Limits of one execution, and what is measured of it."""

from __future__ import annotations

import asyncio

from assay.domain.facts import Facts, KilledBy, Measurement, Scope, Source
from assay.domain.limits import MIB
from assay.domain.outcome import OutcomeKind
from assay.testing import pattern
from assay.testing.case import (
    Failure,
    Group,
    expect,
    expect_equal,
    expect_in_time,
    expect_outcome,
)
from assay.testing.workbench import Workbench

group = Group("limits")


def seconds(measurement: Measurement | None, what: str) -> float:
    """A measurement in nanoseconds, as seconds; Failure when it is missing."""
    if measurement is None:
        raise Failure(f"{what} was not measured")
    return measurement.value / 1e9


@group.case()
async def wall_time(bench: Workbench) -> None:
    """A program that sleeps too long is ended at its wall limit, having used no CPU time."""
    completed = await bench.run(await bench.shared(), "sleep", "30", wall=0.4)
    expect_outcome(completed.outcome, OutcomeKind.TIMED_OUT, clock="wall")
    expect_equal(completed.facts.killed_by, KilledBy.WALL, "who ended it")
    wall = seconds(completed.facts.wall_ns, "wall time")
    expect(wall >= 0.4, f"a limit of 0.4 s ended the program after {wall:.3f} s")
    expect_in_time(wall < 0.7, f"a limit of 0.4 s ended the program after {wall:.3f} s")
    cpu = seconds(completed.facts.cpu_ns, "CPU time")
    expect(cpu < 0.1, f"a sleeping program is said to have used {cpu:.3f} s of CPU time")


@group.case()
async def wall_time_of_a_stubborn_program(bench: Workbench) -> None:
    """Ignoring every signal does not help against the wall limit."""
    completed = await bench.run(await bench.shared(), "ignore", "30", wall=0.4)
    expect_outcome(completed.outcome, OutcomeKind.TIMED_OUT, clock="wall")
    expect_equal(completed.stdout, b"ready\n", "the output before the limit")


@group.case()
async def cpu_time(bench: Workbench) -> None:
    """A busy program is ended at its CPU limit, at most 100 ms of CPU time late."""
    completed = await bench.run(await bench.shared(), "spin", "30", cpu=0.3)
    expect_outcome(completed.outcome, OutcomeKind.TIMED_OUT, clock="cpu")
    cpu = seconds(completed.facts.cpu_ns, "CPU time")
    late = f"a limit of 0.3 s ended the program after {cpu:.3f} s of CPU time"
    expect(cpu >= 0.3, late)
    expect_in_time(cpu <= 0.4, late)


@group.case()
async def output_to_the_byte(bench: Workbench) -> None:
    """Output is cut exactly at its limit, both streams together, and the program ended."""
    session = await bench.shared()
    for stream in ("out", "err", "both"):
        completed = await bench.run(session, "flood", stream, str(MIB), output=100_001)
        expect_outcome(completed.outcome, OutcomeKind.OUTPUT_LIMIT)
        got = len(completed.stdout) + len(completed.stderr)
        expect_equal(got, 100_001, f"the number of bytes of {stream}")
        for data in (completed.stdout, completed.stderr):
            expect_equal(data, pattern.flood(MIB)[: len(data)], "the output before the limit")


@group.case()
async def output_that_just_fits(bench: Workbench) -> None:
    """A program that writes exactly as much as its limit allows ends by itself."""
    completed = await bench.run(await bench.shared(), "flood", "out", "65536", output=65_536)
    expect_outcome(completed.outcome, OutcomeKind.EXITED, code=0)
    expect_equal(len(completed.stdout), 65_536, "the number of bytes")


@group.case()
async def open_files(bench: Workbench) -> None:
    """A program can open as many files as its limit says, the three streams included."""
    session = await bench.shared()
    for limit in (16, 64):
        output = await bench.said(session, "open-files", files=limit)
        expect_equal(output, f"opened={limit - 3} error=EMFILE\n".encode(), "what it could open")


@group.case()
async def without_limits(bench: Workbench) -> None:
    """A limit that is None is none."""
    completed = await bench.run(
        await bench.shared(), "flood", "out", str(MIB), wall=None, cpu=None, output=None, files=None
    )
    expect_outcome(completed.outcome, OutcomeKind.EXITED, code=0)
    expect_equal(len(completed.stdout), MIB, "the number of bytes")


@group.case()
async def limits_are_each_executions_own(bench: Workbench) -> None:
    """Programs that run side by side have limits of their own."""
    session = await bench.shared()
    short, long = await asyncio.gather(
        bench.run(session, "sleep", "5", wall=0.3), bench.run(session, "sleep", "0.6", wall=5.0)
    )
    expect_outcome(short.outcome, OutcomeKind.TIMED_OUT, clock="wall")
    expect_outcome(long.outcome, OutcomeKind.EXITED, code=0)


@group.case()
async def every_measurement_says_whence(bench: Workbench) -> None:
    """Wall and CPU time, peak memory and output are measured, each with source and scope."""
    facts = (await bench.run(await bench.shared(), "echo", "hello")).facts
    for name in ("wall_ns", "cpu_ns", "peak_memory_bytes", "output_bytes"):
        measurement = getattr(facts, name)
        expect(isinstance(measurement, Measurement), f"{name} was not measured")
        expect(isinstance(measurement.source, Source), f"{name} has no source")
        expect(isinstance(measurement.scope, Scope), f"{name} has no scope")
    expect_equal(facts.output_bytes and facts.output_bytes.value, 6, "the output that was counted")
    for name in ("wall_ns", "output_bytes"):
        expect_equal(getattr(facts, name).scope, Scope.EXECUTION, f"the scope of {name}")


@group.case()
async def times_are_plausible(bench: Workbench) -> None:
    """A program that computes and sleeps is measured as what it did, within 100 ms."""
    session = await bench.shared()
    facts = (await bench.run(session, "spin", "0.3")).facts
    cpu, wall = seconds(facts.cpu_ns, "CPU time"), seconds(facts.wall_ns, "wall time")
    # The program goes by what its kernel says that it had; gVisor counts that in ticks of 10 ms.
    least = 0.29 if bench.capabilities.exact_cpu_time else 0.27
    expect(cpu >= least, f"0.3 s of CPU time were measured as {cpu:.3f} s")
    expect_in_time(cpu <= 0.4, f"0.3 s of CPU time were measured as {cpu:.3f} s")
    expect(wall >= least, f"0.3 s of CPU time took {wall:.3f} s on the clock")
    facts = (await bench.run(session, "sleep", "0.3")).facts
    wall = seconds(facts.wall_ns, "wall time")
    expect(wall >= 0.3, f"a sleep of 0.3 s was measured as {wall:.3f} s")
    expect_in_time(wall < 0.5, f"a sleep of 0.3 s was measured as {wall:.3f} s")


@group.case("memory_limit")
async def peak_memory_is_plausible(bench: Workbench) -> None:
    """The peak of memory is what the program touched, and not an earlier program's."""
    session = await bench.shared()
    for _ in range(3):  # whatever is kept ready for the next ones has seen a large one
        large = _peak((await bench.run(session, "alloc", "32", "0.05")).facts)
    small = _peak((await bench.run(session, "alloc", "4", "0.05")).facts)
    expect(32 * MIB <= large.value < 48 * MIB, f"32 MiB were measured as {large.value / MIB:.1f}")
    expect(small.value >= 4 * MIB, f"4 MiB were measured as {small.value / MIB:.1f}")
    if small.scope is Scope.EXECUTION:
        expect(small.value < 20 * MIB, f"4 MiB were measured as {small.value / MIB:.1f}")


@group.case("oom_facts", "memory_limit")
async def no_memory_kills_without_need(bench: Workbench) -> None:
    """A program that stays within its memory is reported without an out-of-memory kill."""
    facts = (await bench.run(await bench.shared(), "alloc", "16", "0")).facts
    expect(facts.oom_kills is None or facts.oom_kills.value == 0, f"it says {facts.oom_kills}")


def _peak(facts: Facts) -> Measurement:
    if facts.peak_memory_bytes is None:
        raise Failure("peak memory was not measured")
    return facts.peak_memory_bytes
