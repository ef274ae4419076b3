"""Many sandboxes at once: seconds until all are idle, have answered and are gone, and memory."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from assay.agent.client import Agent
from assay.agent.session import Session, connect
from assay.agent.witness import surely
from assay.bench import host
from assay.bench.subject import ENVIRONMENT, Peer, Subject, require_success
from assay.domain.command import Command
from assay.domain.errors import AssayError, DriverError
from assay.driver.port import RootFilesystem, Sandbox, SandboxSpec

_PROGRAM: Final = ("/usr/bin/true",)
_NAME: Final = re.compile(r"[0-9a-f]{12,}")
"""What a technology calls a sandbox of its own, among a driver's facts of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One crowd that came and went. Seconds, and bytes of each of them."""

    idle: float
    """Until all were idle: their agents accept connections."""
    answered: float | None
    """Until all had answered, too; None where there is no agent to ask."""
    gone: float
    private: float
    """Memory of their processes; of what they share, each has its part."""
    available: float | None
    """What the machine had less, kernel's memory included; None: not weighed."""
    processor: float | None = None
    """Of each, until all had answered; None: nobody asks."""
    result: float | None = None
    """Until a program had ended in the only one of them; None: nobody asks."""


class Entrant(Protocol):
    """Who takes part: a driver, or a technology without us."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    @property
    def most(self) -> int | None:
        """How many it can have at once; None: as many as are asked for."""
        ...

    async def round(self, count: int, *, weigh: bool) -> Round:
        """Make so many and end them. Raises AssayError, with nothing left."""
        ...


class DriversCrowds:
    """Crowds of a driver's sandboxes."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.name = subject.name
        self.most = subject.most.count if subject.most else None

    async def round(self, count: int, *, weigh: bool) -> Round:
        """Make so many, greet them all, and destroy them."""
        # What is prepared anew meanwhile would be weighed with them.
        weigh = weigh and not self.subject.prepared
        scales = await _Scales.ready(count) if weigh else None
        specs = [self.subject.specification() for _ in range(count)]
        began = time.perf_counter()
        sandboxes = await _all_created(self.subject, specs)
        try:
            idle = time.perf_counter() - began
            agents = await _all_greeted(self.subject, sandboxes, specs)
            answered = time.perf_counter() - began
            processes = _processes(sandboxes, but=self.subject.root.digest)
            restored = self.subject.restored
            processor = host.processor_seconds(processes) / count if restored else None
            private = _private_bytes(processes)
            if scales:
                await scales.weigh()
            result = None
            if restored and count == 1:
                result = answered + await self._executed(sandboxes[0], agents[0])
            await asyncio.gather(*(agent.aclose() for agent in agents))
        except BaseException:
            await _all_destroyed(self.subject, sandboxes)
            raise
        began = time.perf_counter()
        await _all_destroyed(self.subject, sandboxes)
        gone = time.perf_counter() - began
        return Round(
            idle=idle, answered=answered, gone=gone, private=private / count,
            available=await scales.of_each() if scales else None,
            processor=processor, result=result,
        )  # fmt: skip

    async def _executed(self, sandbox: Sandbox, agent: Agent) -> float:
        """Seconds for the first program, which does nothing."""
        began = time.perf_counter()
        command = Command(argv=_PROGRAM, environment=ENVIRONMENT)
        completed = await Session(self.subject.driver, sandbox, agent).run(command)
        seconds = time.perf_counter() - began
        require_success(completed, "the first program")
        return seconds


class PeersCrowds:
    """Crowds of a technology without us."""

    most = None

    def __init__(self, peer: Peer, root: RootFilesystem) -> None:
        self._peer = peer
        self._root = root
        self.name = peer.name

    async def round(self, count: int, *, weigh: bool) -> Round:
        """Make so many, and end them."""
        scales = await _Scales.ready(count) if weigh else None
        standing = await self._peer.start(self._root, count)
        try:
            private = _private_bytes(host.processes_named(standing.names))
            if scales:
                await scales.weigh()
        finally:
            gone = await standing.end()
        return Round(
            idle=standing.seconds, answered=None, gone=gone, private=private / count,
            available=await scales.of_each() if scales else None,
        )  # fmt: skip


class _Scales:
    """Memory that the machine has available, before, with all of them idle, and after."""

    def __init__(self, count: int, before: int) -> None:
        self._count = count
        self._before = before
        self._idle = 0

    @classmethod
    async def ready(cls, count: int) -> _Scales:
        return cls(count, await host.settled_available_bytes())

    async def weigh(self) -> None:
        self._idle = await host.settled_available_bytes()

    async def of_each(self) -> float:
        # Others use memory too: halfway between before and after is what there would be without us.
        after = await host.settled_available_bytes()
        return ((self._before + after) / 2 - self._idle) / self._count


# --- all of them, or none -------------------------------------------------------------------------


async def _all_created(subject: Subject, specs: Sequence[SandboxSpec]) -> list[Sandbox]:
    create = subject.driver.create
    tasks = [asyncio.ensure_future(create(spec)) for spec in specs]
    try:
        await asyncio.wait(tasks)
        return [task.result() for task in tasks]
    except BaseException as error:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await _all_destroyed(subject, list(_made(tasks)))
        if isinstance(error, AssayError):
            raise _counted(tasks, error) from error
        raise


def _made(tasks: Sequence[asyncio.Future[Sandbox]]) -> Iterator[Sandbox]:
    return (task.result() for task in tasks if not task.cancelled() and not task.exception())


def _counted(tasks: Sequence[asyncio.Future[Sandbox]], error: AssayError) -> AssayError:
    failed = len(tasks) - len(list(_made(tasks)))
    if len(tasks) == 1:
        return error
    return DriverError(f"{failed} of {len(tasks)}: {error.message}", detail=error.detail)


async def _all_greeted(
    subject: Subject, sandboxes: Sequence[Sandbox], specs: Sequence[SandboxSpec]
) -> list[Agent]:
    greet = partial(_greet, subject)
    tasks = [asyncio.ensure_future(greet(*pair)) for pair in zip(sandboxes, specs, strict=True)]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and not task.exception():
                await task.result().aclose()
        raise


async def _greet(subject: Subject, sandbox: Sandbox, spec: SandboxSpec) -> Agent:
    root = spec.root
    return await connect(subject.driver, sandbox.id, spec.secret, user=root.user, group=root.group)


async def _all_destroyed(subject: Subject, sandboxes: Sequence[Sandbox]) -> None:
    """Every one, whatever becomes of the others."""
    results = await asyncio.gather(
        *(surely(subject.driver.destroy(each.id)) for each in sandboxes), return_exceptions=True
    )
    for result in results:
        if isinstance(result, BaseException):
            raise result


def _processes(sandboxes: Sequence[Sandbox], *, but: str) -> set[int]:
    """Those that bear a sandbox's name, and what each has for itself to look after it."""
    firsts = [int(each.facts["process"]) for each in sandboxes if _has_process(each)]
    named = host.processes_named(_names(sandboxes, but=but))
    return {*named, *host.keepers_of(firsts)}


def _has_process(sandbox: Sandbox) -> bool:
    return sandbox.facts.get("process", "").isdecimal()


def _names(sandboxes: Sequence[Sandbox], *, but: str) -> set[str]:
    """Under which their processes are to be found; their image's name is others', too."""
    found = {sandbox.id for sandbox in sandboxes}
    for sandbox in sandboxes:
        for fact in sandbox.facts.values():
            found |= {name for name in _NAME.findall(fact) if name not in but}
    return found


def _private_bytes(pids: Collection[int]) -> int:
    return sum(map(host.proportional_bytes, pids))
