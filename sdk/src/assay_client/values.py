"""What is asked for, and what comes back."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of the values that travel as JSON."""


class OutcomeKind(StrEnum):
    """The seven ways in which an execution can end."""

    EXITED = "exited"
    SIGNALED = "signaled"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT = "output_limit"
    CANCELLED = "cancelled"
    LOST = "lost"


class Outcome(Value, frozen=True, kw_only=True):
    """What an execution's end means.

    `code` belongs to EXITED, `signal` to SIGNALED, `clock` ("wall" or "cpu") to TIMED_OUT and
    `reason` to LOST.
    """

    kind: OutcomeKind
    code: int | None = None
    signal: int | None = None
    clock: str | None = None
    reason: str | None = None

    @property
    def success(self) -> bool:
        """True only for a program that ended by itself with exit code 0."""
        return self.kind is OutcomeKind.EXITED and self.code == 0

    def __str__(self) -> str:
        for value in (self.code, self.signal, self.clock, self.reason):
            if value is not None:
                return f"{self.kind}({value})"
        return str(self.kind)


class Measurement(Value, frozen=True, kw_only=True):
    """A number, who measured it (host, guest, agent), and of what (execution, sandbox)."""

    value: int
    source: str = ""
    scope: str = ""


class Measurements(Value, frozen=True, kw_only=True):
    """What an execution used; None where nobody measured it."""

    wall_ns: Measurement | None = None
    cpu_ns: Measurement | None = None
    peak_memory_bytes: Measurement | None = None
    output_bytes: Measurement | None = None
    oom_kills: Measurement | None = None


class Limits(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What an execution may use instead of the environment's own; None: the environment's."""

    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    output_bytes: int | None = None


class TerminalSize(Value, frozen=True, kw_only=True):
    """Rows and columns of a terminal, in characters."""

    rows: int = 24
    columns: int = 80


class End(Value, frozen=True, kw_only=True):
    """How an execution ended. `start_error` is an errno's name when it could not be started."""

    outcome: Outcome
    measurements: Measurements = Measurements()
    start_error: str | None = None

    @property
    def success(self) -> bool:
        """True only for a program that ended by itself with exit code 0."""
        return self.outcome.success


class Timings(Value, frozen=True, kw_only=True):
    """Where the time of a `Client.run` went, in milliseconds; None: there was no such step."""

    wait_ms: float | None = None
    create_ms: float | None = None
    files_ms: float | None = None
    compile_ms: float | None = None
    run_ms: float | None = None
    first_output_ms: float | None = None
    """Of `run_ms`, until the first byte of output."""


class Result(Value, frozen=True, kw_only=True):
    """A program that has ended, and all that it wrote.

    `step` is "compile" when the compiler refused the source: then the output is the compiler's.
    """

    outcome: Outcome
    stdout_bytes: bytes
    stderr_bytes: bytes
    measurements: Measurements = Measurements()
    start_error: str | None = None
    step: str | None = None
    timings: Timings = Timings()

    @property
    def success(self) -> bool:
        """True only for a program that ended by itself with exit code 0."""
        return self.outcome.success

    @property
    def stdout(self) -> str:
        """As text; bytes that are no UTF-8 are shown by a replacement."""
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """As text; bytes that are no UTF-8 are shown by a replacement."""
        return self.stderr_bytes.decode(errors="replace")


class FileInfo(Value, frozen=True, kw_only=True):
    """A file, folder or link in a runner. `entry_type` is "-", "d", "l", … as `ls` has it."""

    name: str
    entry_type: str
    size: int = 0
    modification_time: int = 0
    link_target: str | None = None
    permissions: str = ""
    owner: str = ""
    group: str = ""


class PortMapping(Value, frozen=True, kw_only=True):
    """A port of the sandbox, and where it is reached from outside."""

    exposed_port: int
    host_address: str


class Lease(Value, frozen=True, kw_only=True):
    """What the server said when it leased a runner."""

    runner_id: str
    environment: str = ""
    generation: int = 1
    mapped_ports: tuple[PortMapping, ...] = ()


class Execution(Value, frozen=True, kw_only=True):
    """An execution as the server lists it."""

    execution_id: str
    state: str = ""
    outcome: Outcome | None = None


class PoolState(Value, frozen=True, kw_only=True):
    """One environment's stock of warm sandboxes."""

    target: int = 0
    idle: int = 0
    creating: int = 0
    checking: int = 0
    waiting: int = 0
    used: int = 0
    last_error: str | None = None


Stream = Literal["stdout", "stderr"]


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """Some output. `offset` counts the bytes of both streams before it."""

    stream: Stream
    offset: int
    data: bytes
