"""One sandbox with its agent connected: what runs programs and says how they ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from assay.agent.client import Agent
from assay.agent.execution import Completed, Execution
from assay.agent.witness import (
    AGENT_DIED,
    CONNECTION_BROKE,
    ENDED_FROM_OUTSIDE,
    OVERDUE,
    TOO_MANY_PROCESSES,
    Overdue,
    Witness,
    surely,
)
from assay.domain.command import LEARNER_UID, Command
from assay.domain.errors import (
    AgentDied,
    AgentError,
    ConnectionLost,
    ProtocolViolation,
)
from assay.domain.facts import Facts, KilledBy
from assay.domain.limits import MIB
from assay.domain.outcome import Outcome, classify
from assay.driver.port import Driver, Sandbox, SandboxSpec, Secret

__all__ = [
    "AGENT_DIED",
    "CONNECTION_BROKE",
    "ENDED_FROM_OUTSIDE",
    "OVERDUE",
    "TOO_MANY_PROCESSES",
    "Session",
    "open_session",
]

OUTPUT_MOST: Final = 64 * MIB
"""Output that `Session.run` collects at most."""
WATCHDOG_SECONDS: Final = 5.0
"""How much later than an execution's wall limit the host itself ends it, and the sandbox."""


class Session:
    """A sandbox and the connection to its agent, both of which it owns; see `open_session`.

    What happens to the sandbox or to the connection while a program runs becomes facts (`lost`),
    never an exit code: what is unknown is never a success.
    """

    def __init__(
        self, driver: Driver, sandbox: Sandbox, agent: Agent, *, oom_kills: int | None = 0
    ) -> None:
        """Take over a connected sandbox; `oom_kills` is what the host has counted in it so far.

        None when that isn't known.
        """
        self.driver = driver
        self.sandbox = sandbox
        self.agent = agent
        self.witness = Witness(driver, sandbox.id, oom_kills=oom_kills)

    async def start(self, command: Command) -> Execution:
        """Start a program; follow it yourself, then call `conclude`."""
        return await self.agent.start(command)

    async def run(
        self, command: Command, stdin: bytes = b"", *, most: int = OUTPUT_MOST
    ) -> Completed:
        """Run a program to its end, `stdin` as its standard input, and collect its output.

        A program that writes more than `most` bytes is ended, as by its output limit. When
        cancelled, the program is killed. Raises ExecutionRefused when it could not be started,
        and ConnectionLost when the connection was lost already.
        """
        if stdin and not command.stdin:
            command = replace(command, stdin=True)
        return await self.follow(await self.start(command), command, stdin, most=most)

    async def follow(
        self, execution: Execution, command: Command, stdin: bytes = b"", *, most: int = OUTPUT_MOST
    ) -> Completed:
        """The same of a program that was started here and that nobody else follows.

        Who has its execution may end it: then what it used is known all the same.
        """
        output = _Collected(most)
        try:
            with _Watchdog(execution, command.limits.wall_seconds):
                if command.stdin:
                    async with _feeding(execution, stdin):
                        await output.collect(execution)
                        facts = await self._facts(execution)
                else:
                    await output.collect(execution)
                    facts = await self._facts(execution)
        except BaseException:
            execution.abandon()
            raise
        if output.over:
            facts = replace(facts, killed_by=KilledBy.OUTPUT)
        return Completed(
            stdout=bytes(output.stdout),
            stderr=bytes(output.stderr),
            facts=facts,
            outcome=classify(facts, command.limits),
            first_output_seconds=output.first_seconds,
        )

    async def conclude(self, execution: Execution, command: Command) -> tuple[Facts, Outcome]:
        """Wait for the end of an execution of this session, and judge it.

        Output that nobody reads is discarded. An execution that is still there 5 seconds after
        its wall limit, with no output waiting for its reader, is lost, and the sandbox destroyed.
        """
        with _Watchdog(execution, command.limits.wall_seconds):
            facts = await self._facts(execution)
        return facts, classify(facts, command.limits)

    async def _facts(self, execution: Execution) -> Facts:
        try:
            facts = await execution.wait()
        except (ConnectionLost, ProtocolViolation) as error:
            return await self.witness.lost(error)
        return await self.witness.complete(facts)

    async def aclose(self) -> None:
        """Close the connection and destroy the sandbox."""
        try:
            await self.agent.aclose()
        finally:
            await surely(self.driver.destroy(self.sandbox.id))


