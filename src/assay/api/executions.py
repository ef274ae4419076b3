"""Executions: store a command, follow it over a WebSocket, list and cancel."""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from urllib.parse import quote

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from assay.api.answers import empty, json
from assay.api.following import follow
from assay.api.results import Limits, OutcomeAnswer, seconds, to_outcome
from assay.api.route import PREFIX, Call, Parameter, Route
from assay.domain.command import Command, TerminalSize
from assay.domain.errors import InvalidInput, UnknownExecution
from assay.domain.limits import ExecutionLimits
from assay.runners import ASSAY_V1, POSEIDON, Listed, Runner

_WIDE: Final = TerminalSize(rows=24, columns=10_000)
"""Poseidon's clients read lines, which a narrow terminal would fold."""
_TERMINAL_DEFAULTS: Final = {"TERM": "ansi", "COLUMNS": "10000", "NO_COLOR": "true"}
"""Of Poseidon's executions, where the image says nothing else."""


class Terminal(msgspec.Struct):
    """The size of a terminal, in characters."""

    rows: int = 24
    columns: int = 80

    def size(self) -> TerminalSize:
        """Raises InvalidInput."""
        if not (1 <= self.rows <= 65_535 and 1 <= self.columns <= 65_535):
            raise InvalidInput("a terminal has 1 to 65535 rows and columns")
        return TerminalSize(rows=self.rows, columns=self.columns)


class ExecutionRequest(msgspec.Struct, rename="camel"):
    """What to execute. `command` alone is Poseidon's way; see the fields that go beyond it."""

    command: str | None = ""
    """A line for /bin/bash."""
    privileged_execution: bool | None = False
    environment: dict[str, str] | None = None
    time_limit: int | None = 0
    """Seconds since the WebSocket was connected; 0 is as long as the environment allows."""
    argv: list[str] | None = None
    """A program and its arguments, instead of `command`."""
    terminal: Terminal | UnsetType | None = UNSET
    """null: pipes. Poseidon's way is a wide terminal, that of `argv` pipes."""
    separate_stderr: bool | None = None
    """With a terminal: standard error is no part of it."""
    stdin: bool | None = None
    """Without a terminal: whether there is standard input, or its end at once."""
    limits: Limits | None = None
    resumable: bool | None = None
    """The client speaks assay.v1, and may come again when it loses its connection."""

    @property
    def beyond_poseidon(self) -> bool:
        """Whether Poseidon's clients wouldn't ask like this."""
        return (
            self.argv is not None
            or self.terminal is not UNSET
            or self.separate_stderr is not None
            or self.stdin is not None
            or self.limits is not None
            or bool(self.resumable)
        )


class ExecutionAnswer(msgspec.Struct, rename="camel"):
    """Where to connect to in order to start it."""

    websocket_url: str
    execution_id: str


class ListedExecution(msgspec.Struct, rename="camel"):
    """An execution of a runner."""

    execution_id: str
    mode: str
    state: str
    attached: bool
    outcome: OutcomeAnswer | None


class ExecutionList(msgspec.Struct):
    """The executions that a runner knows of."""

    executions: list[ListedExecution]


async def _execute(call: Call) -> web.StreamResponse:
    asked: ExecutionRequest = call.body
    runner = call.runner
    command = to_command(asked, runner)
    mode = ASSAY_V1 if asked.beyond_poseidon else POSEIDON
    execution_id = await runner.prepare(command, mode=mode)
    runner_id = quote(runner.id, safe="")
    path = f"{PREFIX}/runners/{runner_id}/websocket?executionID={execution_id}"
    return json(ExecutionAnswer(call.origin.websocket(path), execution_id))


