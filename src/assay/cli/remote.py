"""`assay run --server`: the same, but the sandbox is one of a server's."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

import assay_client
from assay.agent.execution import Chunk
from assay.bootstrap import Catalogue
from assay.cli.answers import Answer, Made
from assay.cli.failure import ServerUnreachable
from assay.cli.follow import Sink, Source, attached
from assay.cli.interrupts import Interrupts
from assay.cli.remarks import Ended
from assay.cli.request import FOR_COMMANDS, Asked, Wishes
from assay.cli.streams import Input
from assay.cli.terminal import Terminal
from assay.cli.workspace import Upload, contents, uploads
from assay.domain import errors
from assay.domain.command import Command, TerminalSize
from assay.domain.errors import AssayError, InvalidInput, UnknownEnvironment
from assay.domain.facts import Facts, Measurement, Scope
from assay.domain.facts import Source as Measurer
from assay.domain.limits import MIB
from assay.domain.outcome import Outcome, OutcomeKind
from assay.environments import ExecutionEnvironment, StepKind, plan
from assay_client import errors as theirs

_INACTIVITY_SECONDS: Final = 60
"""If we are killed, the runner ends so much later."""
_PATIENCE: Final = assay_client.Patience(request_seconds=3.0)
"""Who sits at a terminal wants to know soon that nobody answers there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """Which, and as whom."""

    url: str
    token: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteRequest:
    """What is to be done in a runner."""

    environment: ExecutionEnvironment
    """As it is known here: how to compile and run. Limits are the server's."""
    compile: Command | None
    run: Command
    uploads: Sequence[Upload]
    limits: assay_client.Limits


def understand(catalogue: Catalogue, asked: Asked, wishes: Wishes) -> RemoteRequest:
    """Find out what the target is: a source file of this machine, or a program there.

    Raises UnknownEnvironment and InvalidInput.
    """
    if wishes.memory is not None:
        raise InvalidInput("--memory is for sandboxes of this machine; a server has its own sizes")
    source = _source(catalogue, asked)
    environment = _environment(catalogue, asked, source)
    if source is None:
        compiler, program = None, Command(argv=asked.argv)
    else:
        compiler, program = plan(environment, source.name, asked.arguments)
    # What is said of a limit that was passed; the server's own may be lower.
    limits = wishes.limits(environment.run.limits, environment.ceilings.run)
    program = replace(program, limits=limits)
    files = asked.files if source is None else (source, *asked.files)
    return RemoteRequest(
        environment=environment, uploads=uploads(files), limits=_limits(wishes),
        compile=None if compiler is None else _anywhere(compiler), run=_anywhere(program),
    )  # fmt: skip


def _source(catalogue: Catalogue, asked: Asked) -> Path | None:
    """The file that is meant, or None: it is a command."""
    if asked.target is None or asked.separated:
        return None
    path = Path(asked.target)
    known = any(path.suffix in each.extensions for each in catalogue.environments)
    if path.is_file() and (known or (asked.environment and not path.is_absolute())):
        return path
    if known and path.name not in {file.name for file in asked.files}:
        raise InvalidInput(f"there is no file {asked.target} here")
    return None


def _environment(catalogue: Catalogue, asked: Asked, source: Path | None) -> ExecutionEnvironment:
    if asked.environment is None:
        return catalogue.named(FOR_COMMANDS) if source is None else catalogue.for_file(source)
    try:
        return catalogue.named(asked.environment)
    except UnknownEnvironment as error:
        if source is not None:
            raise UnknownEnvironment(
                f"how to run {source.name} in the environment {asked.environment} is not known"
                f" here; say it: assay run --server … -e {asked.environment}"
                f" --file {source.name} -- COMMAND"
            ) from error
        # The server may have it, and a command is all that there is to know.
        return replace(catalogue.named(FOR_COMMANDS), name=asked.environment)


def _anywhere(command: Command) -> Command:
    """By its name: the server's image may have the program elsewhere on its PATH."""
    program = PurePosixPath(command.argv[0])
    if program.is_absolute() and program.parent.name in ("bin", "sbin"):
        return replace(command, argv=(program.name, *command.argv[1:]))
    return command


def _limits(wishes: Wishes) -> assay_client.Limits:
    return assay_client.Limits(
        wall_seconds=wishes.wall_seconds,
        cpu_seconds=wishes.cpu_seconds or wishes.wall_seconds,
        output_bytes=None if wishes.output is None else wishes.output * MIB,
    )


# --- doing it ------------------------------------------------------------------------------------


async def perform(server: Server, request: RemoteRequest, answer: Answer) -> int:
    """Do what was asked for, and return the exit status. Raises AssayError, CancelledError."""
    interrupts = Interrupts()
    with interrupts.watched(), own_errors():
        made = Made(driver="server")
        async with (
            assay_client.Client(server.url, server.token, patience=_PATIENCE) as client,
            _runner(client, request, made) as runner,
        ):
            ended = await _in_runner(runner, request, answer, interrupts)
        return await answer.ended(ended, made)


