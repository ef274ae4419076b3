"""The fake agent: process 1 of a fake sandbox, which speaks the real protocol."""

from __future__ import annotations

import asyncio
import hmac
from collections import deque
from dataclasses import dataclass
from typing import Final

from assay.agent import protocol as wire
from assay.agent.messages import (
    Hello,
    KnownExecution,
    Ready,
    exit_payload,
    refusal,
    to_request,
)
from assay.domain.errors import ConnectionLost, ProtocolViolation
from assay.domain.facts import Facts
from assay.drivers.fake.execution import FakeExecution
from assay.drivers.fake.requests import HANDLERS
from assay.drivers.fake.sandbox import FakeSandbox
from assay.drivers.fake.stream import MemoryStream, stream_pair

EXECUTIONS_MOST: Final = 64
WAITING_MOST: Final = 8
HELLO_SECONDS: Final = 5.0
PING_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 15.0
_BATCH_BYTES: Final = 65_536


@dataclass(kw_only=True, slots=True)
class Faults:
    """What is wrong with an agent; change it at any time."""

    silent: bool = False
    """It sends nothing more, though it is there."""
    no_exit: bool = False
    """It never says that an execution ended."""
    deaf: bool = False
    """It reads nothing more."""


class FakeAgent:
    """Accepts connections, runs executions, and dies when nobody claims it."""

    def __init__(self, sandbox: FakeSandbox, capabilities: frozenset[str]) -> None:
        self.faults = Faults()
        self.alive = True
        self.sandbox = sandbox
        self.capabilities = capabilities
        self.epoch = 0
        self._waiting: deque[_Connection] = deque()
        self._active: _Connection | None = None
        self._loop = asyncio.get_running_loop()
        self._unclaimed: asyncio.TimerHandle | None = None
        self._await_claim()

    def connect(self) -> MemoryStream:
        """Open a connection; return the host's end of its stream."""
        if not self.alive:
            raise ConnectionLost("no agent listens any more")
        ours, theirs = stream_pair()
        if len(self._waiting) >= WAITING_MOST:
            self._waiting.popleft().close()
        self._waiting.append(_Connection(self, ours))
        return theirs

    def promote(self, connection: _Connection, epoch: int) -> None:
        """Make a connection that has said HELLO the one that counts."""
        self._waiting.remove(connection)
        if self._active is not None:
            self._active.close()
        if self._unclaimed is not None:
            self._unclaimed.cancel()
        self.epoch = epoch
        self._active = connection

    def forget(self, connection: _Connection) -> None:
        """A connection is over."""
        if connection in self._waiting:
            self._waiting.remove(connection)
        if connection is self._active:
            self._active = None
            for execution in self.sandbox.executions.values():
                execution.attached = False
            self._await_claim()

    def known(self) -> tuple[KnownExecution, ...]:
        """The executions that were not released."""
        return tuple(
            KnownExecution(
                number=number,
                ended=execution.facts is not None,
                output_start=execution.output.kept,
                output_end=execution.output.read,
                stdin_received=execution.input.received,
            )
            for number, execution in self.sandbox.executions.items()
        )

    def changed(self) -> None:
        """Something can be sent."""
        if self._active is not None:
            self._active.wake()

    def send_garbage(self, data: bytes) -> None:
        """Send bytes that are not the protocol, now."""
        if self._active is not None:
            self._active.send_raw(data)

    def cut(self) -> None:
        """Break the connection."""
        if self._active is not None:
            self._active.stream.cut()
            self._active.close()

    def die(self) -> None:
        """End, and with it everything in the sandbox."""
        if not self.alive:
            return
        self.alive = False
        self.sandbox.end()
        for connection in (*self._waiting, self._active):
            if connection is not None:
                connection.close()
        if self._unclaimed is not None:
            self._unclaimed.cancel()

    def _await_claim(self) -> None:
        if self.alive:
            self._unclaimed = self._loop.call_later(self.sandbox.spec.unclaimed_seconds, self.die)


