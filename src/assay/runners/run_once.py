"""One program in a sandbox of its own, once: files in, compile, run, output out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from assay.agent.entries import Entry
from assay.agent.execution import Completed
from assay.agent.files import put_files
from assay.agent.session import Session
from assay.domain.errors import FileError, InvalidInput
from assay.domain.limits import MIB, require_within
from assay.environments.model import ExecutionEnvironment, StepKind
from assay.environments.plan import Plan, command_in, plan
from assay.environments.served import Blueprint
from assay.runners.values import FileToWrite, RunRequest, RunResult, RunTimings

OUTPUT_MOST: Final = 16 * MIB
"""Output that is kept of one program, both streams together."""
_NAME: Final = "main"


def planned(blueprint: Blueprint, request: RunRequest) -> Plan:
    """Say what to compile and run. Raises InvalidInput and LimitOverCeiling."""
    environment = blueprint.environment
    limits = request.limits or environment.execution
    require_within(limits, environment.ceiling)
    if request.argv:
        if request.source is not None:
            raise InvalidInput("a run has either a source or an argv")
        argv = (*request.argv, *request.args)
        folder = blueprint.folder
        own = {**({} if folder is None else folder.variables), **environment.variables}
        return Plan(
            compile=None, run=command_in(blueprint.root, argv, variables=own, limits=limits)
        )
    folder, steps = _language(blueprint), request.steps
    if steps is not None:
        folder = replace(folder, compile=steps.compile, run=steps.run)
    if request.source is None and request.filename is None:
        raise InvalidInput("there is nothing to run: give a source, or files with an argv")
    return plan(
        folder,
        source_name(folder, request),
        request.args,
        root=blueprint.root,
        limits=limits,
        sandbox=environment.sandbox,
        lists={} if steps is None else steps.lists,
        name=None if steps is None else steps.name,
    )


def source_name(folder: ExecutionEnvironment, request: RunRequest) -> str:
    """The name of the source file."""
    return request.filename or f"{_NAME}{folder.extensions[0]}"


def _language(blueprint: Blueprint) -> ExecutionEnvironment:
    """The environment's steps, within what is served rather than what its folder allows."""
    folder = blueprint.folder
    if folder is None:
        raise InvalidInput(
            f"the environment {blueprint.environment.name} has no language: give an argv"
        )
    served = blueprint.environment
    variables = {**folder.variables, **served.variables}
    ceilings = replace(folder.ceilings, run=served.ceiling, sandbox=served.sandbox)
    return replace(folder, variables=variables, ceilings=ceilings)


async def run_in(
    session: Session,
    blueprint: Blueprint,
    request: RunRequest,
    made: Plan,
    *,
    waited: float,
    clock: Callable[[], float] = time.perf_counter,
) -> RunResult:
    """Run what was planned in a sandbox that is there for nothing else. Raises FileError."""
    most = min(request.output_bytes or OUTPUT_MOST, OUTPUT_MOST)
    started = clock()
    await _put(session, blueprint, request)
    put = clock()
    completed, step = None, StepKind.COMPILE
    if made.compile is not None:
        completed = await session.run(made.compile, most=most)
    compiled = clock()
    if completed is None or _compiled(completed, request):
        step = StepKind.RUN
        last = replace(made.run, last=True)
        completed = await session.run(last, request.stdin, most=most)
    timings = RunTimings(
        wait=waited, files=put - started, compile=compiled - put, run=clock() - compiled,
        first_output=completed.first_output_seconds if step is StepKind.RUN else None,
    )  # fmt: skip
    return _result(step, completed, timings)


def _compiled(completed: Completed, request: RunRequest) -> bool:
    silent = not completed.stderr or request.steps is None or not request.steps.strict
    return completed.outcome.success and silent


async def _put(session: Session, blueprint: Blueprint, request: RunRequest) -> None:
    entries = [_entry(file) for file in request.files]
    if request.source is not None and blueprint.folder is not None:
        name = source_name(blueprint.folder, request)
        entries.append(Entry(name=name, mode=0o644, content=request.source))
    if entries:
        await put_files(session.agent, blueprint.root.working_folder, entries)


def _entry(file: FileToWrite) -> Entry:
    path = PurePosixPath(file.path)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise FileError(
            f"{file.path}: a file of a run has a path inside of the working folder",
            reason="EINVAL",
        )
    return Entry(name=str(path), mode=0o755, content=file.content)


def _result(step: StepKind, completed: Completed, timings: RunTimings) -> RunResult:
    return RunResult(
        step=step,
        facts=completed.facts,
        outcome=completed.outcome,
        stdout=completed.stdout,
        stderr=completed.stderr,
        timings=timings,
    )
