"""Sample programs, each in a fresh sandbox, and whether they end as they must."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from assay.agent.session import Session, open_session
from assay.cli.answers import Kept
from assay.cli.follow import Sink, follow
from assay.cli.workspace import put, uploads
from assay.domain.command import Command, Interpreter
from assay.domain.devices import Device
from assay.domain.errors import EnvironmentUnusable
from assay.domain.facts import Facts, Measurement
from assay.domain.limits import SandboxLimits
from assay.domain.outcome import Outcome
from assay.driver.guard import Event, SandboxCreated
from assay.driver.port import Driver, RootFilesystem, SandboxSpec, Secret
from assay.environments import (
    ExecutionEnvironment,
    Plan,
    Program,
    StepKind,
    interpreter_of,
    plan_program,
)

_UNCLAIMED_SECONDS: Final = 10
_WAIT_SECONDS: Final = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """How a sample program ended, at the step that was the last one."""

    step: StepKind
    facts: Facts
    outcome: Outcome
    output: Kept


class Stopwatch:
    """Observes a driver: how long making the newest sandbox took."""

    create_seconds = 0.0

    def observe(self, event: Event) -> None:
        """Take the time of a sandbox that was made."""
        if isinstance(event, SandboxCreated):
            self.create_seconds = event.seconds


class Given:
    """A text as a program's standard input."""

    def __init__(self, text: str) -> None:
        self._left = text.encode()

    async def read(self) -> bytes:
        """All of it, then the end."""
        data, self._left = self._left, b""
        return data


async def try_program(
    driver: Driver, root: RootFilesystem, environment: ExecutionEnvironment, program: Program
) -> Trial:
    """Run a sample program of an environment, and keep its output.

    By a Python that waits, where the environment has one in such sandboxes: as in a server's.
    """
    sink = Kept()
    plan = plan_program(environment, program, root=root)
    step, facts, outcome = await run_files(
        driver,
        root,
        program.sandbox,
        plan,
        (program.source, *program.files),
        sink,
        devices=environment.devices,
        stdin=program.stdin,
        until=program.last_step,
        interpreter=_interpreter(environment, program, plan, root, driver),
    )
    return Trial(step=step, facts=facts, outcome=outcome, output=sink)


async def run_files(
    driver: Driver,
    root: RootFilesystem,
    limits: SandboxLimits,
    plan: Plan,
    files: Sequence[Path],
    sink: Sink,
    *,
    devices: tuple[Device, ...] = (),
    stdin: str = "",
    until: StepKind = StepKind.RUN,
    interpreter: Interpreter | None = None,
) -> tuple[StepKind, Facts, Outcome]:
    """Compile and run in a sandbox of its own; the compiler's output goes nowhere if all is well.

    Stops after the step `until`, and where a compiler fails.
    """
    spec = SandboxSpec(
        root=root,
        secret=Secret(secrets.token_bytes(32)),
        limits=limits,
        devices=devices,
        unclaimed_seconds=_UNCLAIMED_SECONDS,
    )
    async with open_session(driver, spec) as session:
        await put(session.agent, uploads(files), root.working_folder)
        if interpreter is not None:
            await _let_wait(session, interpreter)
        if plan.compile is not None:
            facts, outcome = await follow(session, plan.compile, sink)
            if until is StepKind.COMPILE or not outcome.success:
                return StepKind.COMPILE, facts, outcome
        program = replace(plan.run, stdin=bool(stdin))
        source = Given(stdin) if stdin else None
        facts, outcome = await follow(session, program, sink, source=source)
        return StepKind.RUN, facts, outcome


def _interpreter(
    environment: ExecutionEnvironment,
    program: Program,
    plan: Plan,
    root: RootFilesystem,
    driver: Driver,
) -> Interpreter | None:
    if program.sandbox != environment.sandbox or not driver.capabilities.interpreters:
        return None
    run = plan.run
    return interpreter_of(
        environment, root, variables=run.environment, open_files=run.limits.open_files
    )


async def _let_wait(session: Session, interpreter: Interpreter) -> None:
    """Raises EnvironmentUnusable where it can't import what it shall, or never waits."""
    imports = Command(
        argv=(interpreter.path, "-c", f"import {', '.join(interpreter.packages) or 'sys'}"),
        environment=interpreter.environment, uid=interpreter.uid, gid=interpreter.gid,
    )  # fmt: skip
    completed = await session.run(imports)
    if not completed.outcome.success:
        said = completed.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise EnvironmentUnusable(f"what `preimport` names can't be imported: {said}")
    session.agent.keep_interpreter(interpreter)
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            await session.agent.interpreter_waits()
    except TimeoutError:
        raise EnvironmentUnusable(
            f"`preimport` asks for a Python that waits, and {interpreter.path} doesn't:"
            " CPython 3.10 or newer is needed"
        ) from None


def complaint(program: Program, trial: Trial) -> str:
    """What is wrong with how a sample program ended; empty when nothing is."""
    stdout = trial.output.stdout.decode(errors="replace")
    stderr = trial.output.stderr.decode(errors="replace")
    if trial.step is not program.last_step:
        return f"the compiler failed: {trial.outcome} {_short(stderr)}"
    if trial.outcome != program.outcome:
        return f"{trial.outcome} instead of {program.outcome} {_short(stderr)}".strip()
    if program.stdout is not None and stdout != program.stdout:
        return f"its output is {_short(stdout)!r} instead of {_short(program.stdout)!r}"
    if program.stderr_contains not in stderr:
        return f"its error output {_short(stderr)!r} lacks {program.stderr_contains!r}"
    return ""


def number(measurement: Measurement | None) -> int | None:
    """The value, if somebody has measured it."""
    return None if measurement is None else measurement.value


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:100]}…{text[-80:]}"
