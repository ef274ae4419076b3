"""An HTTP client whose connections are byte streams into a sandbox.

aiohttp wants a socket: it gets one end of a pair, the other is pumped from and to the stream. The
buffers of the kernel are all that is kept, so a slow side slows down the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from assay.domain.errors import AssayError, ConnectionLost
from assay.driver.port import ByteStream
from assay.driver.stream import SocketStream

HEADERS_MOST: Final = 100
"""Header fields of an answer."""
FIELD_BYTES: Final = 8190
"""Bytes of one header field."""
_PIECE: Final = 64 * 1024
_CONNECT_SECONDS: Final = 10.0

Opener = Callable[[], Awaitable[ByteStream]]


class Tunnel:
    """Connects by streams of an opener; remembers why one of them failed."""

    def __init__(self, opener: Opener) -> None:
        self.failure: AssayError | None = None
        self._opener = opener
        self._streams: list[ByteStream] = []
        self._pumps: list[asyncio.Task[None]] = []

    async def connect(self, factory: Callable[[], ResponseHandler]) -> ResponseHandler:
        """Open a stream and return the protocol at the near end of it."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                stream = await self._opener()
        except TimeoutError as error:
            self.failure = ConnectionLost("the sandbox took too long to open its port")
            raise aiohttp.ClientConnectionError from error
        except AssayError as error:
            self.failure = error
            raise aiohttp.ClientConnectionError from error
        near, far = socket.socketpair()
        near.setblocking(False)
        self._connect(SocketStream(far), far, stream)
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_unix_connection(factory, sock=near)
        return protocol

    def _connect(self, ours: SocketStream, our_socket: socket.socket, stream: ByteStream) -> None:
        self._streams += (ours, stream)
        self._pumps += (
            asyncio.create_task(self._send(ours, stream)),
            asyncio.create_task(self._receive(stream, ours, our_socket)),
        )

    async def aclose(self) -> None:
        """Close every stream, even when cancelled meanwhile."""
        closing = asyncio.ensure_future(self._close())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.wait((closing,))
            raise

    async def _close(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        if self._pumps:
            await asyncio.wait(self._pumps)
        for stream in self._streams:
            await stream.aclose()

    async def _send(self, ours: ByteStream, stream: ByteStream) -> None:
        # Who does not listen any more may answer all the same; see _receive for why.
        with contextlib.suppress(AssayError):
            await _copy(ours, stream)

    async def _receive(
        self, stream: ByteStream, ours: ByteStream, our_socket: socket.socket
    ) -> None:
        try:
            await _copy(stream, ours)
        except AssayError as error:
            self.failure = error
        # Not closed: what was not sent on yet would be an error at the near end, before its time.
        with contextlib.suppress(OSError):
            our_socket.shutdown(socket.SHUT_WR)


async def _copy(source: ByteStream, target: ByteStream) -> None:
    while data := await source.read(_PIECE):
        await target.write(data)


class _Connector(aiohttp.BaseConnector):
    """Makes each connection through the tunnel, and uses none of them twice."""

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__(force_close=True, limit=1)
        self._tunnel = tunnel

    async def _create_connection(
        self, req: object, traces: object, timeout: object
    ) -> ResponseHandler:
        return await self._tunnel.connect(self._factory)


@contextlib.asynccontextmanager
async def client_through(opener: Opener) -> AsyncIterator[tuple[aiohttp.ClientSession, Tunnel]]:
    """Make an HTTP client that connects by `opener`, keeps no cookies, and decodes nothing."""
    tunnel = Tunnel(opener)
    session = aiohttp.ClientSession(
        connector=_Connector(tunnel),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        raise_for_status=False,
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_line_size=FIELD_BYTES,
        max_field_size=FIELD_BYTES,
        max_headers=HEADERS_MOST,
    )
    try:
        yield session, tunnel
    finally:
        try:
            await session.close()
        finally:
            await tunnel.aclose()
