"""`startup`: making sandboxes one by one and many at once, and what idle ones cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from assay.agent.client import Agent
from assay.agent.native import program
from assay.agent.session import open_session
from assay.bench import host
from assay.bench.figures import Check, Distribution, Figure, Report, Unit, at_most_times
from assay.bench.subject import Progress, Subject
from assay.driver.port import Sandbox, SandboxSpec

AT_ONCE: Final = (1, 10, 100)
ROUNDS_AT_ONCE: Final = 3
_BARE: Final = ("/usr/bin/true",)
_PROMISED_AT_ONCE: Final = 100
_PROMISED_SECONDS: Final = 0.2
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
    """All are idle: their agents accept connections."""
    connect: list[float] = field(default_factory=list)
    """All of them have answered, too."""
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
            subject.name: _Crowd(
                count=count,
                # What is prepared anew meanwhile would be weighed with them.
                weighed=count == max(at_once) and not subject.prepared,
            )
            for subject in subjects
        }
        await _crowds(subjects, crowds, rounds, progress)
        for subject in subjects:
            figures += _crowd_figures(subject, crowds[subject.name])
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
            if done >= 0:  # it is not before their first that drivers prepare any
                await _settled(subjects, 1)
            await _one(subject, times[subject.name] if done >= 0 else _Times())
        progress("one by one", done + 1, repeats)
    return times


async def _settled(subjects: Sequence[Subject], count: int) -> None:
    """Nothing is prepared while something else is measured."""
    for subject in subjects:
        await subject.settle(count)


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
            checks=_beside_alone(subject, create, bare),
        ),
        Figure(
            driver=subject.name,
            name="destroy",
            unit=Unit.SECONDS,
            measured=Distribution.of(times.destroy),
        ),
    ]


def _beside_alone(
    subject: Subject, create: Distribution, bare: Distribution | None
) -> tuple[Check, ...]:
    if bare is None or subject.times_alone is None:
        return ()
    return (at_most_times(subject.times_alone, create, bare, beside="alone"),)


# --- many at once --------------------------------------------------------------------------------


async def _crowds(
    subjects: Sequence[Subject], crowds: Mapping[str, _Crowd], rounds: int, progress: Progress
) -> None:
    for done in range(rounds):
        for number, subject in enumerate(subjects):
            crowd = crowds[subject.name]
            await _settled(subjects, crowd.count)
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
    sandboxes: list[Sandbox] = []
    specs = [subject.specification() for _ in range(crowd.count)]
    started = time.perf_counter()
    try:
        sandboxes += await asyncio.gather(*map(subject.driver.create, specs))
        crowd.create.append(time.perf_counter() - started)
        agents = await asyncio.gather(*map(partial(_greet, subject), sandboxes, specs))
        crowd.connect.append(time.perf_counter() - started)
        if crowd.weighed:
            idle = await host.settled_available_bytes()
            crowd.agent_bytes.append(_agent_bytes(sandboxes))
        await asyncio.gather(*(agent.aclose() for agent in agents))
    finally:
        started = time.perf_counter()
        await asyncio.gather(*(subject.driver.destroy(each.id) for each in sandboxes))
    crowd.destroy.append(time.perf_counter() - started)
    return idle


async def _greet(subject: Subject, sandbox: Sandbox, spec: SandboxSpec) -> Agent:
    return await Agent.connect(await subject.driver.connect(sandbox.id), spec.secret)


def _agent_bytes(sandboxes: Sequence[Sandbox]) -> float:
    """Of each sandbox: its agent with the process that waits for the next program."""
    processes = host.processes_of([sandbox.id for sandbox in sandboxes])
    total = sum(host.proportional_bytes(pid) for pids in processes.values() for pid in pids)
    return total / len(sandboxes)


def _crowd_figures(subject: Subject, crowd: _Crowd) -> list[Figure]:
    figures = [
        Figure(driver=subject.name, name=f"{crowd.count} at once: {what}", unit=Unit.SECONDS,
               measured=Distribution.of(seconds), checks=checks)
        for what, seconds, checks in (
            ("all idle", crowd.create, _in_time(subject, crowd)),
            ("all connected", crowd.connect, ()),
            ("all destroyed", crowd.destroy, ()),
        )
    ]  # fmt: skip
    if crowd.weighed:
        figures += [
            _memory(subject.name, f"an idle sandbox (of {crowd.count})", crowd.idle_bytes,
                    subject.idle_bytes, f"≤ {subject.idle_bytes / 1e6:.1f} MB in all"),
            _memory(subject.name, "its agent's part", crowd.agent_bytes,
                    _MOST_AGENT_BYTES, "≤ 0.4 MB"),
        ]  # fmt: skip
    return figures


def _in_time(subject: Subject, crowd: _Crowd) -> tuple[Check, ...]:
    if not subject.prepared or crowd.count != _PROMISED_AT_ONCE:
        return ()
    median = Distribution.of(crowd.create).median
    promise = f"≤ {_PROMISED_SECONDS} s"
    return (Check(promise=promise, value=median, limit=_PROMISED_SECONDS, unit=Unit.SECONDS),)


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
