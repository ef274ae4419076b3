"""`exec`: programs in a warm sandbox, from the caller's call to the exit facts."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from assay.agent.files import upload
from assay.agent.native import program
from assay.agent.session import Session
from assay.bench.figures import Check, Distribution, Figure, Report, Unit, at_most_times
from assay.bench.floor import Floor, open_floor
from assay.bench.subject import (
    ENVIRONMENT,
    UNLIMITED,
    Progress,
    Subject,
    Unexpected,
    open_sessions,
    require_success,
)
from assay.domain.command import WORKSPACE, Command

TRUE: Final = ("/usr/bin/true",)
PYTHON_HELLO: Final = ("/usr/bin/python3", "-c", 'print("Hello, world!")')
IN_A_ROW: Final = 10
"""Executions of one driver before the next one's turn, where they are back to back."""
THINK_SECONDS: Final = 0.03
"""Kernels need milliseconds to move a process between groups after a pause, and learners pause."""
WORK: Final = 20_000_000
"""Steps of the computation: about 0.1 s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Series:
    """One program in one rhythm, and how much slower than the floor it may be."""

    name: str
    argv: tuple[str, ...]
    in_a_row: int
    think_seconds: float
    median_times: float
    p99_times: float | None = None


_SERIES: Final = (
    _Series(name="true, back to back", argv=TRUE, in_a_row=IN_A_ROW, think_seconds=0,
            median_times=2, p99_times=10),
    _Series(name=f"true, after {THINK_SECONDS * 1e3:g} ms", argv=TRUE, in_a_row=1,
            think_seconds=THINK_SECONDS, median_times=2, p99_times=10),
    _Series(name=f"true, 3 in a row after {THINK_SECONDS * 1e3:g} ms", argv=TRUE, in_a_row=3,
            think_seconds=THINK_SECONDS, median_times=2, p99_times=10),
    # Alternating one by one: ten of these in a row last long enough for a neighbour to wake up.
    _Series(name="Python hello, at once", argv=PYTHON_HELLO, in_a_row=1,
            think_seconds=0, median_times=1.25),
    _Series(name=f"Python hello, after {THINK_SECONDS * 1e3:g} ms", argv=PYTHON_HELLO, in_a_row=1,
            think_seconds=THINK_SECONDS, median_times=1.25),
)  # fmt: skip


@dataclass(kw_only=True, slots=True)
class _Times:
    """Seconds: in each session's sandbox, and outside."""

    inside: list[list[float]] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)


async def measure(subjects: Sequence[Subject], *, repeats: int, progress: Progress) -> Report:
    """Run everything `repeats` times for every subject, turn by turn with the floor."""
    figures: list[Figure] = []
    async with open_sessions(subjects) as sessions:
        for series in _SERIES:
            times = await _alternate(sessions, series, repeats, progress)
            figures += _figures(sessions, series, times)
        figures += await _computing(sessions, max(1, repeats // 4), progress)
    return Report(
        name="exec",
        title="Programs in a warm sandbox: from the call to the exit facts",
        beside="floor",
        figures=tuple(figures),
    )


async def _alternate(
    sessions: Sequence[Session], series: _Series, repeats: int, progress: Progress
) -> _Times:
    times = _Times(inside=[[] for _ in sessions])
    async with open_floor(series.argv) as floor:
        await _warm_up(sessions, series, floor)
        while (left := repeats - len(times.outside)) > 0:
            count = min(series.in_a_row, left)
            for session, inside in zip(sessions, times.inside, strict=True):
                await asyncio.sleep(series.think_seconds)
                inside += [await _execute(session, series.argv) for _ in range(count)]
            await asyncio.sleep(series.think_seconds)
            times.outside += await floor.run(count)
            progress(series.name, len(times.outside), repeats)
    return times


async def _warm_up(sessions: Sequence[Session], series: _Series, floor: Floor) -> None:
    """The first time reads files from disk, inside as well as outside."""
    for session in sessions:
        await _execute(session, series.argv)
    await floor.run(1)


async def _execute(session: Session, argv: tuple[str, ...]) -> float:
    command = Command(argv=argv, environment=ENVIRONMENT)
    started = time.perf_counter_ns()
    completed = await session.run(command)
    seconds = (time.perf_counter_ns() - started) / 1e9
    require_success(completed, argv[0])
    return seconds


def _figures(sessions: Sequence[Session], series: _Series, times: _Times) -> list[Figure]:
    floor = Distribution.of(times.outside)
    figures = []
    for session, seconds in zip(sessions, times.inside, strict=True):
        measured = Distribution.of(seconds)
        checks = [at_most_times(series.median_times, measured, floor)]
        if series.p99_times is not None:
            checks.append(at_most_times(series.p99_times, measured, floor, percent=99))
        figures.append(
            Figure(
                driver=session.driver.name,
                name=series.name,
                unit=Unit.SECONDS,
                measured=measured,
                beside=floor,
                checks=tuple(checks),
            )
        )
    return figures


# --- a program that computes ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """Seconds of one computation, as the program itself measured them."""

    clock: float
    processor: float


async def _computing(sessions: Sequence[Session], repeats: int, progress: Progress) -> list[Figure]:
    for session in sessions:
        with program("floor").open("rb") as file:
            size = program("floor").stat().st_size
            await upload(session.agent, WORKSPACE, "floor", file, size, mode=0o755)
    inside: list[list[_Run]] = [[] for _ in sessions]
    outside: list[_Run] = []
    for done in range(repeats):
        for session, runs in zip(sessions, inside, strict=True):
            runs.append(await _compute_inside(session))
        outside.append(await _compute_outside())
        progress("a program that computes", done + 1, repeats)
    return [
        figure
        for session, runs in zip(sessions, inside, strict=True)
        for figure in _computing_figures(session.driver.name, runs, outside)
    ]


def _computing_figures(
    driver: str, inside: Sequence[_Run], outside: Sequence[_Run]
) -> Iterator[Figure]:
    """By the clock, and of the processor's time, which a busy machine disturbs less."""
    for name, measured, floor in (
        ("its own running time", [run.clock for run in inside], [run.clock for run in outside]),
        ("its processor time", [run.processor for run in inside],
         [run.processor for run in outside]),
    ):  # fmt: skip
        # What neighbours take away changes by more than 3 % from one second to the next: each run
        # is compared with the one right beside it.
        ratio = Distribution.of(one / other for one, other in zip(measured, floor, strict=True))
        yield Figure(
            driver=driver,
            name=f"a program that computes: {name}",
            unit=Unit.SECONDS,
            measured=Distribution.of(measured),
            beside=Distribution.of(floor),
            checks=(Check(promise="within 3 % of floor", value=ratio.median, limit=1.03),),
        )


async def _compute_inside(session: Session) -> _Run:
    command = Command(
        argv=(f"{WORKSPACE}/floor", "--work", str(WORK)), environment=ENVIRONMENT, limits=UNLIMITED
    )
    completed = require_success(await session.run(command), "the computing program")
    return _to_run(completed.stdout)


async def _compute_outside() -> _Run:
    process = await asyncio.create_subprocess_exec(
        program("floor"), "--work", str(WORK), stdout=subprocess.PIPE, env=dict(ENVIRONMENT)
    )
    output, _ = await process.communicate()
    return _to_run(output)


def _to_run(output: bytes) -> _Run:
    words = output.split()
    if len(words) != 2:
        raise Unexpected("the computing program did not say how long it took")
    return _Run(clock=int(words[0]) / 1e9, processor=int(words[1]) / 1e9)
