"""The errors of the client: one tree; an error of the server becomes the class of its code.

AssayError
├── Unreachable            nobody answers there, or not in time (retryable)
├── ConnectionLost         the answer did not come: what was asked for may have been done
├── InvalidRequest         the request makes no sense (400, 422, …)
│   ├── UnknownEnvironment
│   └── LimitOverCeiling
├── NotAllowed
│   ├── Unauthenticated    no token, or one that is not known
│   └── Forbidden          the token lacks the scope
├── NotFound
│   ├── UnknownExecution   never asked for, over long ago, or used already
│   └── RunnerGone         the lease is over, or never was
├── Busy                   not now (retryable)
│   ├── PoolExhausted      no sandbox became free before the deadline
│   ├── QuotaExceeded      the token has as many as it may have
│   ├── RateLimited        `retry_after_seconds` says when again
│   └── Draining           the server is about to stop
├── FileError              a file is not there, or may not be read or written
├── OffsetLost             output before the offset is no longer kept
├── Replaced               another connection follows the execution now
├── InputClosed            the program does not read any more
├── ServerFailed           the server, its database or its sandboxes failed
└── ProtocolViolation      what came is not what this client understands
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec


class AssayError(Exception):
    """Base of all that this package raises on purpose.

    `message` is for the user; `code` is stable; `status` is the HTTP status, 0 where none came.
    """

    code: str = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        if code:
            self.code = code


class Unreachable(AssayError):
    """Nobody answers at the server's address, or not in time; nothing was done."""

    code = "unreachable"
    retryable = True


class ConnectionLost(AssayError):
    """The connection broke before the answer came: what was asked for may have been done."""

    code = "connection_lost"


class InvalidRequest(AssayError):
    """What was asked for makes no sense to the server."""

    code = "invalid_input"


class UnknownEnvironment(InvalidRequest):
    """The server offers no environment of this name."""

    code = "unknown_environment"


class LimitOverCeiling(InvalidRequest):
    """More was asked for than the environment allows."""

    code = "limit_over_ceiling"


class NotAllowed(AssayError):
    """Who asks may not do this."""

    code = "not_allowed"


class Unauthenticated(NotAllowed):
    """There was no token, or one that the server does not know."""

    code = "unauthenticated"


class Forbidden(NotAllowed):
    """The token lacks the scope."""

    code = "forbidden"


class NotFound(AssayError):
    """It is not there."""

    code = "not_found"


class UnknownExecution(NotFound):
    """It was never asked for, is over long ago, or was used already."""

    code = "unknown_execution"


class RunnerGone(NotFound):
    """The lease is over, or never was."""

    code = "runner_gone"


class Busy(AssayError):
    """Not now; later it may work."""

    code = "busy"
    retryable = True


class PoolExhausted(Busy):
    """No sandbox became free before the deadline."""

    code = "pool_exhausted"


class QuotaExceeded(Busy):
    """The token has as many as it may have at one time."""

    code = "quota_exceeded"


class RateLimited(Busy):
    """Too many requests."""

    code = "rate_limited"
    retry_after_seconds: float = 1.0


class Draining(Busy):
    """The server is about to stop; another one may be about to start."""

    code = "draining"


class FileError(AssayError):
    """A file is not there, or may not be read or written."""

    code = "file_error"


class OffsetLost(AssayError):
    """Output before the offset is no longer kept, so the stream can't go on."""

    code = "offset_lost"


class Replaced(AssayError):
    """Another connection follows this execution now."""

    code = "replaced"


class InputClosed(AssayError):
    """The program has closed its standard input, or has ended."""

    code = "input_closed"


class ServerFailed(AssayError):
    """The server failed, or what it depends on."""

    code = "server_failed"


class ProtocolViolation(AssayError):
    """What came is not the protocol that this client speaks."""

    code = "protocol_violation"


_OF_CODES: Final[Mapping[str, type[AssayError]]] = {
    each.code: each
    for each in (
        InvalidRequest, UnknownEnvironment, LimitOverCeiling, NotAllowed, Unauthenticated,
        Forbidden, NotFound, UnknownExecution, RunnerGone, Busy, PoolExhausted, QuotaExceeded,
        RateLimited,
        Draining, FileError, OffsetLost,
    )
} | {"NOMAD_OVERLOAD": PoolExhausted}  # fmt: skip
"""By the server's code; Poseidon's routes have one of their own."""

_OF_STATUSES: Final[Mapping[int, type[AssayError]]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    410: RunnerGone,
    416: OffsetLost,
    424: FileError,
    429: Busy,
    503: Busy,
}

_MOST_OF_A_MESSAGE: Final = 2000


def from_response(status: int, body: bytes, retry_after: str | None = None) -> AssayError:
    """The error that an HTTP answer means: problem+json, Poseidon's shape, or no body at all."""
    told = _told(body)
    code = str(told.get("code") or told.get("errorCode") or "")
    text = told.get("detail") or told.get("message") or told.get("title")
    kind = _OF_CODES.get(code) or _OF_STATUSES.get(status) or _of_status_class(status)
    message = str(text)[:_MOST_OF_A_MESSAGE] if text else f"the server answered {status}"
    error = kind(message, code=code if code.islower() else "", status=status)
    if isinstance(error, RateLimited) and retry_after is not None:
        error.retry_after_seconds = _seconds(retry_after)
    return error


def _told(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _of_status_class(status: int) -> type[AssayError]:
    if 400 <= status < 500:
        return InvalidRequest
    return ServerFailed if status >= 500 else ProtocolViolation


def _seconds(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 1.0
