"""One program in a sandbox, as the host sees it: output, input, signals, and how it ended."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from assay.agent import protocol as wire
from assay.agent.messages import terminal_size, to_facts, to_refusal
from assay.agent.outbox import Outbox
from assay.domain.command import TerminalSize
from assay.domain.errors import AgentError, ExecutionRefused, InvalidInput
from assay.domain.facts import Facts, Source
from assay.domain.outcome import Outcome

Stream = Literal["stdout", "stderr"]

ACK_BYTES: Final = 128 * 1024
"""So much output is acknowledged at once while more of it is waiting."""
_NAMES: Final[tuple[Stream, Stream, Stream]] = ("stdout", "stdout", "stderr")
# An agent counts changes of stream over what is not acknowledged; what waits here is part of it.
_MOST_WAITING: Final = wire.MOST_STREAM_CHANGES + wire.WINDOW_BYTES // 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Output as it came. `offset` numbers its first byte, both streams counted together."""

    stream: Stream
    offset: int
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """A program that ended: all of its output, and what happened."""

    stdout: bytes
    stderr: bytes
    facts: Facts
    outcome: Outcome
    first_output_seconds: float | None = None
    """From its start to its first output, if there was any."""


class _Piece(NamedTuple):
    """Output that nobody has taken yet; neighbours of one stream grow together."""

    stream: int
    offset: int
    data: bytes | bytearray


class Observer(Protocol):
    """Who is told of an execution at once, in place of those who wait for it.

    For end-to-end acknowledgement: output is not kept here, and counts as wanted until
    `Execution.acknowledge`; the agent keeps the execution until `Execution.release`.
    """

    def on_output(self, stream: Stream, data: bytes) -> None:
        """The next output has come. Raises ProtocolViolation when it is more than may be kept."""
        ...

    def on_change(self) -> None:
        """The input's window has changed, the end has come, or nothing more comes."""
        ...


