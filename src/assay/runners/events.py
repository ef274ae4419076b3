"""What happens to runners and executions, told to whoever records it."""

from __future__ import annotations

from dataclasses import dataclass

from assay.runners.values import EndReason


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerCreated:
    """Somebody got a runner; `seconds` from the request on."""

    runner_id: str
    environment: str
    owner: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerEnded:
    """A lease is over, after so many seconds."""

    runner_id: str
    environment: str
    owner: str
    reason: EndReason
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerReconnected:
    """The connection to a runner's agent had broken, and is there again."""

    runner_id: str
    seconds: float
    executions: int
    """That were attached to again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionStarted:
    """A program was sent to its sandbox."""

    runner_id: str
    execution_id: str
    environment: str
    mode: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionEnded:
    """An execution came to its end."""

    runner_id: str
    execution_id: str
    environment: str
    mode: str
    outcome: str
    """The outcome's kind, such as "exited"."""
    seconds: float
    """From its start here; after a restart of the server, from the restart."""
    first_output_seconds: float | None
    """From its start to its first output; None without any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFinished:
    """A program that had a sandbox of its own, once, has ended."""

    environment: str
    outcome: str
    wait_seconds: float
    seconds: float


RunnersEvent = (
    RunnerCreated
    | RunnerEnded
    | RunnerReconnected
    | ExecutionStarted
    | ExecutionEnded
    | RunFinished
)
