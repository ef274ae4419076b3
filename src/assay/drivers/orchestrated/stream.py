"""A byte stream through an orchestrator: the input and output of a program that it has started.

Between are messages of a WebSocket, and each orchestrator has its own words for what is in them.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final, Protocol

import aiohttp

from assay.domain.errors import ConnectionLost

PIECE: Final = 48 * 1024
"""Bytes in a message, at most, of those that are sent."""
_MOST_PIECES: Final = 8
"""That wait to be read; then the other side has to."""
_MOST_UNSENT: Final = 64 * 1024
_MOST_WORDS: Final = 1000
_SECONDS_BETWEEN_BEATS: Final = 10.0
_SECONDS_TO_CLOSE: Final = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What a message says of a program."""

    output: bytes = b""
    words: bytes = b""
    """Of its second output, or of the orchestrator about it."""
    over: bool = False
    """It says nothing more."""


class Speech(Protocol):
    """The words of one orchestrator."""

    @property
    def who(self) -> str:
        """Its name."""
        ...

    def hear(self, message: aiohttp.WSMessage) -> Heard:
        """What a message says. Raises ValueError when it says nothing that is known."""
        ...

    def say(self, piece: bytes) -> str | bytes:
        """A message of bytes for the program; of none, for who ends silent sessions."""
        ...

    @property
    def end(self) -> str | bytes:
        """The message that the program hears nothing more; empty where there is none, and closing
        the connection says it."""
        ...


class ExecStream:
    """A ByteStream over a connection that was given over to a program's streams."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, speech: Speech) -> None:
        self._socket = socket
        self._speech = speech
        self._pieces: asyncio.Queue[bytes | ConnectionLost] = asyncio.Queue(_MOST_PIECES)
        self._left = b""
        self._over = False
        """Nothing comes after what is here."""
        self._words = b""
        self._closed = False
        self._unsent = bytearray()
        self._broken: ConnectionLost | None = None
        self._something = asyncio.Event()
        """There is something to send, or to end with."""
        self._nothing = asyncio.Event()
        """All is sent, or never will be."""
        self._nothing.set()
        self._listener = asyncio.ensure_future(self._listen())
        self._sender = asyncio.ensure_future(self._send())

    @property
    def words(self) -> str:
        """What the program had to say beside."""
        return self._words.decode(errors="replace").strip()

    @property
    def ended(self) -> bool:
        """Whether nothing more will be read."""
        return self._over

    # --- from the program -------------------------------------------------------------------------

    async def _listen(self) -> None:
        last: bytes | ConnectionLost = b""
        try:
            while not self._over:
                piece = self._take(await self._next())
                if piece and not self._closed:
                    await self._pieces.put(piece)
        except ConnectionLost as error:
            last = error
        self._over = True
        if self._closed:  # whoever waits for more still has to know
            _empty(self._pieces)
        await self._pieces.put(last)

    async def _next(self) -> aiohttp.WSMessage:
        try:
            message = await self._socket.receive()
        except (aiohttp.ClientError, OSError) as error:
            raise self._lost(error) from error
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            # The end of a program is said; whatever else ends a connection has broken it.
            raise self._lost(self._socket.exception() or message.extra or message.type.name)
        return message

    def _take(self, message: aiohttp.WSMessage) -> bytes:
        try:
            heard = self._speech.hear(message)
        except ValueError as error:
            raise self._lost(error) from error
        self._words = (self._words + heard.words)[-_MOST_WORDS:]
        self._over |= heard.over
        return heard.output

    async def read(self, most: int) -> bytes:
        """Return 1 to `most` bytes, or b"" at the end."""
        if not self._left:
            if self._over and self._pieces.empty():
                return b""
            piece = await self._pieces.get()
            if isinstance(piece, ConnectionLost):
                raise piece
            self._left = piece
        data, self._left = self._left[:most], self._left[most:]
        return data

    # --- to the program ---------------------------------------------------------------------------

    async def _send(self) -> None:
        try:
            while not self._closed or self._unsent:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SECONDS_BETWEEN_BEATS):
                        await self._something.wait()
                self._something.clear()
                await self._send_all()
            if end := self._speech.end:
                await self._send_one(end)
        except (aiohttp.ClientError, OSError) as error:
            self._broken = self._lost(error)
        self._nothing.set()

    async def _send_all(self) -> None:
        """What is there; or nothing, for a session in which nothing is said may be ended."""
        if not self._unsent:
            await self._send_one(self._speech.say(b""))
        while piece := bytes(self._unsent[:PIECE]):
            await self._send_one(self._speech.say(piece))
            del self._unsent[: len(piece)]
        self._nothing.set()

    async def _send_one(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self._socket.send_str(message)
        else:
            await self._socket.send_bytes(message)

    def try_write(self, data: bytes | memoryview) -> int:
        """Hand over all of it, unless too much of what came before is still on its way."""
        if self._broken is not None or self._closed:
            raise self._broken or self._lost("it was closed")
        if len(self._unsent) > _MOST_UNSENT:
            return 0
        self._unsent += data
        self._nothing.clear()
        self._something.set()
        return len(data)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand over all of `data`."""
        while not self.try_write(memoryview(data)) and len(data):
            await self._nothing.wait()
        await self._nothing.wait()
        if self._broken is not None:
            raise self._broken

    def _lost(self, why: object) -> ConnectionLost:
        detail = f"{why}\n{self.words}".strip()
        return ConnectionLost(f"the connection by {self._speech.who} broke", detail=detail)

    async def aclose(self) -> None:
        """Close both directions. What was handed over still arrives: the program ends after it."""
        if self._closed:
            return
        self._closed = True
        _empty(self._pieces)
        self._something.set()
        # Where the end can't be said, the program does not end before the connection does.
        last = [self._sender, *([self._listener] if self._speech.end else [])]
        await asyncio.wait(last, timeout=_SECONDS_TO_CLOSE)
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(_SECONDS_TO_CLOSE):
                await self._socket.close()
        for task in (self._sender, self._listener):
            task.cancel()
        await asyncio.wait([self._sender, self._listener])


def _empty(pieces: asyncio.Queue[bytes | ConnectionLost]) -> None:
    while not pieces.empty():
        pieces.get_nowait()