class Execution:
    """A program that was started, or attached to, over one connection.

    Its methods may be called from several tasks and cancelled at any point; what was not taken
    then is there for the next call. It stays known to the agent until `wait` has returned, or
    `abandon` was called.
    """

    def __init__(
        self,
        number: int,
        outbox: Outbox,
        *,
        forget: Callable[[int], None],
        kernel: Source = Source.HOST,
        terminal: bool = False,
        stdin: bool = False,
        offset: int = 0,
        acknowledged: int | None = None,
        input_offset: int = 0,
        observer: Observer | None = None,
    ) -> None:
        self.number = number
        self.started = asyncio.get_running_loop().time()
        """When it was started or attached to, on the event loop's clock."""
        self.input_offset = input_offset
        """Bytes of standard input that were sent; those that an attached execution has received."""
        self.input_closed = False
        """The program reads no more: what is written is dropped."""
        self._outbox = outbox
        self._forget = forget
        self._kernel = kernel
        self._terminal = terminal
        self._stdin = stdin or terminal
        self._input_ended = False
        self._window = 0
        self._pieces: deque[_Piece] = deque()
        self._received = self._taken = offset
        self._acknowledged = offset if acknowledged is None else acknowledged
        self._observer = observer
        self._facts: Facts | None = None
        self._error: AgentError | None = None
        self._released = False
        self._abandoned = False
        self._reader: weakref.ref[_Output] | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    # --- for whoever started it --------------------------------------------------------------

    def output(self) -> AsyncIterator[Chunk]:
        """Iterate over standard output and error in the order in which the agent read them.

        One iterator at a time; when it is dropped, the next one goes on where it stopped. A chunk
        is acknowledged when the next one is asked for. Ends when the program has; raises
        ConnectionLost, ProtocolViolation or ExecutionRefused.
        """
        if self._reader is not None:
            raise InvalidInput(f"the output of execution {self.number} is being read already")
        output = _Output(self)
        self._reader = weakref.ref(output, self._on_reader_gone)
        return output

    async def write(self, data: bytes) -> None:
        """Send standard input and return when the connection has taken all of it.

        Waits while the program is slow to read. Once it reads no more, the rest is dropped and
        `input_closed` is true. When cancelled, a part may have been sent: see `input_offset`.
        """
        self._require_input()
        view = memoryview(data)
        while view and not self._input_over():
            room = min(self._window - self.input_offset, wire.INPUT_BYTES, len(view))
            if room <= 0:
                await self._change()
                continue
            frame = wire.input_frame(self.number, self.input_offset, view[:room])
            self.input_offset += room
            view = view[room:]
            await self._outbox.send(frame, urgent=self._terminal)
        self._raise_if_lost()

    async def end_input(self) -> None:
        """End standard input; with a terminal that is its end-of-file character."""
        self._require_input()
        if self._input_over():
            return
        self._input_ended = not self._terminal  # on a terminal more may follow
        # In the same lane as the input, which must not be overtaken by its end.
        await self._outbox.send(self._end_frame(), urgent=self._terminal)

    async def signal(self, number: int) -> None:
        """Send a signal to the program's process group (a terminal's: the foreground group)."""
        if not 1 <= number <= 64:
            raise InvalidInput(f"there is no signal {number}")
        await self._control(wire.number_frame(self.number, wire.SIGNAL, number))

    async def resize(self, size: TerminalSize) -> None:
        """Tell the program's terminal its new size."""
        await self._control(wire.frame(self.number, wire.RESIZE, terminal_size(size)))

    async def cancel(self) -> None:
        """Kill the program and all that belongs to it; its facts say that it was cancelled."""
        await self._control(wire.frame(self.number, wire.CANCEL))

    def kill(self) -> None:
        """What `cancel` does, without waiting for the connection to take it."""
        if not self.ended:
            self._outbox.put(wire.frame(self.number, wire.CANCEL))

    def offer(self, data: bytes | memoryview) -> int:
        """Send as much of `data` as the program's side takes now; return how many bytes.

        All of it when nobody reads it any more: then it is dropped.
        """
        self._require_input()
        if self._input_over():
            return len(data)
        view = memoryview(data)[: max(0, self._window - self.input_offset)]
        for start in range(0, len(view), wire.INPUT_BYTES):
            piece = view[start : start + wire.INPUT_BYTES]
            frame = wire.input_frame(self.number, self.input_offset, piece)
            self.input_offset += len(piece)
            self._outbox.put(frame, urgent=self._terminal)
        return len(view)

    def offer_end(self) -> None:
        """What `end_input` does, without waiting for the connection to take it."""
        self._require_input()
        if not self._input_over():
            self._input_ended = not self._terminal
            self._outbox.put(self._end_frame(), urgent=self._terminal)

    def acknowledge(self, offset: int) -> None:
        """Let the agent forget the output before `offset`; for who observes."""
        if self._acknowledged < offset <= self._received:
            self._taken = self._acknowledged = offset
            if not self.ended:  # after EXIT the release says it all
                self._outbox.put_ack(self.number, offset)

    def release(self) -> None:
        """Let the agent forget the execution, which has ended; for who observes."""
        if self._facts is not None:
            self._release()

    async def wait(self) -> Facts:
        """Wait for the end and return the facts, after which the agent forgets the execution.

        Output that nobody reads is discarded; while an iterator of `output` is there, its end is
        waited for. Raises what `output` raises.
        """
        while True:
            if self._reader is None:
                self._discard()
            if self._facts is not None and not self._pieces:
                self._release()
                return self._facts
            if not self._pieces:
                self._raise_if_lost()
            await self._change()

    def abandon(self, *, kill: bool = True) -> None:
        """Let go of it: output is discarded, and the agent forgets it at its end.

        It is killed, or without `kill` gets the end of its input, to come to an end by itself.
        """
        if self._abandoned:
            return
        self._abandoned = True
        self._observer = None
        if not self.ended:
            if kill:
                self._outbox.put(wire.frame(self.number, wire.CANCEL))
            else:
                self._outbox.put(self._end_frame(), urgent=self._terminal)
                self._input_ended = True
        self._settle_abandoned()

    @property
    def output_offset(self) -> int:
        """The offset behind the last byte of output that was received."""
        return self._received

    @property
    def output_pending(self) -> bool:
        """Whether output waits here for its reader, so that the agent may have to wait as well."""
        return bool(self._pieces)

    @property
    def facts(self) -> Facts | None:
        """How it ended, once it has."""
        return self._facts

    @property
    def error(self) -> AgentError | None:
        """Why nothing more comes of it, if that is so."""
        return self._error

    @property
    def input_window(self) -> int:
        """The offset up to which standard input may be sent."""
        return self._window

    @property
    def ended(self) -> bool:
        """Whether EXIT came, or nothing more can come."""
        return self._facts is not None or self._error is not None

    # --- for the connection ------------------------------------------------------------------

    def receive(self, frame: wire.Frame) -> None:
        """Take a frame of this execution's channel. Raises ProtocolViolation."""
        if self._facts is not None:
            if frame.type == wire.FAILED:  # the answer to what crossed EXIT on its way
                return
            raise wire.violation(f"a frame of type {frame.type} after EXIT")
        if frame.type == wire.OUTPUT:
            self._on_output(frame.payload)
        elif frame.type == wire.EXIT:
            self._facts = to_facts(frame.payload, kernel=self._kernel)
        elif frame.type == wire.WINDOW:
            self._on_window(frame.payload)
        else:
            self._on_failed(frame.payload)
        if self._abandoned:
            self._settle_abandoned()
        self._ring()
        if self._observer is not None and frame.type != wire.OUTPUT:
            self._observer.on_change()

    def fail(self, error: AgentError) -> None:
        """Nothing more comes: whoever waits for it gets a copy of `error`."""
        if self._facts is None and self._error is None:
            self._error = error
            if self._observer is not None:
                self._observer.on_change()
        self._ring()

    def _on_output(self, payload: bytes) -> None:
        offset, stream, data = wire.to_output(payload)
        if offset != self._received:
            raise wire.violation(f"output at {offset} instead of {self._received}")
        if offset + len(data) - self._acknowledged > wire.WINDOW_BYTES:
            raise wire.violation("more output than the window allows")
        self._received += len(data)
        if self._observer is not None:
            self._observer.on_output(_NAMES[stream], data)
            return
        last = self._pieces[-1] if self._pieces else None
        if last is None or last.stream != stream or len(last.data) + len(data) > wire.MOST_PAYLOAD:
            if len(self._pieces) >= _MOST_WAITING:
                raise wire.violation("more changes of stream than may be kept")
            self._pieces.append(_Piece(stream, offset, data))
        elif isinstance(last.data, bytearray):
            last.data.extend(data)
        else:
            self._pieces[-1] = last._replace(data=bytearray(last.data + data))

    def _on_window(self, payload: bytes) -> None:
        offset, closed = wire.to_window(payload)
        self._window = max(self._window, offset)
        self.input_closed = self.input_closed or closed

    def _on_failed(self, payload: bytes) -> None:
        code, message = to_refusal(payload)
        self._forget(self.number)
        self.fail(
            ExecutionRefused(
                f"the sandbox could not do this: {message or code}",
                detail=f"{code} on execution {self.number}",
            )
        )

    # --- inside ------------------------------------------------------------------------------

    def _take(self) -> Chunk | None:
        """Return the next output if there is some, or None."""
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self._taken = piece.offset + len(piece.data)
        if not self._pieces:
            self._ring()
        return Chunk(stream=_NAMES[piece.stream], offset=piece.offset, data=bytes(piece.data))

    async def _next_chunk(self) -> Chunk | None:
        """Acknowledge what was taken, and wait for the next chunk; None at the end."""
        while True:
            self._acknowledge()
            chunk = self._take()
            if chunk is not None:
                return chunk
            if self._facts is not None:
                return None
            self._raise_if_lost()
            await self._change()

    def _acknowledge(self) -> None:
        count = self._taken - self._acknowledged
        if count == 0 or (self._pieces and count < ACK_BYTES):
            return
        self._acknowledged = self._taken
        if not self.ended:  # after EXIT the release says it all
            self._outbox.put_ack(self.number, self._taken)

    def _discard(self) -> None:
        self._pieces.clear()
        self._taken = self._received
        self._acknowledge()

    def _release(self) -> None:
        if not self._released:
            self._released = True
            self._observer = None  # or the two of them would wait for the garbage collector
            self._outbox.drop_ack(self.number)
            self._outbox.put(wire.frame(self.number, wire.RELEASE))
            self._forget(self.number)

    def _settle_abandoned(self) -> None:
        self._discard()
        if self._facts is not None:
            self._release()

    def _end_frame(self) -> bytes:
        return wire.number_frame(self.number, wire.END, self.input_offset)

    async def _control(self, frame: bytes) -> None:
        if not self.ended:
            await self._outbox.send(frame, urgent=True)

    def _require_input(self) -> None:
        if not self._stdin:
            raise InvalidInput(f"execution {self.number} was started without standard input")

    def _input_over(self) -> bool:
        return self.input_closed or self._input_ended or self.ended

    def _raise_if_lost(self) -> None:
        if self._error is not None:
            raise copy_of(self._error) from self._error

    def _on_reader_gone(self, _: object) -> None:
        self._reader = None
        self._ring()

    async def _change(self) -> None:
        """Wait until something happens to this execution."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def _ring(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)


class _Output:
    """The one reader of an execution's output."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def __aiter__(self) -> _Output:
        return self

    async def __anext__(self) -> Chunk:
        chunk = await self._execution._next_chunk()
        if chunk is None:
            raise StopAsyncIteration
        return chunk


def copy_of(error: AgentError) -> AgentError:
    """Return an error to raise in one of several tasks, each with a traceback of its own."""
    return type(error)(error.message, detail=error.detail)
