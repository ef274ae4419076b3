"""`soak`: thousands of executions in warm sandboxes, good ones and bad ones. Does anything grow?"""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final

from assay.agent.session import Session
from assay.bench import host
from assay.bench.figures import Check, Distribution, Figure, Report, Unit
from assay.bench.subject import (
    ENVIRONMENT,
    Progress,
    Subject,
    Unexpected,
    open_sessions,
)
from assay.domain.command import Command
from assay.domain.limits import MIB, ExecutionLimits
from assay.domain.outcome import Outcome, OutcomeKind

EXECUTIONS: Final = 10_000
SANDBOXES: Final = 3
"""Of each driver, busy at the same time."""
LOOKS: Final = 20
"""How often everything stands still and is counted."""
_SECONDS_AT_REST: Final = 1.2
"""So long nothing comes or goes: an agent lets go of what it has too many of after a second."""
_MOST_SECONDS_TO_REST: Final = 10
_MOST_SERVER_GROWTH: Final = 1 * MIB
_MOST_AGENT_GROWTH: Final = 128 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """One way to end."""

    argv: tuple[str, ...]
    ends: Outcome
    wall_seconds: float = 10.0
    output_bytes: int = 16 * MIB
    cancelled: bool = False


def _exited(code: int) -> Outcome:
    return Outcome(kind=OutcomeKind.EXITED, code=code)


def _flood(mebibytes: int) -> tuple[str, ...]:
    return (
        "/usr/bin/dd", "if=/dev/zero", "bs=65536", f"count={mebibytes * 16}", "status=none",
    )  # fmt: skip


