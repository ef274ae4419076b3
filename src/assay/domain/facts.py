"""What happened in an execution, as it was measured; what it means is `classify`'s to say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """Who measured."""

    HOST = "host"
    """The kernel that isolates the sandbox from its neighbours, or the server itself."""
    GUEST = "guest"
    """A kernel of the sandbox's own (a virtual machine, gVisor)."""
    AGENT = "agent"
    """The agent, from its own clock or from what it saw of its children."""


class Scope(StrEnum):
    """Of what."""

    EXECUTION = "execution"
    SANDBOX = "sandbox"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A number with its origin; the field that holds it names the unit."""

    value: int
    source: Source
    scope: Scope = Scope.EXECUTION


class KilledBy(StrEnum):
    """Why the agent (or the host in its place) ended an execution."""

    WALL = "wall"
    CPU = "cpu"
    OUTPUT = "output"
    CANCEL = "cancel"


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """How one execution ended and what it used.

    Exactly one of `exit_code`, `signal` and `lost` is set. `start_error` is the name of the
    errno (such as ENOENT) when the program could not be started; the exit code is then 127
    (not found) or 126, as a shell gives it. `start_step` then says what could not be done:
    "program", "directory", "user", "terminal", "group" or "request".
    """

    exit_code: int | None = None
    signal: int | None = None
    lost: str | None = None
    start_error: str | None = None
    start_step: str | None = None
    killed_by: KilledBy | None = None
    wall_ns: Measurement | None = None
    cpu_ns: Measurement | None = None
    peak_memory_bytes: Measurement | None = None
    output_bytes: Measurement | None = None
    oom_kills: Measurement | None = None
