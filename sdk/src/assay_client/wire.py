"""The messages of `assay.v1`, and one execution's stream as its client keeps it; no I/O.

Bytes are counted in both directions. Output: what arrived twice is dropped, and a gap is an error.
Input: what the server has not confirmed is kept (at most 1 MiB), for it is sent again when a
connection was lost.
Whoever carries the frames calls, for each connection:

    stream.begin()                     a connection is there; nothing was sent over it
    stream.receive(frame)              for each frame that comes
    stream.outgoing()                  the frames to send now, after `receive` and after any request
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from assay_client.errors import InputClosed, ProtocolViolation
from assay_client.values import Chunk, End, Measurements, Outcome, Value

SUBPROTOCOL: Final = "assay.v1"
WINDOW: Final = 1024 * 1024
"""Bytes that may be on their way without a confirmation, in each direction."""
ACKNOWLEDGE_EVERY: Final = 256 * 1024
MOST_OF_A_FRAME: Final = 64 * 1024
REPLACED: Final = 4409
OFFSET_LOST: Final = 4416
NORMAL: Final = 1000

_HEADER: Final = 9
_STREAMS: Final = {1: "stdout", 2: "stderr"}


class Started(Value, frozen=True, kw_only=True, tag="start", tag_field="type"):
    """First on every connection; the server has standard input up to `input_offset`."""

    execution_id: str = ""
    resumed: bool = False
    offset: int = 0
    input_offset: int = 0


class InputWindow(Value, frozen=True, kw_only=True, tag="input", tag_field="type"):
    """Standard input below `offset` has arrived; `closed`: nobody will read more."""

    offset: int
    closed: bool = False


class Ended(Value, frozen=True, kw_only=True, tag="end", tag_field="type"):
    """Last: how it ended, after `offset` bytes of output."""

    outcome: Outcome
    offset: int = 0
    measurements: Measurements | None = None
    start_error: str | None = None


class Refused(Value, frozen=True, kw_only=True, tag="error", tag_field="type"):
    """The server did not do what one of our messages asked for."""

    code: str = ""
    message: str = ""


Message = Started | InputWindow | Ended | Refused

_decoder: Final = msgspec.json.Decoder(Message)


class Acknowledge(Value, frozen=True, kw_only=True, tag="ack", tag_field="type"):
    """We have all output below `offset`."""

    offset: int


class EndInput(Value, frozen=True, kw_only=True, tag="end-input", tag_field="type"):
    """End of standard input."""


class Signal(Value, frozen=True, kw_only=True, tag="signal", tag_field="type"):
    """A signal for the program."""

    signal: int


class Resize(Value, frozen=True, kw_only=True, tag="resize", tag_field="type"):
    """A new size of its terminal."""

    rows: int
    columns: int


class Cancel(Value, frozen=True, kw_only=True, tag="cancel", tag_field="type"):
    """End it."""


class Bye(Value, frozen=True, kw_only=True, tag="bye", tag_field="type"):
    """We have its end: the server may forget it."""


Request = Acknowledge | EndInput | Signal | Resize | Cancel | Bye
Frame = str | bytes


def encode(request: Request) -> str:
    """As a text frame."""
    return msgspec.json.encode(request).decode()


class ExecutionStream:
    """What the client of one execution knows and owes, over any number of connections."""

    def __init__(self) -> None:
        self.received = 0
        """Output bytes that have come."""
        self.consumed = 0
        """Output bytes that whoever reads them is done with."""
        self.started = False
        """Whether this connection's first message has come."""
        self.end: End | None = None
        self.input_closed = False
        self.refusals: deque[Refused] = deque(maxlen=16)
        self._acknowledged = 0
        self._kept = bytearray()
        self._confirmed = 0  # the offset of the first byte in _kept
        self._sent = 0
        self._end_of_input = self._end_sent = False
        self._once: list[Request] = []
        self._size: Resize | None = None
        self._cancelled = self._was_connected = self._adopting = False

    def go_on_at(self, offset: int) -> None:
        """Somebody else has followed it so far: output from there on, input after what there is."""
        self.received = self.consumed = offset
        self._was_connected = self._adopting = True

    @property
    def offset_to_ask_for(self) -> int | None:
        """For the next connection; None for the very first."""
        return self.received if self._was_connected else None

    def begin(self) -> None:
        """A new connection: what was sent over the last one may be lost."""
        if self._was_connected:
            # Others than these may have been done already, and must not be done twice.
            self._once = [Cancel()] if self._cancelled else []
            if self._size is not None:
                self._once.insert(0, self._size)
        self._was_connected = True
        self.started = False
        self._end_sent = False
        self._acknowledged = 0

    # --- what comes ----------------------------------------------------------------------------

    def receive(self, frame: Frame) -> Chunk | None:
        """Take a frame in; returns new output, if it is any. Raises ProtocolViolation."""
        if isinstance(frame, bytes):
            return self._output(frame)
        try:
            message = _decoder.decode(frame)
        except msgspec.MsgspecError as error:
            raise ProtocolViolation(f"the server sent what is no message: {error}") from error
        if not self.started and not isinstance(message, Started):
            raise ProtocolViolation("the server did not begin with a start")
        if isinstance(message, Started):
            self._start(message)
        elif isinstance(message, InputWindow):
            self._confirm(message.offset)
            self._note_closed(message.closed)
        elif isinstance(message, Ended):
            self._note_end(message)
        else:
            self.refusals.append(message)
        return None

    def _start(self, message: Started) -> None:
        if self.started or message.offset > self.received:
            raise ProtocolViolation("the server goes on at an offset that was not asked for")
        if self._adopting:
            self._adopting = False
            self._confirmed = message.input_offset
        self._confirm(message.input_offset)
        self._sent = self._confirmed
        self.started = True

    def _output(self, frame: bytes) -> Chunk | None:
        stream = _STREAMS.get(frame[0]) if len(frame) > _HEADER else None
        if stream is None or not self.started:
            raise ProtocolViolation("the server sent bytes that are no output")
        offset = int.from_bytes(frame[1:_HEADER])
        if offset > self.received:
            raise ProtocolViolation(
                f"output is missing: {offset - self.received} bytes from {self.received} on"
            )
        data = frame[_HEADER + self.received - offset :]
        if not data:
            return None
        chunk = Chunk(
            stream="stdout" if stream == "stdout" else "stderr", offset=self.received, data=data
        )
        self.received += len(data)
        if self.received - self.consumed > 4 * WINDOW:
            raise ProtocolViolation("the server sends more than may be on its way")
        return chunk

    def _confirm(self, offset: int) -> None:
        if offset > self._confirmed + len(self._kept):
            raise ProtocolViolation("the server has more input than was sent")
        if offset > self._confirmed:
            del self._kept[: offset - self._confirmed]
            self._confirmed = offset
            self._sent = max(self._sent, offset)

    def _note_closed(self, closed: bool) -> None:
        if closed:
            self.input_closed = True
            self._kept.clear()
            self._sent = self._confirmed

    def _note_end(self, message: Ended) -> None:
        if message.offset > self.received:
            missing = message.offset - self.received
            raise ProtocolViolation(f"output is missing: {missing} bytes at the end")
        self._note_closed(True)
        self.end = End(
            outcome=message.outcome,
            measurements=message.measurements or Measurements(),
            start_error=message.start_error,
        )
        self._once = [Bye()]

    # --- what is asked for -----------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many bytes of input can be taken now."""
        return WINDOW - len(self._kept)

    def write(self, data: bytes | memoryview) -> None:
        """Take at most `room` bytes of standard input. Raises InputClosed."""
        if self.input_closed or self._end_of_input:
            raise InputClosed("the program's standard input is closed")
        assert len(data) <= self.room
        self._kept += data

    def end_input(self) -> None:
        """No more standard input will come."""
        self._end_of_input = True

    def signal(self, number: int) -> None:
        """Send a signal; lost if the connection is just breaking, for it must not come twice."""
        self._ask(Signal(signal=number))

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal a new size."""
        self._size = Resize(rows=rows, columns=columns)
        self._ask(self._size)

    def cancel(self) -> None:
        """End it; said again after a lost connection."""
        self._cancelled = True
        self._ask(Cancel())

    def _ask(self, request: Request) -> None:
        if self.end is None and len(self._once) < 1024:
            self._once.append(request)

    @property
    def owes_acknowledgement(self) -> bool:
        """Whether something consumed has not been acknowledged yet."""
        return self.consumed > self._acknowledged and self.end is None

    def outgoing(self, *, idle: bool = False) -> list[Frame]:
        """The frames to send now. `idle`: acknowledge little things, too."""
        if not self.started:
            return []
        frames: list[Frame] = [encode(request) for request in self._once]
        self._once = []
        if self.end is not None:
            return frames
        step = 1 if idle else ACKNOWLEDGE_EVERY
        if self.consumed - self._acknowledged >= step:
            self._acknowledged = self.consumed
            frames.append(encode(Acknowledge(offset=self.consumed)))
        frames += self._input_frames()
        return frames

    def _input_frames(self) -> list[Frame]:
        frames: list[Frame] = []
        end = self._confirmed + len(self._kept)
        while self._sent < end:
            start = self._sent - self._confirmed
            data = self._kept[start : start + MOST_OF_A_FRAME]
            frames.append(b"\0" + self._sent.to_bytes(8) + data)
            self._sent += len(data)
        if self._end_of_input and not self._end_sent and not self.input_closed:
            self._end_sent = True
            frames.append(encode(EndInput()))
        return frames
