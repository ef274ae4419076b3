"""What goes in and out of runners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, NamedTuple, Protocol

from assay.agent.session import Session
from assay.domain.facts import Facts
from assay.domain.limits import ExecutionLimits
from assay.domain.outcome import Outcome
from assay.environments.model import Step, StepKind
from assay.environments.served import Blueprint
from assay.storage.records import SandboxRecord

POSEIDON: Final = "poseidon"
ASSAY_V1: Final = "assay.v1"
RUN: Final = "run"
"""Modes of an execution: what its client speaks. One of assay.v1 can come back to it; one that runs
in a single call isn't in the database."""


class EndReason(StrEnum):
    """Why a lease is over, in the words that become the `lost` of what still ran."""

    IDLE = "the runner was idle for too long"
    EXPIRED = "the runner's time was up"
    DELETED = "the runner was deleted"
    RESET = "the runner was reset"
    SANDBOX_LOST = "the runner's sandbox was lost"
    TAKEN_OVER = "another server has taken over the runner"


class Output(NamedTuple):
    """Output as it came. `offset` numbers its first byte, both streams counted together."""

    stream: Literal["stdout", "stderr"]
    offset: int
    data: bytes


class InputWindow(NamedTuple):
    """Standard input below `offset` is in the sandbox for sure.

    A client may send up to 1 MiB beyond it. `closed`: the program reads no more.
    """

    offset: int
    closed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The end of an execution, and of its events. `offset` is that behind its last output."""

    facts: Facts
    outcome: Outcome
    offset: int


class Replaced(NamedTuple):
    """A newer connection follows this execution; the last event of the older one."""


class Moved(NamedTuple):
    """Another server has the runner now, and its client goes on there; the last event here."""


Event = Output | InputWindow | Ended | Replaced | Moved


class State(StrEnum):
    """How far an execution has come."""

    PREPARED = "prepared"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One execution of a runner, for who asks what there is."""

    execution_id: str
    mode: str
    state: State
    attached: bool
    outcome: Outcome | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FileToWrite:
    """A file to put into a sandbox, or a folder when its path ends with a slash.

    `path` is absolute, or relative to the working folder.
    """

    path: str
    content: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """Other steps than the environment's own, and what fills the places in them."""

    compile: Step | None
    run: Step
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By the names of the places, such as "compile_args"."""
    name: str | None = None
    """For `{name}`, unless that is the source file's."""
    strict: bool = False
    """A compiler that says anything on its standard error has failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRequest:
    """One program to run in a sandbox of its own, once.

    Either `source`, the text of a program in the environment's language, or `argv`.
    """

    source: bytes | None = None
    filename: str | None = None
    """Of the source; by default one with the language's ending."""
    files: tuple[FileToWrite, ...] = ()
    argv: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    stdin: bytes = b""
    limits: ExecutionLimits | None = None
    """Of the run; the environment's own when None."""
    output_bytes: int | None = None
    """Output that is kept; a program that writes more is ended."""
    steps: Steps | None = None
    """Of a source; the environment's own when None."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTimings:
    """Where the time of a run went, in seconds."""

    wait: float = 0.0
    """For a sandbox, made meanwhile when none was waiting."""
    files: float = 0.0
    compile: float = 0.0
    run: float = 0.0
    first_output: float | None = None
    """Of `run`, until the first byte of output, if there was any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """How it went: of the compiler when it failed, else of the program."""

    step: StepKind
    facts: Facts
    outcome: Outcome
    stdout: bytes
    stderr: bytes
    timings: RunTimings = field(default_factory=RunTimings)


class Claimed(Protocol):
    """A sandbox that was taken from the stock, its agent connected."""

    @property
    def session(self) -> Session:
        """It, and the connection to its agent."""
        ...

    @property
    def blueprint(self) -> Blueprint:
        """What it is a sandbox of."""
        ...

    @property
    def record(self) -> SandboxRecord:
        """What the database knows of it."""
        ...


class Stock(Protocol):
    """Where sandboxes come from, and where they end."""

    async def claim(
        self, environment: str, *, owner: str = "", deadline_seconds: float = 10.0
    ) -> Claimed:
        """Take one that nobody had. Raises PoolExhausted, UnknownEnvironment or Draining."""
        ...

    async def discard(self, claimed: Session | str) -> None:
        """Destroy one, by its id when there is no connection. Never raises."""
        ...
