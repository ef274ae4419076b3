"""The host's end of a connection to a sandbox's agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from assay.agent import protocol as wire
from assay.agent.execution import Execution, Observer, copy_of
from assay.agent.heartbeat import Heartbeat, Timings
from assay.agent.inbox import Inbox
from assay.agent.messages import (
    KnownExecution,
    Ready,
    exec_frame,
    hello_frame,
    prepare_frame,
    to_refusal,
)
from assay.agent.outbox import Outbox
from assay.domain.command import LEARNER_UID, Command, Interpreter
from assay.domain.errors import (
    AgentRefused,
    ConnectionLost,
    InvalidInput,
    ProtocolViolation,
)
from assay.domain.facts import Source
from assay.domain.limits import ExecutionLimits
from assay.driver.port import ByteStream, Secret

NO_LIMITS: Final = ExecutionLimits(
    wall_seconds=None, cpu_seconds=None, output_bytes=None, open_files=None
)
"""For the agent's own programs, whose work the caller bounds."""


_NUMBERS_MOST: Final = 2**31
"""Beyond what a sandbox can run in its life, and far from where a number no longer fits."""


class Agent:
    """A connection to the agent of one sandbox, made by `connect`.

    What comes is handled at once; everything else happens in the caller's task. When the
    connection is lost, every execution raises `lost`, and a new connection can attach to what
    goes on in the sandbox.
    """

    def __init__(
        self, stream: ByteStream, *, own_kernel: bool, timings: Timings, user: int, group: int
    ) -> None:
        self.capabilities: frozenset[str] = frozenset()
        self.release = ""
        self.known: tuple[KnownExecution, ...] = ()
        self.highest = 0
        """The highest number that an execution had before this connection."""
        self.on_lost: Callable[[], None] | None = None
        """Called once `lost` holds why, if that ever happens."""
        self.closed = False
        self.lost: ConnectionLost | ProtocolViolation | None = None
        self._user = user
        self._group = group
        self._stream = stream
        self._timings = timings
        self._kernel = Source.GUEST if own_kernel else Source.HOST
        self._inbox = Inbox(stream, self._receive, self._lose)
        self._outbox = Outbox(stream, self._lose)
        self._executions: dict[int, Execution] = {}
        self._last_number = 0
        self._pings = 0
        self._pinged: dict[int, asyncio.Future[None]] = {}
        self._interpreter_waits = asyncio.Event()
        self._asked_for: bytes | bytearray = b""
        """The last frame that asked for an interpreter."""
        self._heartbeat: Heartbeat | None = None

    @classmethod
    async def connect(
        cls,
        stream: ByteStream,
        secret: Secret,
        *,
        epoch: int = 1,
        own_kernel: bool = False,
        timings: Timings | None = None,
        user: int = LEARNER_UID,
        group: int = LEARNER_UID,
    ) -> Agent:
        """Say HELLO over `stream`, which the agent's client owns from then on.

        `own_kernel`: what the sandbox's kernel measures counts as the guest's word, not the
        host's. `user` and `group` are those of its learner, for the agent's own programs. Raises
        AgentRefused, ConnectionLost or ProtocolViolation, with the stream closed.
        """
        agent = cls(
            stream, own_kernel=own_kernel, timings=timings or Timings(), user=user, group=group
        )
        try:
            async with asyncio.timeout(agent._timings.hello):
                await stream.write(hello_frame(secret, epoch))
                await agent._greet(epoch)
        except TimeoutError as error:
            await agent.aclose()
            raise ConnectionLost("the sandbox's agent did not answer in time") from error
        except BaseException:
            await agent.aclose()
            raise
        if agent.lost is not None:  # by a frame that came together with READY
            await agent.aclose()
            raise copy_of(agent.lost)
        return agent

    def reserve(self) -> int:
        """Return the next execution's number, for `start` to use later."""
        self._last_number += 1
        return self._last_number

    def reserve_above(self, number: int) -> None:
        """Give no number up to this one again: an earlier connection has reserved it."""
        self._last_number = max(self._last_number, number)

    @property
    def last_number(self) -> int:
        """The highest number that was used or reserved."""
        return self._last_number

    async def start(
        self, command: Command, *, number: int | None = None, observer: Observer | None = None
    ) -> Execution:
        """Start a program and return at once; a refusal shows when its output or end is asked for.

        `number` is one that `reserve` gave. Raises InvalidInput when the command is too long, and
        what `lost` holds.
        """
        return self._start(command, builtin=False, number=number, observer=observer)

    async def start_builtin(
        self,
        *argv: str,
        privileged: bool = False,
        stdin: bool = False,
        limits: ExecutionLimits = NO_LIMITS,
        folder: str | None = None,
    ) -> Execution:
        """Start one of the agent's own programs, such as `list`, as the sandbox's learner.

        It starts in `folder`, or else in the root: /proc/self says so to who lists that.
        """
        command = Command(
            argv=argv,
            working_directory=folder,
            privileged=privileged,
            uid=self._user,
            gid=self._group,
            stdin=stdin,
            limits=limits,
        )
        return self._start(command, builtin=True)

    def keep_interpreter(self, interpreter: Interpreter | None) -> None:
        """Let such an interpreter wait from now on whenever nothing runs; None: no more.

        Programs that it does not fit, and agents that know no such thing, run as they always do.
        Asking for the same again changes nothing.
        Raises InvalidInput when it is too long, and what `lost` holds.
        """
        self._require_open()
        frame = prepare_frame(interpreter)
        if "interpreter" in self.capabilities and frame != self._asked_for:
            self._asked_for = frame
            self._interpreter_waits.clear()
            self._outbox.put(frame)

    async def interpreter_waits(self) -> None:
        """Wait until the interpreter does. It may not for ever: set yourself a time.

        Raises what `lost` holds.
        """
        self._require_open()
        await self._interpreter_waits.wait()
        self._require_open()

    async def attach(
        self,
        number: int,
        *,
        offset: int = 0,
        acknowledged: int | None = None,
        stdin: bool = True,
        terminal: bool = False,
        observer: Observer | None = None,
    ) -> Execution:
        """Go on with an execution of an earlier connection, its output from `offset` on.

        `offset` is that of the first byte that the caller hasn't got. Standard input goes on from
        what the agent has received (`Execution.input_offset`). `terminal` lets its input overtake
        other input. `acknowledged`: output before it is needed by nobody; that before `offset`,
        unless given. Raises InvalidInput when the agent doesn't know the number.
        """
        known = next((known for known in self.known if known.number == number), None)
        if known is None or number in self._executions:
            raise InvalidInput(f"there is no execution {number} to attach to")
        self._require_open()
        acknowledged = max(known.output_start, offset if acknowledged is None else acknowledged)
        execution = self._executions[number] = Execution(
            number,
            self._outbox,
            forget=self._forget,
            kernel=self._kernel,
            terminal=terminal,
            stdin=stdin,
            offset=offset,
            acknowledged=acknowledged,
            input_offset=known.stdin_received,
            observer=observer,
        )
        self._outbox.put(wire.number_frame(number, wire.ATTACH, offset))
        if acknowledged > known.output_start:
            # The agent may be full of what the caller has got; nothing more would come of it.
            self._outbox.put_ack(number, acknowledged)
        return execution

    async def ping(self) -> float:
        """Return how many seconds the agent took to answer."""
        self._require_open()
        loop = asyncio.get_running_loop()
        started = loop.time()
        answered = loop.create_future()
        number = self._pings + 1
        self._pinged[number] = answered  # before it is sent: that can fail on the spot
        try:
            self._next_ping()
            await answered
        finally:
            self._pinged.pop(number, None)
        return loop.time() - started

    async def aclose(self) -> None:
        """Close the connection; what runs in the sandbox goes on. May be called twice."""
        self.closed = True
        self._shut(ConnectionLost("the connection to the agent was closed"))
        await self._stream.aclose()
        await self._outbox.finish()
        await self._inbox.finish()
        self.on_lost = None

    # --- opening -----------------------------------------------------------------------------

    async def _greet(self, epoch: int) -> None:
        self._accept(await self._inbox.first(), epoch)
        self._heartbeat = Heartbeat(
            self._timings,
            last_sent=lambda: self._outbox.last_sent,
            last_heard=lambda: self._inbox.last_heard,
            ping=self._next_ping,
            silent=self._on_silence,
        )
        self._inbox.start()

    def _accept(self, frame: wire.Frame, epoch: int) -> None:
        if frame.type == wire.REFUSED:
            code, message = to_refusal(frame.payload)
            raise AgentRefused(
                f"the sandbox's agent refused this host: {message or code}", detail=code
            )
        if frame.type != wire.READY:
            raise wire.violation(f"a frame of type {frame.type} before READY")
        ready = Ready.decode(frame.payload)
        if ready.version != wire.VERSION:
            raise AgentRefused(
                f"the sandbox's agent speaks version {ready.version} of the protocol,"
                f" this host version {wire.VERSION}",
                detail="version",
            )
        if ready.epoch != epoch:
            raise wire.violation(f"READY for epoch {ready.epoch}, not {epoch}")
        self.capabilities, self.release = ready.capabilities, ready.release
        self.known, self.highest = ready.known, ready.highest
        self._last_number = max(ready.highest, *(known.number for known in ready.known), 0)
        if self._last_number > _NUMBERS_MOST:
            raise wire.violation("a sandbox that has used up its numbers for executions")

    # --- receiving ---------------------------------------------------------------------------

    def _receive(self, frame: wire.Frame) -> None:
        if not frame.channel:
            self._on_connection(frame)
            return
        execution = self._executions.get(frame.channel)
        if execution is not None:
            execution.receive(frame)
        elif frame.type != wire.FAILED or frame.channel > self._last_number:
            # (An answer that crossed the release of its execution is no one's any more.)
            raise wire.violation(f"a frame of type {frame.type} for execution {frame.channel}")

    def _on_connection(self, frame: wire.Frame) -> None:
        if frame.type == wire.PING:
            if len(frame.payload) > wire.MOST_PING:
                raise wire.violation("a PING that is too long")
            self._outbox.put_pong(frame.payload)
        elif frame.type == wire.PONG:
            self._on_pong(wire.to_number(frame.payload))
        elif frame.type == wire.REFUSED:
            self._on_refused(*to_refusal(frame.payload))
        elif frame.type == wire.WAITS:
            self._interpreter_waits.set()
        else:
            raise wire.violation("READY twice")

    def _on_pong(self, number: int) -> None:
        if number > self._pings:
            raise wire.violation("a PONG without a PING")
        for pinged, answered in self._pinged.items():
            if pinged <= number and not answered.done():
                answered.set_result(None)

    def _on_refused(self, code: str, message: str) -> None:
        if code == "protocol":
            raise ProtocolViolation(
                "the sandbox's agent says that this host broke the protocol", detail=message
            )
        self._lose(ConnectionLost(f"the sandbox's agent closed: {message or code}", detail=code))

    # --- the end -----------------------------------------------------------------------------

    def _on_silence(self) -> None:
        self._lose(
            ConnectionLost(
                f"nothing came from the sandbox's agent for {self._timings.silence:g} seconds"
            )
        )

    def _lose(self, error: ConnectionLost | ProtocolViolation) -> None:
        if self.lost is None and not self.closed:
            self.lost = error
            if self.on_lost is not None:
                self.on_lost()
        self._shut(error)

    def _shut(self, error: ConnectionLost | ProtocolViolation) -> None:
        """Stop at once."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
        self._outbox.close()
        self._interpreter_waits.set()  # so that nobody does
        executions, self._executions = self._executions, {}
        for execution in executions.values():
            execution.fail(error)
        for answered in self._pinged.values():
            if not answered.done():
                answered.set_exception(copy_of(error))
        self._inbox.close()

    def _start(
        self,
        command: Command,
        *,
        builtin: bool,
        number: int | None = None,
        observer: Observer | None = None,
    ) -> Execution:
        self._require_open()
        number = self._last_number + 1 if number is None else number
        if number in self._executions:
            raise InvalidInput(f"execution {number} was started already")
        frame = exec_frame(number, command, builtin=builtin)
        if not builtin:
            self._interpreter_waits.clear()
        self._last_number = max(self._last_number, number)
        execution = self._executions[number] = Execution(
            number,
            self._outbox,
            forget=self._forget,
            kernel=self._kernel,
            terminal=command.terminal is not None,
            stdin=command.stdin,
            observer=observer,
        )
        self._outbox.put(frame)
        return execution

    def _next_ping(self) -> None:
        self._pings += 1
        self._outbox.put(wire.frame(0, wire.PING, self._pings.to_bytes(8, "little")))

    def _forget(self, number: int) -> None:
        self._executions.pop(number, None)

    def _require_open(self) -> None:
        if self.lost is not None:
            raise copy_of(self.lost) from self.lost
        if self.closed:
            raise ConnectionLost("the connection to the agent was closed")
