"""One program in one request: in a runner that is there, or in a sandbox of its own."""

from __future__ import annotations

import binascii
from time import perf_counter
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from assay.api.answers import json
from assay.api.executions import ExecutionRequest, to_command
from assay.api.files import FILES_MOST, FileCopy
from assay.api.quotas import deadline, running
from assay.api.results import (
    Limits,
    Measurements,
    OutcomeAnswer,
    start_error,
    to_measurements,
    to_outcome,
)
from assay.api.route import Call, Route
from assay.domain.errors import InvalidInput
from assay.domain.limits import MIB, ExecutionLimits
from assay.runners import FileToWrite, RunRequest, RunTimings

_OUTPUT_KEPT: Final = MIB
"""Bytes of output that are kept unless more is asked for."""
_OUTPUT_MOST: Final = 64 * MIB
_BASE64: Final = "base64"
_UTF8: Final = "utf-8"


class RunInRunner(msgspec.Struct, rename="camel"):
    """A program to run to its end. `command` is a line for /bin/bash, `argv` is not."""

    command: str | None = None
    argv: list[str] | None = None
    stdin: str = ""
    stdin_encoding: str = _UTF8
    """Or "base64"."""
    environment: dict[str, str] | None = None
    limits: Limits | None = None
    privileged_execution: bool = False
    output_bytes: int | None = None
    """Output that is kept; a program that writes more is ended."""


class RunOnce(msgspec.Struct, rename="camel"):
    """A source, or files and a program to run, in a sandbox that nobody else sees."""

    environment: str
    source: str | None = None
    source_encoding: str = _UTF8
    filename: str | None = None
    files: Annotated[list[FileCopy], Meta(max_length=FILES_MOST)] = []
    argv: list[str] | None = None
    args: list[str] = []
    """For the program of `source`."""
    stdin: str = ""
    stdin_encoding: str = _UTF8
    limits: Limits | None = None
    output_bytes: int | None = None
    deadline_seconds: float | None = None
    """How long to wait for a sandbox."""


class Timings(msgspec.Struct, rename="camel", kw_only=True):
    """Where the time went, in milliseconds."""

    wait_ms: float = 0.0
    files_ms: float = 0.0
    compile_ms: float = 0.0
    run_ms: float = 0.0
    first_output_ms: float | None = None
    """Of `runMs`, until the first byte of the program's output; null: there was none."""


class RunAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """How it went: of the compiler when it failed, else of the program."""

    outcome: OutcomeAnswer
    step: str
    stdout: str
    stderr: str
    encoding: str
    """Of both: "utf-8", or "base64" where one is no text."""
    measurements: Measurements
    timings: Timings
    start_error: str | None


async def _in_runner(call: Call) -> web.StreamResponse:
    asked: RunInRunner = call.body
    if (asked.command is None) == (asked.argv is None):
        raise InvalidInput("either argv or command says what to run")
    stdin = _bytes(asked.stdin, asked.stdin_encoding, "stdin")
    request = ExecutionRequest(
        command=asked.command,
        argv=asked.argv,
        environment=asked.environment,
        privileged_execution=asked.privileged_execution,
        terminal=None,
        separate_stderr=False,
        stdin=bool(stdin),
        limits=asked.limits,
    )
    command = to_command(request, call.runner)
    with running(call):
        started = perf_counter()
        completed = await call.runner.run(command, stdin, most=_kept(asked.output_bytes))
        timings = RunTimings(
            run=perf_counter() - started, first_output=completed.first_output_seconds
        )
    return json(_answer(completed, "run", timings))


async def _once(call: Call) -> web.StreamResponse:
    asked: RunOnce = call.body
    environment = call.services.environments.get(asked.environment)
    request = RunRequest(
        source=_source(asked),
        filename=asked.filename,
        files=tuple(
            FileToWrite(path=each.path, content=each.content or b"") for each in asked.files
        ),
        argv=tuple(asked.argv or ()),
        args=tuple(asked.args),
        stdin=_bytes(asked.stdin, asked.stdin_encoding, "stdin"),
        limits=_limits(asked, environment.execution),
        output_bytes=_kept(asked.output_bytes),
    )
    with running(call):
        result = await call.services.runners.run_once(
            asked.environment,
            request,
            owner=call.caller.token_id,
            deadline_seconds=deadline(asked.deadline_seconds, call),
        )
    return json(_answer(result, result.step.value, result.timings))


def _source(asked: RunOnce) -> bytes | None:
    if (asked.source is None) == (asked.argv is None):
        raise InvalidInput("either source, or argv with files, says what to run")
    if asked.argv is not None and asked.args:
        raise InvalidInput("args are those of a source; argv has its own")
    return None if asked.source is None else _bytes(asked.source, asked.source_encoding, "source")


def _limits(asked: RunOnce, given: ExecutionLimits) -> ExecutionLimits | None:
    return None if asked.limits is None else asked.limits.over(given)


def _kept(asked: int | None) -> int:
    if asked is None:
        return _OUTPUT_KEPT
    if not 1 <= asked <= _OUTPUT_MOST:
        raise InvalidInput(f"outputBytes is from 1 to {_OUTPUT_MOST:,}")
    return asked


def _bytes(text: str, encoding: str, name: str) -> bytes:
    if encoding == _UTF8:
        return text.encode()
    if encoding != _BASE64:
        raise InvalidInput(f'the encoding of {name} is "utf-8" or "base64"')
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise InvalidInput(f"{name} is no base64: {error}") from error


def _answer(result: Any, step: str, timings: RunTimings) -> RunAnswer:
    stdout, stderr, encoding = _texts(result.stdout, result.stderr)
    first = timings.first_output
    return RunAnswer(
        outcome=to_outcome(result.outcome),
        step=step,
        stdout=stdout,
        stderr=stderr,
        encoding=encoding,
        measurements=to_measurements(result.facts),
        timings=Timings(
            wait_ms=_ms(timings.wait),
            files_ms=_ms(timings.files),
            compile_ms=_ms(timings.compile),
            run_ms=_ms(timings.run),
            first_output_ms=None if first is None else _ms(first),
        ),
        start_error=start_error(result.facts),
    )


def _texts(stdout: bytes, stderr: bytes) -> tuple[str, str, str]:
    try:
        return stdout.decode(), stderr.decode(), _UTF8
    except UnicodeDecodeError:
        return _in_base64(stdout), _in_base64(stderr), _BASE64


def _in_base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


ROUTES: Final = (
    Route(
        method="POST",
        path="/runners/{runner_id}/run",
        handler=_in_runner,
        summary="Run a program in a runner, and answer when it has ended",
        request=RunInRunner,
        responses={200: RunAnswer},
        problems=(429, 503),
    ),
    Route(
        method="POST",
        path="/run",
        handler=_once,
        summary="Run a program in a sandbox of its own, and answer when it has ended",
        request=RunOnce,
        responses={200: RunAnswer},
        problems=(404, 429, 503),
    ),
)
