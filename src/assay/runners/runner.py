"""A runner: a sandbox in the hands of one user, and what they do in it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from assay.agent.client import Agent
from assay.agent.entries import Entry
from assay.agent.execution import Completed
from assay.agent.ports import open_port
from assay.agent.session import OVERDUE
from assay.agent.witness import Overdue
from assay.domain.command import Command, TerminalSize
from assay.domain.errors import InvalidInput, NotFound, QuotaExceeded, RunnerGone, UnknownExecution
from assay.domain.facts import Facts, KilledBy
from assay.domain.lease import Lease, PortMapping
from assay.domain.limits import ExecutionLimits, require_within
from assay.driver.port import ByteStream
from assay.environments.served import Blueprint, ServedEnvironment
from assay.runners import files
from assay.runners.attachment import Attachment
from assay.runners.backing import Backing
from assay.runners.collect import collect
from assay.runners.events import ExecutionEnded, ExecutionStarted, RunnerReconnected
from assay.runners.executions import HostedExecution
from assay.runners.link import Link
from assay.runners.ports import MappedPorts, Tunnel
from assay.runners.values import ASSAY_V1, RUN, EndReason, FileToWrite, Listed, State
from assay.storage.records import ExecutionRecord

EXECUTIONS_MOST: Final = 60
"""At one time in one runner, of the 64 that an agent has room for; the others are for files."""
FILE_OPERATIONS_MOST: Final = 4
COMMAND_BYTES: Final = 60_000
"""Of arguments and variables together."""
AFTER_RESTART_SECONDS: Final = 30.0
"""A runner that a server finds at its start isn't idle before."""


