"""The errors of Assay: one tree, each with a stable code.

AssayError
├── InvalidInput                 invalid_input          what was asked for makes no sense
│   ├── UnknownEnvironment       unknown_environment
│   ├── UnknownDriver            unknown_driver
│   ├── InvalidEnvironment       invalid_environment    an environment's folder is wrong
│   ├── InvalidTask              invalid_task           a task's folder is wrong
│   ├── InvalidSubmission        invalid_submission     what a learner hands in is not what is asked
│   ├── InvalidImage             invalid_image          an image is damaged, or a trick
│   ├── BuildFailed              build_failed           a Dockerfile could not be built
│   └── LimitOverCeiling         limit_over_ceiling     a request asks for more than is allowed
├── Unavailable                  unavailable            it makes sense, but not on this machine
│   ├── EnvironmentUnusable      environment_unusable   a tool of the environment is missing
│   │   └── DeviceUnavailable    device_unavailable     a device is not there, or not allowed
│   ├── InUse                    in_use                 another process has it
│   ├── ImageUnavailable         image_unavailable      not there, or no answer (retryable)
│   ├── DriverUnavailable        driver_unavailable     the technology does not work here
│   └── CapabilityMissing        capability_missing     the driver cannot do what is asked
├── DriverError                  driver_error           the technology failed
│   ├── RuntimeMissing           runtime_missing        its program is not there
│   ├── RuntimeFailed            runtime_failed         its program answered with an error
│   ├── DiskFull                 disk_full              the host has no room for a sandbox
│   ├── CapacityExceeded         capacity_exceeded      as many sandboxes as allowed (retryable)
│   ├── CreateTimeout            create_timeout         no answer in time (retryable)
│   └── SandboxGone              sandbox_gone           ended from outside, or never existed
├── AgentError                   agent_error            the agent, or the way to it, failed
│   ├── AgentDied                agent_died             the agent ended before its executions
│   ├── AgentRefused             agent_refused          wrong secret, old epoch, other version
│   ├── ConnectionLost           connection_lost        the byte stream ended (retryable)
│   ├── ExecutionRefused         execution_refused      the agent would not start it
│   ├── FileError                file_error             a file operation failed
│   └── ProtocolViolation        protocol_violation     bytes that are not the protocol
├── NotAllowed                   not_allowed            who asks may not do this
│   ├── Unauthenticated          unauthenticated        no token, or one that is not known
│   └── Forbidden                forbidden              the token lacks the scope
├── NotFound                     not_found              there is no such thing
│   ├── UnknownExecution         unknown_execution      never asked for, over long ago, or used
│   └── RunnerGone               runner_gone            the lease is over, or never was
├── Conflict                     conflict               it was changed, or ended, meanwhile
├── Busy                         busy                   not now (retryable)
│   ├── PoolExhausted            pool_exhausted         no sandbox before the deadline (retryable)
│   ├── QuotaExceeded            quota_exceeded         as many as the token may have (retryable)
│   ├── RateLimited              rate_limited           too many requests (retryable)
│   └── Draining                 draining               the server is about to stop (retryable)
├── GradingError                 grading_error          there is no grade, and the learner isn't why
│   ├── TaskFault                task_fault             the task is at fault: a teacher must look
│   └── GradingLost              grading_lost           a sandbox was lost (retryable)
├── StorageError                 storage_error          the database failed
└── OffsetLost                   offset_lost            output that is no longer kept
"""

from __future__ import annotations

from typing import ClassVar


class AssayError(Exception):
    """Base of every error that Assay raises on purpose.

    `message` is for the user and says what to do about it; `detail` is for the operator.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class InvalidInput(AssayError):
    """What was asked for makes no sense, whatever the machine."""

    code = "invalid_input"


class UnknownEnvironment(InvalidInput):
    """No environment has this name."""

    code = "unknown_environment"


class UnknownDriver(InvalidInput):
    """No driver has this name."""

    code = "unknown_driver"


class InvalidEnvironment(InvalidInput):
    """An environment's folder does not say what it must, or says it wrongly."""

    code = "invalid_environment"


class InvalidTask(InvalidInput):
    """A task's folder does not say what it must, or says it wrongly."""

    code = "invalid_task"


class InvalidSubmission(InvalidInput):
    """What a learner hands in is not what the task asks for, or comes too late."""

    code = "invalid_submission"


class InvalidImage(InvalidInput):
    """An image is damaged, lies about itself, or holds what would get out of its folder."""

    code = "invalid_image"


class BuildFailed(InvalidInput):
    """A Dockerfile could not be built; the detail has the last words of the build."""

    code = "build_failed"


class LimitOverCeiling(InvalidInput):
    """A request asks for more than its environment's ceiling."""

    code = "limit_over_ceiling"


