"""One request, one sandbox: make it, fill it, compile, run, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Final

from assay.agent.session import Session, open_session
from assay.bootstrap import choose_driver, forget_choice, holding, open_driver, sweep_abandoned
from assay.cli.answers import Answer, Made
from assay.cli.follow import attached, follow
from assay.cli.interrupts import Interrupts
from assay.cli.remarks import Ended
from assay.cli.request import Request
from assay.cli.streams import Input
from assay.cli.workspace import put
from assay.config import Settings
from assay.domain.command import Command
from assay.domain.errors import RuntimeFailed
from assay.domain.facts import Facts
from assay.domain.outcome import Outcome
from assay.driver.port import Driver, SandboxSpec, Secret
from assay.environments import StepKind

UNCLAIMED_SECONDS: Final = 10
"""If we are killed, the sandbox ends so much later."""
_SECONDS_TO_SWEEP: Final = 10.0


async def perform(settings: Settings, request: Request, answer: Answer) -> int:
    """Do what was asked for, and return the exit status. Raises AssayError, CancelledError."""
    interrupts = Interrupts()
    with interrupts.watched(), holding(settings, request.image):
        name = await choose_driver(settings)
        made = Made(driver=name)
        try:
            async with (
                open_driver(settings, name, on_event=made.observe) as driver,
                _sweeping(settings, driver),
            ):
                ended = await _in_sandbox(driver, request, answer, interrupts)
        except RuntimeFailed:
            forget_choice(settings)
            raise
        return await answer.ended(ended, made)


@contextlib.asynccontextmanager
async def _sweeping(settings: Settings, driver: Driver) -> AsyncIterator[None]:
    """Clean up after others meanwhile; what takes long is left for the next one."""
    task = asyncio.ensure_future(sweep_abandoned(settings, driver))
    try:
        yield
    finally:
        await asyncio.wait((task,), timeout=_SECONDS_TO_SWEEP)
        task.cancel()


async def _in_sandbox(
    driver: Driver, request: Request, answer: Answer, interrupts: Interrupts
) -> Ended:
    spec = SandboxSpec(
        root=request.root,
        secret=Secret(secrets.token_bytes(32)),
        limits=request.sandbox,
        devices=request.environment.devices,
        unclaimed_seconds=UNCLAIMED_SECONDS,
    )
    async with open_session(driver, spec) as session:
        if request.uploads:
            await put(session.agent, request.uploads, request.root.working_folder)
        compiler, program = request.plan
        if compiler is not None:
            facts, outcome = await follow(
                session, compiler, answer.compiler_sink, interrupts=interrupts
            )
            if not outcome.success:
                return _ended(request, StepKind.COMPILE, compiler, facts, outcome)
        facts, outcome = await _run(session, program, answer, interrupts)
        return _ended(request, StepKind.RUN, program, facts, outcome)


async def _run(
    session: Session, program: Command, answer: Answer, interrupts: Interrupts
) -> tuple[Facts, Outcome]:
    command, terminal = attached(program, with_terminal=answer.live)
    return await follow(
        session,
        command,
        answer.sink,
        interrupts=interrupts,
        source=Input(0),
        terminal=terminal,
    )


def _ended(
    request: Request, step: StepKind, command: Command, facts: Facts, outcome: Outcome
) -> Ended:
    return Ended(
        environment=request.environment,
        step=step,
        command=command,
        sandbox=request.sandbox,
        facts=facts,
        outcome=outcome,
    )
