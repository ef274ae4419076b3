"""assay.v1: a conversation that is safe for any bytes and outlives its connection.

docs/api.md says what is sent; `stream.schema.json` is the form of the messages in text.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Annotated, Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web
from msgspec import Meta

from assay.api.answers import encode
from assay.api.errors import told
from assay.api.poseidon_stream import REPLACED
from assay.api.results import (
    Measurements,
    OutcomeAnswer,
    start_error,
    to_measurements,
    to_outcome,
)
from assay.domain.command import TerminalSize
from assay.domain.errors import AssayError, InvalidInput
from assay.runners import Attachment, Ended, InputWindow, Moved, Output, Replaced

_INPUT: Final = struct.Struct(">BQ")
_OUTPUT: Final = struct.Struct(">BQ")
_STREAMS: Final = {"stdout": 1, "stderr": 2}
_LAST_WORDS_SECONDS: Final = 0.2
_COMPLAINTS_MOST: Final = 100
"""A client that is wrong so often is no client of this protocol."""


class Start(msgspec.Struct, tag="start", tag_field="type", rename="camel", kw_only=True):
    """The first message: what the server has got and goes on from."""

    execution_id: str
    resumed: bool
    offset: int
    input_offset: int


class Window(msgspec.Struct, tag="input", tag_field="type"):
    """Standard input below `offset` has arrived; `closed`: nobody reads it any more."""

    offset: int
    closed: bool


class End(msgspec.Struct, tag="end", tag_field="type", rename="camel", kw_only=True):
    """How the program ended. `offset` is behind its last byte of output."""

    outcome: OutcomeAnswer
    offset: int
    measurements: Measurements
    start_error: str | None


class Complaint(msgspec.Struct, tag="error", tag_field="type"):
    """A message of the client was refused; the connection stays."""

    code: str
    message: str


class Ack(msgspec.Struct, tag="ack", tag_field="type"):
    """The client has all output before `offset`."""

    offset: Annotated[int, Meta(ge=0)]


class EndInput(msgspec.Struct, tag="end-input", tag_field="type"):
    """Standard input ends here; with a terminal that is its end-of-file character."""


class Signal(msgspec.Struct, tag="signal", tag_field="type"):
    """Send a signal to the program."""

    signal: int


class Resize(msgspec.Struct, tag="resize", tag_field="type"):
    """The terminal has another size."""

    rows: int
    columns: int


class Cancel(msgspec.Struct, tag="cancel", tag_field="type"):
    """Kill the program; its end still comes."""


class Bye(msgspec.Struct, tag="bye", tag_field="type"):
    """The client has the end; the server forgets the execution and closes."""


FromServer = Start | Window | End | Complaint
FromClient = Ack | EndInput | Signal | Resize | Cancel | Bye
_decode: Final = msgspec.json.Decoder(FromClient).decode


async def converse(socket: web.WebSocketResponse, attachment: Attachment) -> None:
    """Converse until the client says `bye`. Raises ConnectionError, or is cancelled, before.

    The execution goes on without its client.
    """
    start = Start(
        execution_id=attachment.execution_id,
        resumed=attachment.resumed,
        offset=attachment.started_offset,
        input_offset=attachment.input_offset,
    )
    await socket.send_frame(encode(start), WSMsgType.TEXT)
    listener = _Listener(socket, attachment)
    listening = asyncio.get_running_loop().create_task(listener.listen())
    try:
        await _tell(socket, attachment, listener)
        await asyncio.wait((listening,))
    except asyncio.CancelledError:
        # A client may say `bye` and hang up at once: what came before the end of the connection
        # is there to be read.
        if listener.told_end:
            await asyncio.wait((listening,), timeout=_LAST_WORDS_SECONDS)
        if not listener.bye:
            raise
    finally:
        if not listening.done():
            listening.cancel()
            await asyncio.wait((listening,))
    if not listener.bye:
        raise ConnectionError("the client is gone")
    await attachment.finish()
    await socket.close()


async def _tell(socket: web.WebSocketResponse, attachment: Attachment, listener: _Listener) -> None:
    send = socket.send_frame
    async for event in attachment.events():
        if isinstance(event, Output):
            header = _OUTPUT.pack(_STREAMS[event.stream], event.offset)
            await send(header + event.data, WSMsgType.BINARY)
        elif isinstance(event, InputWindow):
            await send(encode(Window(event.offset, event.closed)), WSMsgType.TEXT)
        elif isinstance(event, Ended):
            listener.told_end = True
            await send(encode(_end(event)), WSMsgType.TEXT)
        elif isinstance(event, Replaced):
            await socket.close(code=REPLACED, message=b"replaced by a newer connection")
        elif isinstance(event, Moved):
            await socket.close(code=WSCloseCode.SERVICE_RESTART)


def _end(event: Ended) -> End:
    return End(
        outcome=to_outcome(event.outcome),
        offset=event.offset,
        measurements=to_measurements(event.facts),
        start_error=start_error(event.facts),
    )


class _Listener:
    """Does what the client says."""

    def __init__(self, socket: web.WebSocketResponse, attachment: Attachment) -> None:
        self._socket = socket
        self._attachment = attachment
        self._talking = asyncio.current_task()
        self._complaints = 0
        self.told_end = False
        self.bye = False
        """The client has said that it has the end."""

    async def listen(self) -> None:
        """Ends with `bye`; when the client is gone, the conversation ends with it."""
        while not self.bye:
            message = await self._socket.receive()
            try:
                if message.type is WSMsgType.BINARY:
                    await self._on_input(message.data)
                elif message.type is WSMsgType.TEXT:
                    await self._on_text(message.data)
                else:
                    break
            except AssayError as error:
                await self._complain(error)
        if not self.bye and self._talking is not None:
            self._talking.cancel()

    async def _on_input(self, data: bytes) -> None:
        if len(data) < _INPUT.size or data[0] != 0:
            raise InvalidInput("a binary message is a byte 0, an offset of 8 bytes, and input")
        _, offset = _INPUT.unpack_from(data)
        await self._attachment.write(data[_INPUT.size :], offset)

    async def _on_text(self, text: str) -> None:
        try:
            message = _decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise InvalidInput(f"no message of assay.v1: {error}") from error
        attachment = self._attachment
        if isinstance(message, Ack):
            attachment.acknowledge(message.offset)
        elif isinstance(message, Bye):
            self._on_bye()
        elif isinstance(message, EndInput):
            await attachment.end_input()
        elif isinstance(message, Signal):
            await attachment.signal(message.signal)
        elif isinstance(message, Resize):
            await attachment.resize(_size(message))
        else:
            await attachment.cancel()

    def _on_bye(self) -> None:
        if not self.told_end:
            raise InvalidInput("bye comes after the end; to end the program, cancel it")
        self.bye = True

    async def _complain(self, error: AssayError) -> None:
        self._complaints += 1
        if self._complaints > _COMPLAINTS_MOST:
            await self._socket.close(code=WSCloseCode.POLICY_VIOLATION)
            return
        complaint = encode(Complaint(error.code, told(error)))
        await self._socket.send_frame(complaint, WSMsgType.TEXT)


def _size(message: Resize) -> TerminalSize:
    if not (1 <= message.rows <= 65_535 and 1 <= message.columns <= 65_535):
        raise InvalidInput("a terminal has 1 to 65535 rows and columns")
    return TerminalSize(rows=message.rows, columns=message.columns)
