"""One program in a sandbox, joined to standard input, output and error of this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Protocol

from assay.agent.execution import Chunk, Execution
from assay.agent.session import Session
from assay.cli.interrupts import Interrupts
from assay.cli.terminal import Terminal, has_terminal
from assay.domain.command import Command
from assay.domain.errors import AgentError, ConnectionLost, ProtocolViolation
from assay.domain.facts import Facts
from assay.domain.outcome import Outcome


class Sink(Protocol):
    """Takes a program's output."""

    async def take(self, chunk: Chunk) -> None:
        """Return when the next chunk may come. Raises OSError when it can't be taken."""
        ...


class Source(Protocol):
    """Gives a program's standard input."""

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        ...


async def follow(
    session: Session,
    command: Command,
    sink: Sink,
    *,
    interrupts: Interrupts | None = None,
    source: Source | None = None,
    terminal: Terminal | None = None,
) -> tuple[Facts, Outcome]:
    """Run a command to its end, with `source` as its standard input, if any.

    Raises what the sink raises, and ExecutionRefused; what is lost becomes an outcome.
    """
    execution = await session.start(command)
    try:
        with (
            interrupts.of(execution, terminal) if interrupts else contextlib.nullcontext(),
            terminal.raw() if terminal else contextlib.nullcontext(),
        ):
            async with _feeding(execution, source):
                return await _until_end(session, execution, command, sink)
    except BaseException:
        execution.abandon()
        raise


async def _until_end(
    session: Session, execution: Execution, command: Command, sink: Sink
) -> tuple[Facts, Outcome]:
    """The end is awaited beside the output: its watchdog must run while output flows."""
    output = execution.output()
    conclusion = asyncio.ensure_future(session.conclude(execution, command))
    try:
        with contextlib.suppress(ConnectionLost, ProtocolViolation):  # `conclude` explains it
            async for chunk in output:
                await sink.take(chunk)
        return await conclusion
    finally:
        conclusion.cancel()
        await asyncio.wait((conclusion,))
        if not conclusion.cancelled():
            conclusion.exception()


@contextlib.asynccontextmanager
async def _feeding(execution: Execution, source: Source | None) -> AsyncIterator[None]:
    if source is None:
        yield
        return
    task = asyncio.ensure_future(_feed(execution, source))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _feed(execution: Execution, source: Source) -> None:
    # Whoever reads the output gets the error too.
    with contextlib.suppress(AgentError):
        while not execution.input_closed and not execution.ended:
            data = await source.read()
            if not data:
                await execution.end_input()
                return
            await execution.write(data)


def attached(command: Command, *, with_terminal: bool) -> tuple[Command, Terminal | None]:
    """The command with our standard input, and our terminal if we have one to give."""
    if not with_terminal or not has_terminal():
        return replace(command, stdin=True), None
    terminal = Terminal()
    kind = os.environ.get("TERM", "")
    named = {"TERM": kind} if kind.isascii() and kind.isprintable() and kind else {}
    command = replace(
        command,
        stdin=True,
        terminal=terminal.size(),
        separate_stderr=not os.isatty(2),
        environment={**command.environment, **named},
    )
    return command, terminal