_TRUE: Final = _Kind(argv=("/usr/bin/true",), ends=_exited(0))
_SMALL: Final = _Kind(argv=("/usr/bin/echo", "Hello, world!"), ends=_exited(0))
_MIX: Final = (
    *(_TRUE,) * 8,
    *(_SMALL,) * 5,
    _Kind(argv=("/usr/bin/false",), ends=_exited(1)),
    _Kind(argv=("/usr/bin/no-such-program",), ends=_exited(127)),
    _Kind(argv=("/usr/bin/sh", "-c", "kill -SEGV $$"),
          ends=Outcome(kind=OutcomeKind.SIGNALED, signal=signal.SIGSEGV)),
    _Kind(argv=("/usr/bin/sh", "-c", "sleep 60 & sleep 60 & exit 0"), ends=_exited(0)),
    _Kind(argv=_flood(2), ends=_exited(0)),
    _Kind(argv=_flood(64), ends=Outcome(kind=OutcomeKind.OUTPUT_LIMIT), output_bytes=MIB),
    _Kind(argv=("/usr/bin/sleep", "60"),
          ends=Outcome(kind=OutcomeKind.TIMED_OUT, clock="wall"), wall_seconds=0.02),
    _Kind(argv=("/usr/bin/sleep", "60"), ends=Outcome(kind=OutcomeKind.CANCELLED),
          cancelled=True),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """What there is while nothing runs."""

    server_memory: int
    descriptors: int
    threads: int
    tasks: int
    agents_memory: int
    processes: int
    """Of the sandbox that has most: an agent's next process waits with a keeper or without one."""
    mounts: int
    groups: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """How many executions, and how many of them between two looks."""

    name: str
    repeats: int
    at_a_time: int


async def measure(
    subjects: Sequence[Subject],
    *,
    repeats: int = EXECUTIONS,
    progress: Progress,
    sandboxes: int = SANDBOXES,
    looks: int = LOOKS,
) -> Report:
    """Run `repeats` executions for each subject in turn, and compare what was there before."""
    figures: list[Figure] = []
    for subject in subjects:
        async with open_sessions([subject] * sandboxes) as sessions:
            work = _Work(name=subject.name, repeats=repeats, at_a_time=max(1, repeats // looks))
            found = [look async for look in _soak(sessions, work, progress)]
        figures += _figures(subject.name, found)
    return Report(
        name="soak",
        title=f"{repeats:,} executions in {sandboxes} warm sandboxes: what is there afterwards",
        beside="before",
        figures=tuple(figures),
    )


async def _soak(
    sessions: Sequence[Session], work: _Work, progress: Progress
) -> AsyncIterator[_Look]:
    """The first look comes when a tenth is done: by then everything has its working size."""
    kinds = itertools.islice(itertools.cycle(_MIX), work.repeats)
    done = 0
    while batch := list(itertools.islice(kinds, work.at_a_time)):
        await _run_all(sessions, iter(batch))
        done += len(batch)
        progress(f"{work.name}: executions", done, work.repeats)
        if done >= work.repeats / 10:
            yield await _look(sessions)


async def _run_all(sessions: Sequence[Session], kinds: Iterator[_Kind]) -> None:
    """Every sandbox takes the next one as soon as it is free."""

    async def work(session: Session) -> None:
        for kind in kinds:
            await _run(session, kind)

    workers = [asyncio.create_task(work(session)) for session in sessions]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)


async def _run(session: Session, kind: _Kind) -> None:
    limits = ExecutionLimits(wall_seconds=kind.wall_seconds, output_bytes=kind.output_bytes)
    command = Command(argv=kind.argv, environment=ENVIRONMENT, limits=limits)
    execution = await session.start(command)
    if kind.cancelled:
        await execution.cancel()
    async for _ in execution.output():
        pass  # as a server hands it on: nothing piles up here
    _, outcome = await session.conclude(execution, command)
    if outcome != kind.ends:
        raise Unexpected(f"{' '.join(kind.argv)} ended with {outcome} instead of {kind.ends}")


async def _rest(ids: Sequence[str]) -> None:
    """Until each agent has its next process ready, and has ended what nothing needs any more."""
    now = time.monotonic()
    before, since, enough = host.processes_of(ids), now, now + _MOST_SECONDS_TO_REST
    while now < min(since + _SECONDS_AT_REST, enough):
        await asyncio.sleep(0.1)
        now = time.monotonic()
        if (processes := host.processes_of(ids)) != before:
            before, since = processes, now


async def _look(sessions: Sequence[Session]) -> _Look:
    ids = [session.sandbox.id for session in sessions]
    await _rest(ids)
    host.give_back_memory()
    processes = host.processes_of(ids)
    agents = [pids[0] for pids in processes.values() if pids]
    return _Look(
        server_memory=host.own_bytes(),
        descriptors=host.own_descriptors(),
        threads=host.own_threads(),
        tasks=len(asyncio.all_tasks()),
        agents_memory=sum(host.proportional_bytes(pid) for pid in agents),
        processes=max(map(len, processes.values())),
        mounts=host.mounts_of(ids) + sum(host.mounts_seen_by(pid) for pid in agents),
        groups=host.groups_of(ids),
    )


_NAMES: Final[dict[str, tuple[str, Unit, int]]] = {
    "server_memory": ("memory of the server", Unit.BYTES, _MOST_SERVER_GROWTH),
    "descriptors": ("its open files", Unit.COUNT, 0),
    "threads": ("its threads", Unit.COUNT, 0),
    "tasks": ("its tasks", Unit.COUNT, 0),
    "agents_memory": ("memory of the agents", Unit.BYTES, _MOST_AGENT_GROWTH),
    "processes": ("processes in a sandbox, at most", Unit.COUNT, 0),
    "mounts": ("mounts of the sandboxes", Unit.COUNT, 0),
    "groups": ("control groups of the sandboxes", Unit.COUNT, 0),
}
"""Of each field: what it is called, its unit, and by how much it may differ at the end."""


def _figures(driver: str, looks: Sequence[_Look]) -> Iterator[Figure]:
    for one in fields(_Look):
        name, unit, most = _NAMES[one.name]
        before, *later = (getattr(look, one.name) for look in looks)
        growth = (later or [before])[-1] - before
        promise = "no growth" if most == 0 else f"growth ≤ {most // 1024:,} KiB"
        yield Figure(
            driver=driver,
            name=name,
            unit=unit,
            measured=Distribution.of(later or [before]),
            beside=Distribution.of([before]),
            checks=(Check(promise=promise, value=growth, limit=most, unit=unit),),
        )
