"""From errors to answers: one table of statuses, Poseidon's two shapes, and RFC 9457's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import msgspec
from aiohttp import web

from assay.api.limits import refusal_fields
from assay.domain.errors import AssayError, Busy

PROBLEM_JSON: Final = "application/problem+json"
STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "error": 500,
        "invalid_input": 400,
        "unknown_environment": 404,
        "unknown_driver": 400,
        "invalid_environment": 400,
        "invalid_task": 400,
        "invalid_submission": 400,
        "invalid_image": 400,
        "build_failed": 400,
        "limit_over_ceiling": 400,
        "unavailable": 503,
        "environment_unusable": 400,
        "device_unavailable": 400,
        "in_use": 503,
        "image_unavailable": 400,
        "driver_unavailable": 503,
        "capability_missing": 400,
        "driver_error": 500,
        "runtime_missing": 500,
        "runtime_failed": 500,
        "disk_full": 507,
        "capacity_exceeded": 503,
        "create_timeout": 503,
        "sandbox_gone": 410,
        "agent_error": 500,
        "agent_died": 500,
        "agent_refused": 500,
        "connection_lost": 503,
        "execution_refused": 500,
        "file_error": 424,
        "protocol_violation": 500,
        "not_allowed": 403,
        "unauthenticated": 401,
        "forbidden": 403,
        "not_found": 404,
        "unknown_execution": 404,
        "runner_gone": 410,
        "conflict": 409,
        "busy": 503,
        "pool_exhausted": 503,
        "quota_exceeded": 429,
        "rate_limited": 429,
        "draining": 503,
        "grading_error": 500,
        "task_fault": 500,
        "grading_lost": 503,
        "storage_error": 503,
        "offset_lost": 416,
        # Of HTTP itself, and no error of the tree:
        "no_such_route": 404,
        "method_not_allowed": 405,
        "body_too_large": 413,
        "encoded_body": 415,
        "not_an_upgrade": 400,
        "port_silent": 502,
        "misdirected": 421,
        "files_not_changed": 500,
        "no_such_file": 404,
        "file_not_kept": 507,
    }
)
"""The code of an error -> the status of its answer."""

OVERLOAD: Final = frozenset(
    {"busy", "pool_exhausted", "capacity_exceeded", "create_timeout", "draining", "disk_full"}
)
"""What Poseidon's clients know as NOMAD_OVERLOAD: come again later."""
_UNKNOWN_RUNNER: Final = "no runner found with this id"
_FIXED: Final = {
    "unknown_execution": "execution id unknown",
    "file_error": "file not found or insufficient permissions",
}
"""What Poseidon says, word by word."""
_FOR_OPERATORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "storage_error": "the database can't do this now: try again in some seconds; the server's"
        " log says why",
        "driver_unavailable": "no sandbox can be made now: try again later; the server's log says"
        " why",
    }
)
"""The code of an error whose message names machines, files or users of the operator's, which are
no client's business -> what a client is told instead."""
_MESSAGE_MOST: Final = 4000
"""Characters of a message: some repeat what was asked for, and that can be a megabyte."""
_log: Final = logging.getLogger("assay.api")


class HttpError(AssayError):
    """An error of HTTP itself; `code` is one of the table's last ones."""

    def __init__(self, code: str, message: str, *, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.http_code = code
        self.headers = headers or {}


class ClientError(msgspec.Struct):
    """Poseidon's shape of a status below 500."""

    message: str


class ServerError(msgspec.Struct):
    """Poseidon's shape of a status from 500 on."""

    message: str
    errorCode: str  # noqa: N815


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """RFC 9457's problem details, with the error's stable code."""

    type: str = msgspec.field(name="type", default_factory=lambda: "about:blank")
    title: str
    status: int
    detail: str
    code: str
    retryable: bool = False


_encode: Final = msgspec.json.Encoder().encode


def told(error: AssayError) -> str:
    """What a client is told of an error."""
    return _FOR_OPERATORS.get(error.code, error.message)[:_MESSAGE_MOST]


def answer_to(error: Exception, request: web.Request, *, poseidon: bool) -> web.Response:
    """The answer that tells a client of an error; what nobody expected is logged.

    `poseidon`: the route is one of Poseidon's, whose shapes it keeps unless the client says that
    it accepts problem details.
    """
    if not isinstance(error, AssayError):
        log_unexpected(error, request)
        error = AssayError("an error inside of the server; its log says more")
    code = error.http_code if isinstance(error, HttpError) else error.code
    status = STATUS[code]
    headers = dict(error.headers) if isinstance(error, HttpError) else {}
    if isinstance(error, Busy):
        headers |= refusal_fields(error)
    if poseidon and PROBLEM_JSON not in request.headers.get("Accept", ""):
        return _in_poseidons_shape(error, code, status, headers)
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=told(error),
        code=code,
        retryable=error.retryable,
    )
    return web.Response(
        body=_encode(problem), status=status, headers=headers, content_type=PROBLEM_JSON
    )


def log_unexpected(error: Exception, request: web.Request) -> None:
    """What nobody expected is for the operator to read."""
    _log.error("%s %s failed", request.method, request.path, exc_info=error)


def _in_poseidons_shape(
    error: AssayError, code: str, status: int, headers: Mapping[str, str]
) -> web.Response:
    if status in (401, 405) or code in ("no_such_route", "not_found"):
        return web.Response(status=status, headers=headers)
    if status < 500:
        message = _FIXED.get(code, told(error))
        if code == "runner_gone" and _UNKNOWN_RUNNER not in message:
            message = f"{message}: {_UNKNOWN_RUNNER}"
        body = _encode(ClientError(message))
    else:
        # Any other 5xx than 500 is unexpected to CodeOcean.
        status = 500
        known = "NOMAD_OVERLOAD" if code in OVERLOAD else "NOMAD_INTERNAL_SERVER_ERROR"
        body = _encode(ServerError(told(error), known))
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
