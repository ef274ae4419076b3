"""`startup`: making sandboxes one by one and many at once, and what idle ones cost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from assay.agent.native import program
from assay.agent.session import Session, open_session
from assay.bench import host
from assay.bench.figures import Check, Distribution, Figure, Report, Unit, at_most_times
from assay.bench.subject import Progress, Subject

AT_ONCE: Final = (1, 10, 100)
ROUNDS_AT_ONCE: Final = 3
_BARE: Final = ("/usr/bin/true",)
_MOST_IDLE_BYTES: Final = 1.2e6
_MOST_AGENT_BYTES: Final = 0.4e6
_MOST_PROGRAM_BYTES: Final = 200e3


@dataclass(kw_only=True, slots=True)
class _Times:
    """Seconds of one driver."""

    create: list[float] = field(default_factory=list)
    destroy: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class _Crowd:
    """So many sandboxes of one driver at once: seconds until all were there, and gone."""

    count: int
    weighed: bool
    """Whether memory is measured, which takes time and says something about many only."""
    create: list[float] = field(default_factory=list)
    destroy: list[float] = field(default_factory=list)
    idle_bytes: list[float] = field(default_factory=list)
    """Of each sandbox: what the machine has less when all of them are idle."""
    agent_bytes: list[float] = field(default_factory=list)


async def measure(
    subjects: Sequence[Subject],
    *,
    repeats: int,
    progress: Progress,
    at_once: Sequence[int] = AT_ONCE,
    rounds: int = ROUNDS_AT_ONCE,
) -> Report:
    """Make a sandbox of every subject `repeats` times, then crowds of them."""
    times = await _one_by_one(subjects, repeats, progress)
    figures = [figure for subject in subjects for figure in _figures(subject, times[subject.name])]
    for count in at_once:
        crowds = {
            subject.name: _Crowd(count=count, weighed=count == max(at_once)) for subject in subjects
        }
        await _crowds(subjects, crowds, rounds, progress)
        for name, crowd in crowds.items():
            figures += _crowd_figures(name, crowd)
    return Report(
        name="startup",
        title="From nothing to a sandbox whose agent is ready",
        beside="alone",
        figures=(*figures, _program_size()),
    )


# --- one by one ----------------------------------------------------------------------------------


async def _one_by_one(
    subjects: Sequence[Subject], repeats: int, progress: Progress
) -> dict[str, _Times]:
    times = {subject.name: _Times() for subject in subjects}
    for done in range(-1, repeats):
        # The first round finds nothing in the caches and does not count.
        for subject in subjects:
            await _one(subject, times[subject.name] if done >= 0 else _Times())
        progress("one by one", done + 1, repeats)
    return times


async def _one(subject: Subject, times: _Times) -> None:
    started = time.perf_counter()
    async with open_session(subject.driver, subject.specification()):
        times.create.append(time.perf_counter() - started)
        started = time.perf_counter()
    times.destroy.append(time.perf_counter() - started)
    if subject.bare is not None:
        times.bare.append(await subject.bare(subject.specification(), _BARE) / 1e9)


def _figures(subject: Subject, times: _Times) -> list[Figure]:
    create = Distribution.of(times.create)
    bare = Distribution.of(times.bare) if times.bare else None
    return [
        Figure(
            driver=subject.name,
            name="create to agent ready",
            unit=Unit.SECONDS,
            measured=create,
            beside=bare,
            checks=() if bare is None else (at_most_times(2, create, bare, beside="alone"),),
        ),
        Figure(
            driver=subject.name,
            name="destroy",
            unit=Unit.SECONDS,
            measured=Distribution.of(times.destroy),
        ),
    ]


# --- many at once --------------------------------------------------------------------------------


async def _crowds(
    subjects: Sequence[Subject], crowds: Mapping[str, _Crowd], rounds: int, progress: Progress
) -> None:
    for done in range(rounds):
        for number, subject in enumerate(subjects):
            crowd = crowds[subject.name]
            await (_weigh(subject, crowd) if crowd.weighed else _crowd(subject, crowd))
            whole = rounds * len(subjects)
            progress(f"{crowd.count} at once", done * len(subjects) + number + 1, whole)


async def _weigh(subject: Subject, crowd: _Crowd) -> None:
    before = await host.settled_available_bytes()
    idle = await _crowd(subject, crowd)
    # Others use memory too: halfway between before and after is what there would be without us.
    without = (before + await host.settled_available_bytes()) / 2
    crowd.idle_bytes.append((without - idle) / crowd.count)


async def _crowd(subject: Subject, crowd: _Crowd) -> int:
    """Returns what memory was available with all of them idle."""
    idle = 0
    started = time.perf_counter()
    async with _sessions(subject, crowd.count) as sessions:
        crowd.create.append(time.perf_counter() - started)
        if crowd.weighed:
            idle = await host.settled_available_bytes()
            crowd.agent_bytes.append(_agent_bytes(sessions))
        started = time.perf_counter()
    crowd.destroy.append(time.perf_counter() - started)
    return idle


@contextlib.asynccontextmanager
async def _sessions(subject: Subject, count: int) -> AsyncIterator[list[Session]]:
    """As many as that, made at the same time and destroyed at the same time."""
    stacks = [contextlib.AsyncExitStack() for _ in range(count)]

    async def enter(stack: contextlib.AsyncExitStack) -> Session:
        session = open_session(subject.driver, subject.specification())
        return await stack.enter_async_context(session)

    try:
        yield await asyncio.gather(*map(enter, stacks))
    finally:
        await asyncio.gather(*(stack.aclose() for stack in stacks))


def _agent_bytes(sessions: Sequence[Session]) -> float:
    """Of each sandbox: its agent with the process that waits for the next program."""
    processes = host.processes_of([session.sandbox.id for session in sessions])
    total = sum(host.proportional_bytes(pid) for pids in processes.values() for pid in pids)
    return total / len(sessions)


def _crowd_figures(driver: str, crowd: _Crowd) -> list[Figure]:
    figures = [
        Figure(driver=driver, name=f"{crowd.count} at once: {what}", unit=Unit.SECONDS,
               measured=Distribution.of(seconds))
        for what, seconds in (("all ready", crowd.create), ("all destroyed", crowd.destroy))
    ]  # fmt: skip
    if crowd.weighed:
        figures += [
            _memory(driver, f"an idle sandbox (of {crowd.count})", crowd.idle_bytes,
                    _MOST_IDLE_BYTES, "≤ 1.2 MB in all"),
            _memory(driver, "its agent's part", crowd.agent_bytes,
                    _MOST_AGENT_BYTES, "≤ 0.4 MB"),
        ]  # fmt: skip
    return figures


def _memory(driver: str, name: str, samples: Sequence[float], most: float, promise: str) -> Figure:
    measured = Distribution.of(samples)
    check = Check(promise=promise, value=measured.median, limit=most, unit=Unit.BYTES)
    return Figure(driver=driver, name=name, unit=Unit.BYTES, measured=measured, checks=(check,))


def _program_size() -> Figure:
    size = program("agent").stat().st_size
    return Figure(
        driver="",
        name="the agent's program on disk",
        unit=Unit.BYTES,
        measured=Distribution.of([size]),
        checks=(Check(promise="≤ 200 kB", value=size, limit=_MOST_PROGRAM_BYTES, unit=Unit.BYTES),),
    )