class _Connection:
    """One connection, from its first byte on: a task that reads, and one that writes."""

    def __init__(self, agent: FakeAgent, stream: MemoryStream) -> None:
        self.stream = stream
        self._agent = agent
        self._executions = agent.sandbox.executions
        self._loop = asyncio.get_running_loop()
        self._decoder = wire.FrameDecoder(wire.TO_AGENT)
        self._answers: deque[bytes] = deque()
        self._pong: bytes | None = None
        self._next_turn = 0
        self._wanted = asyncio.Event()
        self._ready = False
        self._closing = False
        self._last_sent = self._last_heard = self._loop.time()
        self._tasks = (
            self._loop.create_task(self._read()),
            self._loop.create_task(self._write()),
        )
        self._timer = self._loop.call_later(HELLO_SECONDS, self._on_hello_overdue)

    def wake(self) -> None:
        """Look for something to send."""
        self._wanted.set()

    def close(self) -> None:
        """Drop the connection at once."""
        if self._closing:
            return
        self._closing = True
        self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self.stream.shut()
        self._agent.forget(self)

    def send_raw(self, data: bytes) -> None:
        self._answers.append(data)
        self.wake()

    # --- time --------------------------------------------------------------------------------

    def _on_hello_overdue(self) -> None:
        self.close()

    def _beat(self) -> None:
        now = self._loop.time()
        if now - self._last_heard >= SILENCE_SECONDS:
            self.close()
            return
        if now - self._last_sent >= PING_SECONDS and not self._answers:
            self.send_raw(wire.frame(0, wire.PING))
        due = min(self._last_heard + SILENCE_SECONDS, self._last_sent + PING_SECONDS)
        self._timer = self._loop.call_at(max(due, now + 0.1), self._beat)

    # --- frames from the host ------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            while data := await self.stream.read(262_144):
                if self._agent.faults.deaf:
                    await asyncio.Event().wait()
                self._last_heard = self._loop.time()
                for frame in self._decoder.feed(data):
                    self._receive(frame)
                    if self._closing:
                        return
                await asyncio.sleep(0)
        except ConnectionLost:
            pass
        except ProtocolViolation as error:
            self._refuse("protocol", error.detail)
        self.close()

    def _receive(self, frame: wire.Frame) -> None:
        if not self._ready:
            self._greet(frame)
        elif frame.type == wire.PING:
            if len(frame.payload) > wire.MOST_PING:
                raise wire.violation("a PING that is too long")
            self._pong = frame.payload
            self.wake()
        elif frame.type == wire.EXEC:
            self._start(frame)
        elif frame.type not in (wire.PONG, wire.PREPARE):  # its programs need no interpreter
            self._on_execution(frame)

    def _greet(self, frame: wire.Frame) -> None:
        if frame.type != wire.HELLO:
            raise wire.violation("the first frame is not HELLO")
        hello = Hello.decode(frame.payload)
        code = self._judge(hello)
        if code:
            self._refuse(code, "this connection may not be opened")
            self.close()
            return
        self._ready = True
        self._timer.cancel()
        self._agent.promote(self, hello.epoch)
        ready = Ready(
            epoch=hello.epoch,
            release="fake",
            capabilities=self._agent.capabilities,
            known=self._agent.known(),
            highest=self._agent.sandbox.highest,
        )
        self.send_raw(wire.frame(0, wire.READY, ready.encode()))
        self._beat()

    def _judge(self, hello: Hello) -> str:
        if not hmac.compare_digest(hello.secret, self._agent.sandbox.spec.secret.reveal()):
            return "secret"
        if hello.version != wire.VERSION:
            return "version"
        return "epoch" if hello.epoch < self._agent.epoch else ""

    def _refuse(self, code: str, message: str) -> None:
        """Say why, if that needs no waiting."""
        if not self._answers:
            self.stream.offer(wire.frame(0, wire.REFUSED, refusal(code, message)))

    def _start(self, frame: wire.Frame) -> None:
        request = to_request(frame.payload)
        if frame.channel in self._executions:
            self._fail(frame.channel, "channel", "the number is in use")
        elif len(self._executions) >= EXECUTIONS_MOST:
            self._fail(frame.channel, "busy", f"{EXECUTIONS_MOST} executions are there already")
        elif not request.argv or not request.argv[0]:
            self._fail(frame.channel, "request", "a program is missing")
        else:
            self._agent.sandbox.start(frame.channel, request, self._agent.changed)
            self.wake()

    def _fail(self, channel: int, code: str, message: str) -> None:
        self.send_raw(wire.frame(channel, wire.FAILED, refusal(code, message)))

    def _on_execution(self, frame: wire.Frame) -> None:
        execution = self._executions.get(frame.channel)
        if execution is None:
            self._fail(frame.channel, "channel", "no such execution")
        elif not HANDLERS[frame.type](execution, frame.payload):
            self._fail(frame.channel, "offset", "that cannot be done at this point")
        elif frame.type == wire.RELEASE:
            del self._executions[frame.channel]
        self.wake()

    # --- frames to the host --------------------------------------------------------------------

    async def _write(self) -> None:
        try:
            while True:
                batch = b"" if self._agent.faults.silent else self._next_batch()
                if batch:
                    await self.stream.write(batch)
                    self._last_sent = self._loop.time()
                else:
                    self._wanted.clear()
                    await self._wanted.wait()
        except ConnectionLost:
            self.close()

    def _next_batch(self) -> bytes:
        parts: list[bytes] = []
        if self._pong is not None:
            parts.append(wire.frame(0, wire.PONG, self._pong))
            self._pong = None
        parts += self._answers
        self._answers.clear()
        parts += self._windows()
        parts += self._outputs(terminals=True)
        parts += self._outputs(terminals=False)
        if not self._agent.faults.no_exit:
            parts += self._exits()
        return b"".join(parts)

    def _windows(self) -> list[bytes]:
        frames = []
        for channel, execution in self._executions.items():
            if execution.window_due and execution.attached and execution.facts is None:
                execution.window_due = False
                execution.input.told = execution.input.window
                closed = execution.input.closed
                frames.append(wire.window_frame(channel, execution.input.told, closed=closed))
        return frames

    def _outputs(self, *, terminals: bool) -> list[bytes]:
        """One frame of every execution that has output, until there is enough for one write."""
        having = [
            execution
            for execution in self._executions.values()
            if execution.attached
            and (execution.terminal is not None) == terminals
            and execution.sent < execution.output.read
        ]
        turn = self._next_turn % len(having) if having else 0
        frames, length = [], 0
        for execution in having[turn:] + having[:turn]:
            found = execution.output.from_offset(execution.sent)
            assert found is not None
            stream, data = found
            data = data[: wire.OUTPUT_BYTES]
            frames.append(wire.output_frame(execution.channel, execution.sent, stream, data))
            execution.sent += len(data)
            length += len(data)
            self._next_turn += not terminals
            if length >= _BATCH_BYTES:
                break
        return frames

    def _exits(self) -> list[bytes]:
        frames = []
        for channel, execution in self._executions.items():
            if (
                execution.facts is not None
                and execution.attached
                and not execution.exit_sent
                and execution.sent == execution.output.read
            ):
                execution.exit_sent = True
                frames.append(wire.frame(channel, wire.EXIT, _exit(execution, execution.facts)))
        return frames


def _exit(execution: FakeExecution, facts: Facts) -> bytes:
    payload = exit_payload(facts)
    failure = execution.start_failure
    if failure is None:
        return payload
    return payload + wire.number(35, failure.number) + wire.field(36, failure.step.encode())
