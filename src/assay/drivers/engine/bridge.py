"""A byte stream through an engine: the input and output of `agent bridge` in a container.

An engine's output comes in pieces, each with a head of 8 bytes: which stream it is of, its length.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote

from assay.domain.errors import ConnectionLost, RuntimeFailed
from assay.drivers.engine.engine import API, Engine

_HEAD: Final = struct.Struct(">BxxxI")
_OUTPUT: Final = 1
_MOST_BYTES: Final = 1 << 20
"""Of a piece; engines copy 32 KiB at a time."""
_MOST_HEADERS: Final = 16384
_MOST_WORDS: Final = 1000
_STARTED: Final = (101, 200)
_SECONDS_TO_CLOSE: Final = 1.0


class BridgeStream:
    """A ByteStream over a connection that an engine has given over to a program's streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        # What is handed over has left this process. (With 0, TLS would pause for ever.)
        writer.transport.set_write_buffer_limits(high=1, low=0)
        self._closed = False
        self._left = 0
        self._words = b""

    async def read(self, most: int) -> bytes:
        """Return 1 to `most` bytes, or b"" at the end."""
        with self._lost():
            while self._left == 0:
                if not await self._next_piece():
                    return b""
            data = await self._reader.read(min(most, self._left))
        if not data:
            raise ConnectionLost("the engine broke off in the middle of a piece")
        self._left -= len(data)
        return data

    async def _next_piece(self) -> bool:
        try:
            kind, size = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return False
        if size > _MOST_BYTES:
            raise ConnectionLost(f"the engine announced a piece of {size} bytes")
        if kind == _OUTPUT:
            self._left = size
        else:  # the program's last words
            self._words = (self._words + await self._reader.readexactly(size))[-_MOST_WORDS:]
        return True

    @property
    def words(self) -> str:
        """What the program had to say beside."""
        return self._words.decode(errors="replace").strip()

    @property
    def ended(self) -> bool:
        """Whether nothing more will be read."""
        return self._reader.at_eof()

    def try_write(self, data: bytes | memoryview) -> int:
        """Hand over all of it, unless what came before is still on its way."""
        transport = self._writer.transport
        if transport.is_closing():
            raise ConnectionLost("the connection to the engine was closed")
        if transport.get_write_buffer_size() > 0:
            return 0
        self._writer.write(data)
        return len(data)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand over all of `data`."""
        with self._lost():
            self._writer.write(data)
            await self._writer.drain()

    @contextlib.contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except (OSError, asyncio.IncompleteReadError) as error:
            detail = f"{error}\n{self.words}".strip()
            raise ConnectionLost("the connection to the engine broke", detail=detail) from error

    async def aclose(self) -> None:
        """Close both directions. What was handed over still arrives, if the engine takes it."""
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        try:
            async with asyncio.timeout(_SECONDS_TO_CLOSE):
                await self._writer.wait_closed()
        except TimeoutError:
            self._writer.transport.abort()
        except OSError:
            pass


async def start_program(engine: Engine, container: str, command: Sequence[str]) -> BridgeStream:
    """Start a program in a container, as its root; the stream is its input and output.

    Raises what `Engine.ask` does, RuntimeFailed where the container does not run.
    """
    number = await asyncio.to_thread(engine.prepare, container, command)
    path = f"/{API}/exec/{quote(number, safe='')}/start"
    body = json.dumps({"Detach": False, "Tty": False}).encode()
    request = (
        f"POST {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n"
        f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with engine.explained("POST", path):
        reader, writer = await engine.endpoint.open(engine.seconds)
        try:
            async with asyncio.timeout(engine.seconds):
                writer.write(request.encode() + body)
                await writer.drain()
                await _expect_start(reader)
        except BaseException:
            writer.transport.abort()
            raise
    return BridgeStream(reader, writer)


async def _expect_start(reader: asyncio.StreamReader) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ValueError("its answer is not whole") from error
    words = head.split(b" ", 2)
    if len(head) > _MOST_HEADERS or len(words) < 3 or not words[1].isdigit():
        raise ValueError("its answer is none of HTTP")
    if int(words[1]) not in _STARTED:
        said = await reader.read(_MOST_WORDS)
        detail = f"{words[1].decode()}: {said.decode(errors='replace').strip()}"
        raise RuntimeFailed("the engine starts no program in the container", detail=detail)