@contextlib.asynccontextmanager
async def _runner(
    client: assay_client.Client, request: RemoteRequest, made: Made
) -> AsyncIterator[assay_client.Runner]:
    began = time.perf_counter()
    name = request.environment.name
    async with client.runner(name, inactivity_seconds=_INACTIVITY_SECONDS) as runner:
        made.id, made.create_seconds = runner.id, time.perf_counter() - began
        yield runner


async def _in_runner(
    runner: assay_client.Runner, request: RemoteRequest, answer: Answer, interrupts: Interrupts
) -> Ended:
    if request.uploads:
        await runner.write(contents(request.uploads))
    if request.compile is not None:
        ended = await _step(
            runner, request, StepKind.COMPILE, request.compile, answer.compiler_sink, interrupts
        )
        if not ended.outcome.success:
            return ended
    command, terminal = attached(request.run, with_terminal=answer.live)
    return await _step(
        runner, request, StepKind.RUN, command, answer.sink, interrupts, Input(0), terminal
    )


async def _step(
    runner: assay_client.Runner,
    request: RemoteRequest,
    step: StepKind,
    command: Command,
    sink: Sink,
    interrupts: Interrupts,
    source: Source | None = None,
    terminal: Terminal | None = None,
) -> Ended:
    size = command.terminal
    async with runner.start(
        *command.argv,
        terminal=None
        if size is None
        else assay_client.TerminalSize(rows=size.rows, columns=size.columns),
        separate_stderr=command.separate_stderr if size is not None else True,
        stdin=command.stdin,
        environment=_variables(command, request),
        limits=request.limits if step is StepKind.RUN else None,
    ) as process:
        with (
            interrupts.of(_Controlled(process), terminal),
            terminal.raw() if terminal else contextlib.nullcontext(),
        ):
            async with _feeding(process, source):
                async for chunk in process:
                    await sink.take(
                        Chunk(stream=chunk.stream, offset=chunk.offset, data=chunk.data)
                    )
                end = await process.wait()
    return Ended(
        environment=request.environment, step=step, command=command,
        sandbox=request.environment.sandbox, facts=_facts(end), outcome=_outcome(end.outcome),
    )  # fmt: skip


def _variables(command: Command, request: RemoteRequest) -> dict[str, str]:
    """The environment's own, and our terminal's kind; the rest is the image's."""
    own = dict(request.environment.variables)
    if command.terminal is not None and "TERM" in command.environment:
        own["TERM"] = command.environment["TERM"]
    return own


@contextlib.asynccontextmanager
async def _feeding(process: assay_client.Process, source: Source | None) -> AsyncIterator[None]:
    if source is None:
        yield
        return

    async def feed() -> None:
        # Whoever reads the output gets the error too.
        with contextlib.suppress(theirs.AssayError):
            while data := await source.read():
                await process.write(data)
            await process.end_input()

    task = asyncio.ensure_future(feed())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


class _Controlled:
    """What signals to us do to a program of a server's."""

    def __init__(self, process: assay_client.Process) -> None:
        self._process = process

    async def signal(self, number: int) -> None:
        await self._process.signal(number)

    async def cancel(self) -> None:
        await self._process.cancel()

    async def resize(self, size: TerminalSize) -> None:
        await self._process.resize(size.rows, size.columns)


# --- what comes back -----------------------------------------------------------------------------


def _outcome(outcome: assay_client.Outcome) -> Outcome:
    return Outcome(
        kind=OutcomeKind(outcome.kind.value), code=outcome.code, signal=outcome.signal,
        clock=outcome.clock, reason=outcome.reason,
    )  # fmt: skip


def _facts(end: assay_client.End) -> Facts:
    error, _, step = (end.start_error or "").partition(" ")
    used = end.measurements
    return Facts(
        exit_code=end.outcome.code,
        signal=end.outcome.signal,
        start_error=error or None,
        start_step=step.strip("()") or None,
        wall_ns=_measurement(used.wall_ns),
        cpu_ns=_measurement(used.cpu_ns),
        peak_memory_bytes=_measurement(used.peak_memory_bytes),
        output_bytes=_measurement(used.output_bytes),
        oom_kills=_measurement(used.oom_kills),
    )


def _measurement(found: assay_client.Measurement | None) -> Measurement | None:
    if found is None:
        return None
    return Measurement(value=found.value, source=Measurer(found.source), scope=Scope(found.scope))


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """Errors of the client become those with the same code here, and so keep their exit status."""
    try:
        yield
    except (theirs.Unreachable, theirs.ConnectionLost, theirs.ProtocolViolation) as error:
        raise ServerUnreachable(error.message) from error
    except theirs.AssayError as error:
        kind = _kinds().get(error.code, AssayError)
        if kind is errors.FileError:
            raise AssayError(f"the runner does not take the files: {error.message}") from error
        raise kind(error.message) from error


def _kinds() -> dict[str, type[AssayError]]:
    found: dict[str, type[AssayError]] = {}
    wanted: list[type[AssayError]] = [AssayError]
    while wanted:
        kind = wanted.pop()
        found[kind.code] = kind
        wanted += kind.__subclasses__()
    return found