@contextlib.asynccontextmanager
async def open_session(
    driver: Driver, spec: SandboxSpec, *, epoch: int = 1
) -> AsyncIterator[Session]:
    """Make a sandbox, connect to its agent, and destroy it at the end whatever happens."""
    sandbox = await driver.create(spec)
    try:
        agent = await connect(
            driver,
            sandbox.id,
            spec.secret,
            user=spec.root.user,
            group=spec.root.group,
            epoch=epoch,
        )
        try:
            yield Session(driver, sandbox, agent)
        finally:
            await agent.aclose()
    finally:
        await surely(driver.destroy(sandbox.id))


async def connect(
    driver: Driver,
    sandbox_id: str,
    secret: Secret,
    *,
    user: int = LEARNER_UID,
    group: int = LEARNER_UID,
    epoch: int = 1,
) -> Agent:
    """Connect to the agent of a sandbox that exists; `user` and `group` are its root's.

    Raises AgentDied when the sandbox has ended, and what `Driver.connect` and `Agent.connect` do.
    """
    try:
        stream = await driver.connect(sandbox_id)
        own_kernel = driver.capabilities.own_kernel
        return await Agent.connect(
            stream, secret, epoch=epoch, own_kernel=own_kernel, user=user, group=group
        )
    except ConnectionLost as error:
        state = await driver.examine(sandbox_id)
        if state is None or not state.running:
            raise AgentDied(
                "the sandbox's agent ended before it could be used", detail=error.detail
            ) from error
        raise


class _Watchdog:
    """A timer that makes an execution fail when the agent does not end it in time.

    None where nothing says how long it may take.
    """

    def __init__(self, execution: Execution, wall_seconds: float | None) -> None:
        self._execution = execution
        self._wall = wall_seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if self._wall is not None:
            due = max(self._execution.started + self._wall, self._loop.time())
            self._timer = self._loop.call_at(due + WATCHDOG_SECONDS, self._look)

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        if self._execution.output_pending:
            self._timer = self._loop.call_later(WATCHDOG_SECONDS, self._look)
        else:
            self._execution.fail(Overdue(OVERDUE))


class _Collected:
    """The output of one program, up to a number of bytes."""

    def __init__(self, most: int) -> None:
        self.stdout, self.stderr = bytearray(), bytearray()
        self.over = False
        self.first_seconds: float | None = None
        self._most = most
        self._began = time.perf_counter()  # an event loop's clock may be coarse

    async def collect(self, execution: Execution) -> None:
        """Collect until the end or the loss, which `conclude` explains, or until it's too much."""
        with contextlib.suppress(ConnectionLost, ProtocolViolation):
            async for chunk in execution.output():
                if self.first_seconds is None:
                    self.first_seconds = time.perf_counter() - self._began
                room = self._most - len(self.stdout) - len(self.stderr)
                stream = self.stdout if chunk.stream == "stdout" else self.stderr
                stream += chunk.data[:room]
                if len(chunk.data) > room:
                    self.over = True
                    await execution.cancel()
                    return


@contextlib.asynccontextmanager
async def _feeding(execution: Execution, stdin: bytes) -> AsyncIterator[None]:
    """Send standard input meanwhile, in a task of its own."""
    task = asyncio.create_task(_feed(execution, stdin))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _feed(execution: Execution, stdin: bytes) -> None:
    # Whoever reads the output gets the error too.
    with contextlib.suppress(AgentError):
        await execution.write(stdin)
        await execution.end_input()
