"""What is measured: a driver with a root file system, and sandboxes of it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

from assay.agent.execution import Completed
from assay.agent.native import program
from assay.agent.session import Session, open_session
from assay.domain.command import WORKSPACE
from assay.domain.errors import AssayError
from assay.domain.limits import ExecutionLimits, SandboxLimits
from assay.domain.outcome import OutcomeKind
from assay.driver.port import (
    Driver,
    Health,
    Prepares,
    Problem,
    RootFilesystem,
    SandboxSpec,
    Secret,
)

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""

Bare = Callable[[SandboxSpec, Sequence[str]], Awaitable[int]]
"""Lets a driver's technology run a program in such a sandbox, without any agent; nanoseconds."""


@runtime_checkable
class TimesAlone(Protocol):
    """What a driver may offer besides: how long its technology takes without us."""

    async def time_alone(self, spec: SandboxSpec, argv: Sequence[str], stopwatch: Path) -> int:
        """Nanoseconds to run `argv` in a sandbox of its own, taken by the program `stopwatch`."""
        ...


def bare(driver: object) -> Bare | None:
    """A driver's technology without us, for drivers that can do that."""
    if not isinstance(driver, TimesAlone):
        return None

    async def time(spec: SandboxSpec, argv: Sequence[str]) -> int:
        return await driver.time_alone(spec, argv, program("floor"))

    return time


ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": WORKSPACE,
        "SHELL": "/bin/sh",
        "LC_CTYPE": "C.UTF-8",
    }
)
"""Of every program, inside and outside, so that both do the same."""

_SECONDS_TO_PREPARE: Final = 60

UNLIMITED: Final = ExecutionLimits(wall_seconds=None, cpu_seconds=None, output_bytes=None)


class Unexpected(AssayError):
    """A program of a benchmark did not end as it must, so its time means nothing."""

    code = "unexpected_outcome"


def prepared(driver: object) -> Callable[[], int] | None:
    """How many sandboxes a driver has prepared, for drivers that do such a thing."""
    return (lambda: driver.prepared) if isinstance(driver, Prepares) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Most:
    """More sandboxes than `count` can't be had here at once, and why."""

    count: int
    reason: str


def explained(problems: Sequence[Problem]) -> str:
    """What is wrong and what mends it, each said once."""
    return "; ".join(dict.fromkeys(each.explained for each in problems)) or "it does not say why"


@runtime_checkable
class Bounded(Protocol):
    """What a driver may say besides: how many sandboxes this machine bears, and why no more."""

    @property
    def most_at_once(self) -> tuple[int, str] | None:
        """None: as many as its memory holds."""
        ...


def most(driver: object) -> Most | None:
    """How many sandboxes of a driver this machine bears, for drivers that say so."""
    bound = driver.most_at_once if isinstance(driver, Bounded) else None
    return None if bound is None else Most(count=bound[0], reason=bound[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """What is promised of sandboxes that are machines, restored from one that was kept."""

    first_result: float = 0.8
    """Seconds from the request for one until its first program has ended."""
    at_once: int = 10
    seconds: float = 2.0
    """Until so many at once have answered."""
    processor: float = 0.4
    """Seconds of a processor that each of them has taken by then; what others do at the same time
    on the same processors tells less on it."""


class Standing(Protocol):
    """Idle sandboxes of a technology without us."""

    @property
    def seconds(self) -> float:
        """Until all were idle."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """One of them is in the arguments or control groups of each of their processes."""
        ...

    async def end(self) -> float:
        """End them; seconds until all were gone."""
        ...


class Peer(Protocol):
    """A technology without us, to compare with."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    async def probe(self) -> Health:
        """Say whether it can be measured here."""
        ...

    async def start(self, root: RootFilesystem, count: int) -> Standing:
        """Make so many at once. Raises DriverError, with nothing left."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A driver to measure; `root` must hold what its benchmark starts, in /usr/bin."""

    driver: Driver
    root: RootFilesystem
    bare: Bare | None = None
    times_alone: float | None = 2
    """Making a sandbox is to take at most so many times as long as the technology alone; None:
    nothing is promised."""
    idle_bytes: float | None = 1.2e6
    """What an idle sandbox is to cost the machine at most, all in all; None: nothing is said."""
    own_bytes: float | None = 0.4e6
    """What of that is to be its processes' own, where something is said."""
    restored: Restored | None = None
    """What else is promised of one that is a restored machine."""
    prepared: Callable[[], int] | None = None
    """Asks how many sandboxes are prepared, where that is part of what is measured."""
    most: Most | None = None
    """How many there can be at once; None: as many as are asked for."""
    image: str = ""
    """What its sandboxes are of, if not the machine's own programs as everybody else's are."""
    leads: bool = False
    """Many at once are to be idle before those of every other technology."""
    times_ahead: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """And so many times faster than those of the drivers with these names."""
    idle_seconds: float | None = None
    """A hundred at once are to be idle within so many; None: nothing is promised."""
    times_of: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """And within so many times what those of the subjects with these names take."""
    manner: str = ""
    """How the driver is used, if there are several ways."""

    @property
    def name(self) -> str:
        """The driver's name, and how it is used."""
        return f"{self.driver.name}, {self.manner}" if self.manner else self.driver.name

    async def settle(self, count: int) -> None:
        """Wait until so many sandboxes are prepared, where that is done; a minute at most."""
        deadline = time.monotonic() + _SECONDS_TO_PREPARE
        while self.prepared and self.prepared() < count and time.monotonic() < deadline:  # noqa: ASYNC110 - by a thread
            await asyncio.sleep(0.02)

    def specification(self, limits: SandboxLimits | None = None) -> SandboxSpec:
        """A new sandbox's, with a secret of its own."""
        return SandboxSpec(
            root=self.root,
            secret=Secret(secrets.token_bytes(32)),
            limits=limits or SandboxLimits(),
        )


@contextlib.asynccontextmanager
async def open_sessions(
    subjects: Sequence[Subject], limits: SandboxLimits | None = None
) -> AsyncIterator[list[Session]]:
    """One warm sandbox of each subject."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                open_session(subject.driver, subject.specification(limits))
            )
            for subject in subjects
        ]


def require_success(completed: Completed, what: str) -> Completed:
    """Raise Unexpected unless the program ended well."""
    if completed.outcome.kind is not OutcomeKind.EXITED or completed.outcome.code != 0:
        raise Unexpected(
            f"{what} ended with {completed.outcome} in the sandbox, so there is nothing to measure",
            detail=completed.stderr[:1000].decode("utf-8", errors="replace"),
        )
    return completed
