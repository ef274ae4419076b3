"""Every exit status of `assay`, in one table; docs/cli.md holds the same."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from assay.agent.session import AGENT_DIED, ENDED_FROM_OUTSIDE, TOO_MANY_PROCESSES
from assay.domain import errors
from assay.domain.outcome import Outcome, OutcomeKind


class Status(IntEnum):
    """Exit statuses that are not the program's own."""

    FAILED = 1
    USAGE = 2
    NO_GRADE = 3
    IN_USE = 104
    SERVER_UNREACHABLE = 105
    NOT_ALLOWED = 106
    NO_SUCH_THING = 107
    BUSY = 108
    STORAGE_FAILED = 109
    UNKNOWN_ENVIRONMENT = 110
    LIMIT_OVER_CEILING = 111
    ENVIRONMENT_UNUSABLE = 112
    DRIVER_UNAVAILABLE = 113
    RUNTIME_FAILED = 114
    DISK_FULL = 115
    SANDBOX_ENDED = 116
    AGENT_DIED = 117
    LOST = 118
    OWN_FAILURE = 119
    OUT_OF_MEMORY = 120
    OUTPUT_LIMIT = 121
    IMAGE_UNAVAILABLE = 122
    IMAGE_INVALID = 123
    TIME_LIMIT = 124
    CANNOT_START = 126
    NOT_FOUND = 127
    CANCELLED = 130
    OUTPUT_CLOSED = 141


MEANINGS: Final[dict[Status, str]] = {
    Status.FAILED: "a check, test or demo that did not go as it must",
    Status.USAGE: "a wrong command line, a wrong configuration, or no such file",
    Status.NO_GRADE: "`assay grade`: there is no grade; the task or the machine is at fault",
    Status.IN_USE: "another process has the address to listen on, or the state folder",
    Status.SERVER_UNREACHABLE: "the server does not answer, or the connection to it was lost",
    Status.NOT_ALLOWED: "the token is not known, or may not do this",
    Status.NO_SUCH_THING: "there is no such runner or execution, or not any more",
    Status.BUSY: "not now: no room, or too many requests; try again later",
    Status.STORAGE_FAILED: "the server's database failed, or cannot be used",
    Status.UNKNOWN_ENVIRONMENT: "there is no such environment",
    Status.LIMIT_OVER_CEILING: "a limit is above the environment's ceiling",
    Status.ENVIRONMENT_UNUSABLE: "the environment cannot be used on this machine",
    Status.DRIVER_UNAVAILABLE: "the driver, or its runtime, is missing or does not work here",
    Status.RUNTIME_FAILED: "the runtime failed to make the sandbox",
    Status.DISK_FULL: "the disk is full",
    Status.SANDBOX_ENDED: "the sandbox was ended from outside",
    Status.AGENT_DIED: "the sandbox's agent died",
    Status.LOST: "the program was lost in another way",
    Status.OWN_FAILURE: "another failure of Assay's own",
    Status.OUT_OF_MEMORY: "the program passed the memory limit",
    Status.OUTPUT_LIMIT: "the program passed the output limit",
    Status.IMAGE_UNAVAILABLE: "the image is not where it should come from, or nobody answers",
    Status.IMAGE_INVALID: "the image is damaged, or its Dockerfile cannot be built",
    Status.TIME_LIMIT: "the program passed a time limit (clock or processor)",
    Status.CANNOT_START: "the program cannot be started",
    Status.NOT_FOUND: "there is no such program in the sandbox",
    Status.CANCELLED: "cancelled (Ctrl-C twice, SIGTERM, SIGHUP)",
    Status.OUTPUT_CLOSED: "whoever reads the output has gone away, as with `| head`",
}

_OF_ERRORS: Final[dict[type[errors.AssayError], Status]] = {
    errors.AssayError: Status.OWN_FAILURE,
    errors.InvalidInput: Status.USAGE,
    errors.UnknownEnvironment: Status.UNKNOWN_ENVIRONMENT,
    errors.UnknownDriver: Status.DRIVER_UNAVAILABLE,
    errors.InvalidEnvironment: Status.ENVIRONMENT_UNUSABLE,
    errors.InvalidTask: Status.USAGE,
    errors.InvalidSubmission: Status.USAGE,
    errors.InvalidImage: Status.IMAGE_INVALID,
    errors.BuildFailed: Status.IMAGE_INVALID,
    errors.LimitOverCeiling: Status.LIMIT_OVER_CEILING,
    errors.Unavailable: Status.DRIVER_UNAVAILABLE,
    errors.InUse: Status.IN_USE,
    errors.EnvironmentUnusable: Status.ENVIRONMENT_UNUSABLE,
    errors.CapabilityMissing: Status.ENVIRONMENT_UNUSABLE,
    errors.ImageUnavailable: Status.IMAGE_UNAVAILABLE,
    errors.RuntimeMissing: Status.DRIVER_UNAVAILABLE,
    errors.RuntimeFailed: Status.RUNTIME_FAILED,
    errors.CreateTimeout: Status.RUNTIME_FAILED,
    errors.DiskFull: Status.DISK_FULL,
    errors.SandboxGone: Status.SANDBOX_ENDED,
    errors.AgentDied: Status.AGENT_DIED,
    errors.AgentRefused: Status.LOST,
    errors.ConnectionLost: Status.LOST,
    errors.ProtocolViolation: Status.LOST,
    errors.NotAllowed: Status.NOT_ALLOWED,
    errors.NotFound: Status.NO_SUCH_THING,
    errors.Conflict: Status.FAILED,
    errors.Busy: Status.BUSY,
    errors.GradingError: Status.FAILED,
    errors.GradingLost: Status.LOST,
    errors.StorageError: Status.STORAGE_FAILED,
    errors.OffsetLost: Status.LOST,
}
"""An error has the status of its class, or else of the nearest base."""

_OF_OUTCOMES: Final[dict[OutcomeKind, Status]] = {
    OutcomeKind.TIMED_OUT: Status.TIME_LIMIT,
    OutcomeKind.OUT_OF_MEMORY: Status.OUT_OF_MEMORY,
    OutcomeKind.OUTPUT_LIMIT: Status.OUTPUT_LIMIT,
    OutcomeKind.CANCELLED: Status.CANCELLED,
}

_OF_LOSSES: Final[dict[str, Status]] = {
    ENDED_FROM_OUTSIDE: Status.SANDBOX_ENDED,
    AGENT_DIED: Status.AGENT_DIED,
    TOO_MANY_PROCESSES: Status.AGENT_DIED,
}


def status_of_error(error: errors.AssayError) -> int:
    """The exit status for an error that ends `assay`."""
    return next(_OF_ERRORS[base] for base in type(error).__mro__ if base in _OF_ERRORS)


def status_of_outcome(outcome: Outcome) -> int:
    """The program's own status, 128 + n for a signal, or that of the limit that ended it."""
    if outcome.code is not None:
        return outcome.code
    if outcome.signal is not None:
        return 128 + outcome.signal
    if outcome.kind is OutcomeKind.LOST:
        return _OF_LOSSES.get(outcome.reason or "", Status.LOST)
    return _OF_OUTCOMES[outcome.kind]


def table() -> str:
    """The table as text, for `--help`."""
    return "\n".join(f"  {status.value:>3}  {meaning}" for status, meaning in MEANINGS.items())