class Unavailable(AssayError):
    """What was asked for cannot be had on this machine as it is."""

    code = "unavailable"


class EnvironmentUnusable(Unavailable):
    """A tool that the environment needs is missing."""

    code = "environment_unusable"


class DeviceUnavailable(EnvironmentUnusable):
    """A device that the environment asks for is not there, or not one to be given to learners."""

    code = "device_unavailable"


class InUse(Unavailable):
    """Another process has what only one can have: an address, or a state folder."""

    code = "in_use"


class ImageUnavailable(Unavailable):
    """Where an image should come from does not have it, or does not answer in time."""

    code = "image_unavailable"
    retryable = True


class DriverUnavailable(Unavailable):
    """The driver's technology does not work on this machine."""

    code = "driver_unavailable"


class CapabilityMissing(Unavailable):
    """The driver says of itself that it cannot do this."""

    code = "capability_missing"


class DriverError(AssayError):
    """The isolating technology failed."""

    code = "driver_error"


class RuntimeMissing(DriverError):
    """The technology's own program is not on this machine."""

    code = "runtime_missing"


class RuntimeFailed(DriverError):
    """The technology's own program answered with an error."""

    code = "runtime_failed"


class DiskFull(DriverError):
    """The host has no bytes or inodes left for a sandbox."""

    code = "disk_full"


class CapacityExceeded(DriverError):
    """As many sandboxes exist as are allowed to."""

    code = "capacity_exceeded"
    retryable = True


class CreateTimeout(DriverError):
    """A sandbox was not ready in time, and has been destroyed."""

    code = "create_timeout"
    retryable = True


class SandboxGone(DriverError):
    """The sandbox was ended from outside, or never existed."""

    code = "sandbox_gone"


class AgentError(AssayError):
    """The agent in a sandbox, or the way to it, failed."""

    code = "agent_error"


class AgentDied(AgentError):
    """The agent ended while the host still needed it."""

    code = "agent_died"


class AgentRefused(AgentError):
    """The agent would not talk to this host: secret, epoch or version."""

    code = "agent_refused"


class ConnectionLost(AgentError):
    """The byte stream to the agent ended, or nothing came over it for too long."""

    code = "connection_lost"
    retryable = True


class ExecutionRefused(AgentError):
    """The agent would not start an execution; nothing of it has run."""

    code = "execution_refused"


class FileError(AgentError):
    """A file operation in a sandbox failed; `reason` is the errno's name, such as ENOENT."""

    code = "file_error"

    def __init__(self, message: str, *, reason: str, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.reason = reason


class ProtocolViolation(AgentError):
    """The other side sent bytes that are not the agent protocol."""

    code = "protocol_violation"


class NotAllowed(AssayError):
    """Who asks may not do this."""

    code = "not_allowed"


class Unauthenticated(NotAllowed):
    """There is no token with the request, or none that is known and still good."""

    code = "unauthenticated"


class Forbidden(NotAllowed):
    """The token is good, and lacks the scope for this."""

    code = "forbidden"


class NotFound(AssayError):
    """There is nothing of that name."""

    code = "not_found"


class Conflict(AssayError):
    """What was asked for made sense before; something else has changed it, or ended it."""

    code = "conflict"


class UnknownExecution(NotFound):
    """The execution was never asked for, was over long ago, or has been used already."""

    code = "unknown_execution"


class RunnerGone(NotFound):
    """The runner's lease is over, or never was."""

    code = "runner_gone"


class Busy(AssayError):
    """It can be had, but not now."""

    code = "busy"
    retryable = True


class PoolExhausted(Busy):
    """No sandbox became free before the deadline."""

    code = "pool_exhausted"


class QuotaExceeded(Busy):
    """The token has as many runners or executions as it may have at one time."""

    code = "quota_exceeded"


class RateLimited(Busy):
    """The token asks more often than it may; `retry_after_seconds` is when it may again."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_seconds: float, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.retry_after_seconds = retry_after_seconds


class Draining(Busy):
    """The server is about to stop, and takes nothing new."""

    code = "draining"


class GradingError(AssayError):
    """There is no grade, and what the learner handed in is not why."""

    code = "grading_error"


class TaskFault(GradingError):
    """A checker, a generator or a reference solution did not do what it is for."""

    code = "task_fault"


class GradingLost(GradingError):
    """A sandbox was lost while it graded; another one may do it."""

    code = "grading_lost"
    retryable = True


class StorageError(AssayError):
    """The database failed, or cannot be used."""

    code = "storage_error"


class OffsetLost(AssayError):
    """Output before the offset that was asked for is no longer kept."""

    code = "offset_lost"