class Runner:
    """One lease. Made by `Runners`; every method raises RunnerGone once it is over."""

    def __init__(
        self,
        backing: Backing,
        lease: Lease,
        blueprint: Blueprint,
        link: Callable[[Runner], Link],
        *,
        on_over: Callable[[Runner, EndReason], object],
        on_touched: Callable[[Runner], None],
    ) -> None:
        self.blueprint = blueprint
        self.retain_seconds = backing.retain_seconds
        self.detached_seconds = backing.detached_seconds
        self.over: EndReason | None = None
        """Why the lease is over, once it is."""
        self.ports = MappedPorts(self)
        self.moving = asyncio.Lock()
        """Held while it gets another sandbox."""
        self._backing = backing
        self._lease = lease
        self._active_at = lease.active_at
        self._on_over = on_over
        self._on_touched = on_touched
        self._loop = asyncio.get_running_loop()
        self._variables: Mapping[str, str] | None = None
        self._hosted: dict[str, HostedExecution] = {}
        self._loss: Facts | None = None
        """How the sandbox was lost, once it is."""
        self._going = 0
        """What goes on and counts as activity until its end."""
        self._tunnels = 0
        self._last_number = 0
        self._file_operations = asyncio.Semaphore(FILE_OPERATIONS_MOST)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._spare_until = 0.0
        self._link = link(self)
        self._rearm()

    # --- what it is ---------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The runner's id."""
        return self._lease.runner_id

    @property
    def owner(self) -> str:
        """Whose it is: a token's id, or ""."""
        return self._lease.owner

    @property
    def generation(self) -> int:
        """1, and one more with each reset."""
        return self._lease.generation

    @property
    def lease(self) -> Lease:
        """The lease as it is now."""
        return replace(self._lease, active_at=self._active_at)

    @property
    def active_at(self) -> float:
        """The last activity, on the database's clock."""
        return self._active_at

    @property
    def environment(self) -> ServedEnvironment:
        """What it is a runner of."""
        return self.blueprint.environment

    @property
    def link(self) -> Link:
        """The connection to its sandbox."""
        return self._link

    def executions(self) -> list[Listed]:
        """What was asked for and is not over, or its client doesn't know it yet."""
        return [
            Listed(
                execution_id=hosted.id,
                mode=hosted.mode,
                state=hosted.state,
                attached=hosted.attached_by is not None,
                outcome=hosted.outcome,
            )
            for hosted in self._hosted.values()
        ]

    def require_open(self) -> None:
        """Raise RunnerGone if it is over."""
        if self.over is not None:
            raise RunnerGone(f"there is no such runner: {self.over}")

    # --- executions ---------------------------------------------------------------------------

    def command(
        self,
        argv: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        privileged: bool = False,
        limits: ExecutionLimits | None = None,
        terminal: TerminalSize | None = None,
        separate_stderr: bool = False,
        stdin: bool = False,
    ) -> Command:
        """A command of this environment: the image's user, folder and variables.

        `limits`: the environment's own unless given. Raises LimitOverCeiling.
        """
        environment = self.environment
        limits = environment.execution if limits is None else limits
        require_within(limits, environment.ceiling)
        root = self.blueprint.root
        if self._variables is None:  # once: for it, files of the image are looked at
            self._variables = self.blueprint.variables()
        return Command(
            argv=tuple(argv),
            environment={**self._variables, **variables} if variables else self._variables,
            working_directory=root.working_folder,
            privileged=privileged,
            uid=root.user,
            gid=root.group,
            terminal=terminal,
            separate_stderr=separate_stderr,
            stdin=stdin,
            limits=limits,
        )

    async def prepare(self, command: Command, *, mode: str = ASSAY_V1) -> str:
        """Note what is to be executed, durably, and return the execution's id.

        It starts with the first `follow`; without one, it is forgotten after a minute. Raises
        QuotaExceeded at 60 executions, and InvalidInput for a command that is too long.
        """
        encoded = msgspec.json.encode(command)
        pieces = len(command.argv) + len(command.environment)
        if len(encoded) + 6 * pieces > COMMAND_BYTES:  # on its way each piece has its length
            raise InvalidInput("the command, with its environment, is too long")
        hosted = self._host(await self._connected(), command, mode)
        record = ExecutionRecord(
            id=hosted.id,
            runner_id=self.id,
            number=hosted.number,
            command=encoded,
            mode=mode,
            created_at=self._backing.storage.clock(),
        )
        try:
            await self._backing.storage.add_execution(record)
        except BaseException:
            self.forget(hosted)
            raise
        self.require_open()
        return hosted.id

    def _host(self, agent: Agent, command: Command, mode: str) -> HostedExecution:
        self._require_room()
        number = self._last_number = agent.reserve()
        hosted = HostedExecution(self, str(uuid.uuid4()), number, command, mode)
        self._hosted[hosted.id] = hosted
        return hosted

    def _require_room(self) -> None:
        if len(self._hosted) + self._tunnels < EXECUTIONS_MOST:
            return
        for hosted in self._hosted.values():
            if hosted.state is State.ENDED and hosted.attached_by is None:
                self.forget(hosted)  # whose client may come back, but one that is here comes first
                break
        else:
            raise QuotaExceeded(
                f"a runner has at most {EXECUTIONS_MOST} executions that are not over,"
                " connections to its ports included"
            )

    async def follow(self, execution_id: str, *, offset: int | None = None) -> Attachment:
        """Start what was prepared, or take up again what was started, from `offset` on.

        `offset` is that of the first byte that the client has not got. Only executions of
        assay.v1 can be taken up again; who followed one before gets `Replaced`. Who comes back
        while the sandbox turns out to be lost is told that. Raises UnknownExecution and OffsetLost.
        """
        followed = self._hosted.get(execution_id) if offset is not None else None
        try:
            agent = await self._connected()
        except RunnerGone:
            if followed is None or offset is None or self._loss is None:
                raise
            followed.learn_of_loss(self._loss, offset)
            return Attachment(followed, self._link, resumed=True)
        hosted = self._hosted.get(execution_id)
        if hosted is None:
            raise UnknownExecution("there is no such execution, or it is over")
        if hosted.state is State.PREPARED:
            return await self._start(hosted, agent)
        if hosted.mode != ASSAY_V1:
            raise UnknownExecution("this execution was started already, and can't be resumed")
        hosted.resume(hosted.replay.start if offset is None else offset)
        return Attachment(hosted, self._link, resumed=True)

    async def run(self, command: Command, stdin: bytes = b"", *, most: int) -> Completed:
        """Run a program to its end and collect its output, in one call.

        Output beyond `most` bytes ends it, as its output limit does. When cancelled, it is killed.
        """
        if stdin and not command.stdin:
            command = replace(command, stdin=True)
        agent = await self._connected()
        attachment = await self._start(self._host(agent, command, RUN), agent)
        try:
            return await collect(attachment, command, stdin, most=most)
        finally:
            await attachment.abandon()

    def cancel(self, execution_id: str) -> None:
        """Kill what was started; what was not never is. Raises UnknownExecution.

        A client of assay.v1 that connects afterwards is told that it was cancelled.
        """
        hosted = self._hosted.get(execution_id)
        if hosted is None:
            raise UnknownExecution("there is no such execution, or it is over")
        if hosted.state is not State.PREPARED:
            hosted.kill()
        elif hosted.mode == ASSAY_V1:
            # A server that comes after this one must not start it.
            self._backing.storage.remove_execution(hosted.id)
            hosted.conclude(Facts(signal=signal.SIGKILL, killed_by=KilledBy.CANCEL))
        else:
            self.forget(hosted)

    async def _start(self, hosted: HostedExecution, agent: Agent) -> Attachment:
        attachment = Attachment(hosted, self._link, resumed=False)
        try:
            await hosted.begin(agent)
        except BaseException:
            self.forget(hosted)
            raise
        self._on_started(hosted)
        return attachment

    # --- files and ports ----------------------------------------------------------------------

    async def list_files(
        self, path: str = ".", *, depth: int = 1, privileged: bool = False
    ) -> list[Entry]:
        """List a folder down to `depth` levels, names relative to it; (0: the path itself).

        What is no folder comes alone, by its last name. Raises FileError.
        """
        async with self._file_operation() as agent:
            return await files.list_files(
                agent, self._folder, path, depth=depth, privileged=privileged
            )

    async def change_files(self, delete: Iterable[str], copy: Sequence[FileToWrite]) -> None:
        """Delete, then write, as the sandbox's root; files are 0744, folders 1777.

        A path that fails keeps no other from its turn. Raises FileError with a line for each.
        """
        async with self._file_operation() as agent:
            await files.change_files(agent, self._folder, delete, copy)

    @contextlib.asynccontextmanager
    async def read_file(
        self, path: str, *, privileged: bool = False
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a file: its size in bytes, and its content in pieces. Raises FileError."""
        async with (
            self._file_operation() as agent,
            files.read_file(agent, self._folder, path, privileged=privileged) as opened,
        ):
            yield opened

    async def open_port(self, port: int) -> ByteStream:
        """Open a stream to a TCP port in the sandbox that its environment exposes.

        When nothing listens there, reading raises ConnectionLost. Raises NotFound.
        """
        if port not in self.environment.exposed_ports:
            raise NotFound(f"the environment {self.environment.name} exposes no port {port}")
        agent = await self._connected()
        self._require_room()
        stream = await open_port(agent, port)
        self._tunnels += 1
        return Tunnel(stream, on_closed=self._on_tunnel_closed, on_bytes=self.on_activity)

    def _on_tunnel_closed(self) -> None:
        self._tunnels -= 1
        self._touch()

    @property
    def _folder(self) -> str:
        return self.blueprint.root.working_folder

    @contextlib.asynccontextmanager
    async def _file_operation(self) -> AsyncIterator[Agent]:
        agent = await self._connected()
        self._going += 1
        try:
            async with self._file_operations:
                yield agent
        finally:
            self._going -= 1
            self._touch()

    # --- for `Runners` ------------------------------------------------------------------------

    def take_up(self, records: Iterable[ExecutionRecord]) -> None:
        """Know the executions of an earlier server; whether they run, the agent says."""
        for record in records:
            command = msgspec.json.decode(record.command, type=Command)
            self._hosted[record.id] = HostedExecution(
                self, record.id, record.number, command, record.mode
            )
            self._last_number = max(self._last_number, record.number)
        self._spare_until = self._backing.storage.clock() + AFTER_RESTART_SECONDS
        self._rearm()

    def move(self, lease: Lease, blueprint: Blueprint, link: Callable[[Runner], Link]) -> None:
        """Go on in a fresh sandbox; executions in the old one are lost."""
        self._link.close()
        self._lose_executions(Facts(lost=EndReason.RESET))
        self.blueprint = blueprint
        self._variables = None
        self._lease = lease
        self._last_number = 0
        self._link = link(self)
        self._touch()

    def set_ports(self, ports: tuple[PortMapping, ...]) -> None:
        """Note where its ports are."""
        self._lease = replace(self._lease, ports=ports)

    def end(self, reason: EndReason) -> None:
        """Be over: everybody who waits for something gets to know."""
        self.over = reason
        self._let_go()
        self._lose_executions(Facts(lost=reason))

    def hand_over(self, reason: EndReason | None = None) -> None:
        """Let go of everything here, for the lease is another server's now, or the next one's."""
        self.over = reason
        self._let_go()
        for hosted in self._hosted.values():
            hosted.close()
            if reason is not None:
                hosted.move()

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._link.close()
        self.ports.close()

    def _lose_executions(self, facts: Facts) -> None:
        for hosted in list(self._hosted.values()):
            if hosted.state is State.PREPARED:
                self.forget(hosted)
            else:
                hosted.lose(facts)
                self.forget(hosted)

    async def on_connected(self, agent: Agent, seconds: float) -> None:
        """Attach to what goes on over a new connection, and end what nobody knows."""
        agent.reserve_above(self._last_number)
        ours = {hosted.number for hosted in self._hosted.values()}
        count = 0
        for hosted in list(self._hosted.values()):
            was_prepared = hosted.state is State.PREPARED
            if hosted.state is not State.ENDED and await hosted.go_on(agent):
                count += 1
                self._going += was_prepared and self._is_bounded(hosted)
        for known in agent.known:
            if known.number not in ours:
                execution = await agent.attach(known.number, offset=known.output_end)
                execution.abandon()
        self._backing.tell(RunnerReconnected(runner_id=self.id, seconds=seconds, executions=count))

    def on_lost(self, facts: Facts) -> None:
        """The sandbox is gone, or its agent is."""
        if facts.lost == EndReason.TAKEN_OVER:
            self._on_over(self, EndReason.TAKEN_OVER)
        else:
            self._loss = facts
            self._lose_executions(facts)
            self._on_over(self, EndReason.SANDBOX_LOST)

    # --- for its executions -------------------------------------------------------------------

    def on_activity(self) -> None:
        """Something happened; cheap, for it happens with every piece of output."""
        self._active_at = self._backing.storage.clock()

    def on_exit(self, hosted: HostedExecution, facts: Facts) -> None:
        """An execution ended; ask the host for what the agent can't know."""
        witness = self._link.witness
        if witness.is_complete(facts):
            hosted.conclude(facts)
            return

        async def complete() -> None:
            hosted.conclude(await witness.complete(facts))

        self._backing.background.spawn(complete())

    def on_concluded(self, hosted: HostedExecution) -> None:
        """An execution's outcome is known."""
        if not hosted.was_started:
            return
        self._going -= self._is_bounded(hosted)
        self._touch()
        assert hosted.outcome is not None
        first = hosted.first_output_at
        self._backing.tell(
            ExecutionEnded(
                runner_id=self.id,
                execution_id=hosted.id,
                environment=self.environment.name,
                mode=hosted.mode,
                outcome=hosted.outcome.kind,
                seconds=time.perf_counter() - hosted.started_at,
                first_output_seconds=None if first is None else first - hosted.started_at,
            )
        )

    def on_overdue(self, hosted: HostedExecution) -> None:
        """An agent that doesn't end a program in time is not to be trusted with another."""
        link = self._link
        link.close()

        async def end() -> None:
            facts = await link.witness.lost(Overdue(OVERDUE))
            if link is self._link:
                self.on_lost(facts)

        self._backing.background.spawn(end())

    def forget(self, hosted: HostedExecution) -> None:
        """An execution is over and its client knows, or will never ask."""
        hosted.close()
        if self._hosted.pop(hosted.id, None) is None:
            return
        execution = hosted.execution
        if hosted.mode == RUN:
            if execution is not None:
                execution.release()
            return
        removed = self._backing.storage.remove_execution(hosted.id)

        def release(done: asyncio.Future[bool]) -> None:
            # Not before the row is gone: a row whose number the agent doesn't know can be started.
            if not done.cancelled() and done.exception() is None and execution is not None:
                execution.release()

        removed.add_done_callback(release)

    def _on_started(self, hosted: HostedExecution) -> None:
        self._going += self._is_bounded(hosted)
        self.on_activity()
        self._backing.tell(
            ExecutionStarted(
                runner_id=self.id,
                execution_id=hosted.id,
                environment=self.environment.name,
                mode=hosted.mode,
            )
        )

    def _is_bounded(self, hosted: HostedExecution) -> bool:
        """Whether its own time limit ends it; else only what it reads and writes is activity."""
        wall, most = hosted.command.limits.wall_seconds, self.environment.ceiling.wall_seconds
        return wall is not None and wall != most

    # --- time ---------------------------------------------------------------------------------

    async def _connected(self) -> Agent:
        agent = self._link.agent
        if agent is not None:
            return agent
        self.require_open()
        agent = await self._link.connected()
        self.require_open()
        return agent

    def _touch(self) -> None:
        self.on_activity()
        if self.over is None:
            self._on_touched(self)
            # (A timer that is early looks again; so it is not moved with every execution.)
            if (self._ends_at() or math.inf) < self._timer_at:
                self._rearm()

    def _ends_at(self) -> float | None:
        if self._going == 0 and self._lease.inactivity_seconds is not None:
            idle = max(self._active_at + self._lease.inactivity_seconds, self._spare_until)
            return min(idle, self._lease.expires_at or idle)
        return self._lease.expires_at

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ends_at = self._ends_at()
        self._timer_at = math.inf if ends_at is None else ends_at
        if ends_at is not None:
            seconds = max(0.0, ends_at - self._backing.storage.clock())
            self._timer = self._loop.call_later(seconds, self._on_time)

    def _on_time(self) -> None:
        ends_at, now = self._ends_at(), self._backing.storage.clock()
        if ends_at is None or now < ends_at:
            self._rearm()
            return
        expired = self._lease.expires_at is not None and now >= self._lease.expires_at
        self._on_over(self, EndReason.EXPIRED if expired else EndReason.IDLE)
