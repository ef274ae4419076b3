"""Poseidon's conversation: JSON in text frames to the client, raw text as standard input back."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from assay.api.answers import encode
from assay.api.feeding import Feeder
from assay.domain.outcome import Outcome, OutcomeKind
from assay.runners import Attachment, Ended, EndReason, Moved, Output, Replaced

REPLACED: Final = 4409
"""Close: a newer connection follows the execution."""
_CLOSE_SECONDS: Final = 2.0
_CLOSE_FRAME: Final = b"\x88\x02\x03\xe8"
"""1000, without a reason."""
_START: Final = b'{"type":"start"}'
_TIMEOUT: Final = b'{"type":"timeout"}'
_STOPPED: Final = "the allocation stopped as expected"
_FAILED: Final = "Error executing the request"
_OUT_OF_MEMORY: Final = 128 + 9
"""What CodeOcean takes for "out of memory"."""
_TOO_MUCH_OUTPUT: Final = 128 + 25
"""As if by SIGXFSZ: a file became larger than allowed."""
_TOO_MUCH: Final = "\r\nThe program wrote more than it is allowed to.\r\n"
_CANCELLED: Final = 128 + 2
_OVER: Final = frozenset({EndReason.IDLE.value, EndReason.EXPIRED.value})
_ENDED: Final = frozenset({EndReason.DELETED.value, EndReason.RESET.value})
_LEAVING: Final = frozenset({1000, 1001, 1005})
"""Codes of a Close by which a client says that it wants no more."""
_DATA: Final = (WSMsgType.TEXT, WSMsgType.BINARY)
_new_decoder: Final = codecs.getincrementaldecoder("utf-8")


async def converse(
    socket: web.WebSocketResponse, transport: asyncio.Transport, attachment: Attachment
) -> None:
    """Converse until the program has ended. Raises ConnectionError, or is cancelled, before.

    A client that closes has the program killed; one that vanishes does not. `transport` is that
    of the socket.
    """
    await socket.send_frame(_START, WSMsgType.TEXT)
    listener = _Listener(socket, attachment)
    listening = asyncio.get_running_loop().create_task(listener.listen())
    try:
        last = await _Talker(socket, attachment).talk()
    finally:
        listening.cancel()
        await asyncio.wait((listening,))
        await listener.feeder.aclose()
    if last is not None:
        if transport.is_closing():
            raise ConnectionResetError("the client vanished")
        # Both at once: what wakes the client costs more than all that is in it.
        transport.write(_text_frame(last) + _CLOSE_FRAME)
        await attachment.finish()
        await _wait_for_close(socket)
        transport.close()


async def _wait_for_close(socket: web.WebSocketResponse) -> None:
    """Wait for the client's Close, for a moment: see decision 0042."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            while (await socket.receive()).type in _DATA:
                pass


def _text_frame(text: bytes) -> bytes:
    """One frame of RFC 6455, from a server."""
    if len(text) < 126:
        return bytes((0x81, len(text))) + text
    return b"\x81\x7e" + len(text).to_bytes(2, "big") + text


class _Listener:
    """Hands over what the client sends, until it leaves."""

    def __init__(self, socket: web.WebSocketResponse, attachment: Attachment) -> None:
        self._socket = socket
        self._attachment = attachment
        self._talking = asyncio.current_task()
        self.feeder = Feeder(attachment)

    async def listen(self) -> None:
        """Ends with the connection, and the conversation with it."""
        message = await self._socket.receive()
        while message.type in _DATA:
            if message.type is WSMsgType.TEXT:  # Poseidon takes nothing else
                await self.feeder.put(message.data.encode())
            message = await self._socket.receive()
        if message.type is WSMsgType.CLOSE:
            if message.data in _LEAVING:
                await self._attachment.abandon()
            await self._socket.close(drain=False)
        if self._talking is not None:
            self._talking.cancel()


class _Talker:
    """Tells a client what the program writes, and how it ended."""

    def __init__(self, socket: web.WebSocketResponse, attachment: Attachment) -> None:
        self._send = socket.send_frame
        self._socket = socket
        self._attachment = attachment
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}

    async def talk(self) -> bytes | None:
        """Send everything; waits while the client is slow. Returns the last message, unsent.

        None: a newer connection has replaced this one, which is closed.
        """
        attachment = self._attachment
        async for event in attachment.events():
            if isinstance(event, Output):
                text = self._decoder(event.stream).decode(event.data)
                if text:
                    await self._send(message(event.stream, text), WSMsgType.TEXT)
                attachment.acknowledge(event.offset + len(event.data))
            elif isinstance(event, Ended):
                await self._tell_rest(event)
                return last_message(event)
            elif isinstance(event, Replaced):
                await self._socket.close(code=REPLACED)
            elif isinstance(event, Moved):
                await self._socket.close(code=WSCloseCode.SERVICE_RESTART)
        return None

    async def _tell_rest(self, event: Ended) -> None:
        for stream, decoder in self._decoders.items():
            if text := decoder.decode(b"", final=True):
                await self._send(message(stream, text), WSMsgType.TEXT)
        if event.outcome.kind is OutcomeKind.OUTPUT_LIMIT:
            await self._send(message("stderr", _TOO_MUCH), WSMsgType.TEXT)

    def _decoder(self, stream: str) -> codecs.IncrementalDecoder:
        """One for each stream: a letter's bytes may come in two pieces."""
        decoder = self._decoders.get(stream)
        if decoder is None:
            decoder = self._decoders[stream] = _new_decoder("replace")
        return decoder


def message(stream: str, text: str) -> bytes:
    """Output as Poseidon's clients get it."""
    return b'{"type":"%s","data":%s}' % (stream.encode(), encode(text))


def last_message(event: Ended) -> bytes:
    """What an outcome is for a client that knows exit codes, time-outs and errors only."""
    outcome = event.outcome
    if outcome.kind is OutcomeKind.LOST:
        return _lost(outcome.reason or "")
    if outcome.kind is OutcomeKind.TIMED_OUT:
        return _TIMEOUT
    return b'{"type":"exit","data":%d}' % exit_code(outcome)


def exit_code(outcome: Outcome) -> int:
    """The exit code that a shell would show."""
    if outcome.kind is OutcomeKind.EXITED:
        return (outcome.code or 0) & 0xFF
    if outcome.kind is OutcomeKind.SIGNALED:
        return (128 + (outcome.signal or 0)) & 0xFF
    return {
        OutcomeKind.OUT_OF_MEMORY: _OUT_OF_MEMORY,
        OutcomeKind.OUTPUT_LIMIT: _TOO_MUCH_OUTPUT,
    }.get(outcome.kind, _CANCELLED)


def _lost(reason: str) -> bytes:
    if reason in _OVER:
        return _TIMEOUT
    text = _STOPPED if reason in _ENDED else _FAILED
    return b'{"type":"error","data":%s}' % encode(text)
