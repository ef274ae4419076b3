"""A byte stream through Nomad: the input and output of a program in an allocation.

Both sides speak in texts, each of one object: bytes are in there as base64. What is neither output
nor the program's end is left out.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from assay.domain.errors import ConnectionLost

_PIECE: Final = 48 * 1024
_MOST_PIECES: Final = 8
"""That wait to be read; then the other side has to."""
_MOST_UNSENT: Final = 64 * 1024
_MOST_WORDS: Final = 1000
_SECONDS_BETWEEN_BEATS: Final = 10.0
_SECONDS_TO_CLOSE: Final = 1.0
_END: Final = '{"stdin":{"close":true}}'


class ExecStream:
    """A ByteStream over a connection that Nomad has given over to a program's streams."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
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

    async def _next(self) -> Mapping[str, Any]:
        try:
            message = await self._socket.receive()
        except (aiohttp.ClientError, OSError) as error:
            raise self._lost(error) from error
        if message.type is not aiohttp.WSMsgType.TEXT:
            # The end of a program is said; whatever else ends a connection has broken it.
            raise self._lost(self._socket.exception() or message.extra or message.type.name)
        try:
            said = json.loads(message.data)
        except ValueError as error:
            raise self._lost("it speaks no JSON") from error
        if not isinstance(said, dict):
            raise self._lost("it says no object")
        return said

    def _take(self, said: Mapping[str, Any]) -> bytes:
        output, beside = said.get("stdout"), said.get("stderr")
        if isinstance(beside, dict):
            self._words = (self._words + self._bytes(beside.get("data")))[-_MOST_WORDS:]
        self._over |= bool(said.get("exited"))
        if not isinstance(output, dict):
            return b""
        self._over |= output.get("close") is True
        return self._bytes(output.get("data"))

    def _bytes(self, text: object) -> bytes:
        try:
            return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
        except binascii.Error as error:
            raise self._lost("its bytes are no base64") from error

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
            await self._socket.send_str(_END)
        except (aiohttp.ClientError, OSError) as error:
            self._broken = self._lost(error)
        self._nothing.set()

    async def _send_all(self) -> None:
        """What is there; or nothing, for Nomad ends a session in which nothing is said."""
        if not self._unsent:
            await self._socket.send_str("{}")
        while piece := bytes(self._unsent[:_PIECE]):
            text = base64.b64encode(piece).decode()
            await self._socket.send_str(f'{{"stdin":{{"data":"{text}"}}}}')
            del self._unsent[:_PIECE]
        self._nothing.set()

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
        return ConnectionLost("the connection by Nomad broke", detail=detail)

    async def aclose(self) -> None:
        """Close both directions. What was handed over still arrives: the program ends after it."""
        if self._closed:
            return
        self._closed = True
        _empty(self._pieces)
        self._something.set()
        await asyncio.wait([self._sender, self._listener], timeout=_SECONDS_TO_CLOSE)
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(_SECONDS_TO_CLOSE):
                await self._socket.close()
        for task in (self._sender, self._listener):
            task.cancel()
        await asyncio.wait([self._sender, self._listener])


def _empty(pieces: asyncio.Queue[bytes | ConnectionLost]) -> None:
    while not pieces.empty():
        pieces.get_nowait()