def to_command(asked: ExecutionRequest, runner: Runner) -> Command:
    """What to run, within the environment's ceilings. Raises InvalidInput, LimitOverCeiling."""
    poseidon = asked.argv is None
    terminal = asked.terminal
    if terminal is UNSET:
        size = _WIDE if poseidon else None
    else:
        size = None if terminal is None else terminal.size()
    return runner.command(
        ("/bin/bash", "-c", asked.command or "") if asked.argv is None else tuple(asked.argv),
        variables=_variables(asked, runner),
        privileged=bool(asked.privileged_execution),
        limits=_limits(asked, runner),
        terminal=size,
        separate_stderr=poseidon if asked.separate_stderr is None else asked.separate_stderr,
        stdin=size is not None if asked.stdin is None else asked.stdin,
    )


def _variables(asked: ExecutionRequest, runner: Runner) -> dict[str, str]:
    given = asked.environment or {}
    if asked.argv is not None:
        return given
    # The image knows better how its programs like their terminal.
    images = runner.blueprint.root.environment
    own = runner.environment.variables
    defaults = {
        name: value
        for name, value in _TERMINAL_DEFAULTS.items()
        if name not in images and name not in own
    }
    return {**defaults, "CODEOCEAN": "true", **given}


def _limits(asked: ExecutionRequest, runner: Runner) -> ExecutionLimits:
    environment = runner.environment
    ceiling: ExecutionLimits = environment.ceiling
    limit = seconds(asked.time_limit, "timeLimit", most=2.0**31)
    if asked.beyond_poseidon:
        limits: ExecutionLimits = environment.execution
    else:
        # Poseidon limits the wall clock alone.
        limits = ceiling
        if limits.open_files is None:
            limits = replace(limits, open_files=environment.execution.open_files)
    if limit is not None:
        most = ceiling.wall_seconds
        limits = replace(limits, wall_seconds=limit if most is None else min(limit, most))
    return limits if asked.limits is None else asked.limits.over(limits)


async def _websocket(call: Call) -> web.StreamResponse:
    return await follow(call)


async def _list(call: Call) -> web.StreamResponse:
    return json(ExecutionList([_listed(each) for each in call.runner.executions()]))


async def _one(call: Call) -> web.StreamResponse:
    return json(_listed(_find(call)))


async def _cancel(call: Call) -> web.StreamResponse:
    call.runner.cancel(_find(call).execution_id)
    return empty()


def _find(call: Call) -> Listed:
    wanted = call.request.match_info["execution_id"]
    for each in call.runner.executions():
        if each.execution_id == wanted:
            return each
    raise UnknownExecution("execution id unknown")


def _listed(each: Listed) -> ListedExecution:
    return ListedExecution(
        execution_id=each.execution_id,
        mode=each.mode,
        state=each.state.value,
        attached=each.attached,
        outcome=None if each.outcome is None else to_outcome(each.outcome),
    )


ROUTES: Final = (
    Route(
        method="POST",
        path="/runners/{runner_id}/execute",
        handler=_execute,
        summary="Store a command; it starts when its WebSocket is connected",
        request=ExecutionRequest,
        responses={200: ExecutionAnswer},
        poseidon=True,
    ),
    Route(
        method="GET",
        path="/runners/{runner_id}/websocket",
        handler=_websocket,
        summary="Start an execution and follow it; without a subprotocol in Poseidon's messages,"
        " with assay.v1 in its own",
        parameters=(
            Parameter(name="executionID", summary="From `execute`", required=True),
            Parameter(
                name="offset", type=int, summary="assay.v1: the first byte of output not received"
            ),
        ),
        responses={101: None},
        problems=(404, 416),
        poseidon=True,
    ),
    Route(
        method="GET",
        path="/runners/{runner_id}/executions",
        handler=_list,
        summary="The executions that are stored, run, or wait for their client",
        responses={200: ExecutionList},
    ),
    Route(
        method="GET",
        path="/runners/{runner_id}/executions/{execution_id}",
        handler=_one,
        summary="One execution",
        responses={200: ListedExecution},
        problems=(404,),
    ),
    Route(
        method="DELETE",
        path="/runners/{runner_id}/executions/{execution_id}",
        handler=_cancel,
        summary="Kill what an execution runs; what it would have run is never started",
        responses={204: None},
        problems=(404,),
    ),
)
