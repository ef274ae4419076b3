"""The cheapest HTTP and WebSocket that does: what the generator takes, the server can't have.

Only what Assay's server sends is understood. aiohttp's client takes several times as much for
the same (decision 0050).
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import Callable
from typing import Final, cast
from urllib.parse import urlsplit

from assay.domain.errors import InvalidInput

SUBPROTOCOL: Final = "assay.v1"
CONNECT_SECONDS: Final = 10.0
LINGER_SECONDS: Final = 5.0
NO_CLOSE_FRAME: Final = 1006
_MOST_OF_A_HEAD: Final = 65536
_MOST_OF_A_BODY: Final = 64 * 1024 * 1024
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10


class Lost(Exception):
    """The connection could not be made, or ended before the answer."""


Frame = str | bytes
OnFrame = Callable[[Frame], None]
OnClose = Callable[[int], None]


class Address:
    """Where a server is, and what each request begins with."""

    def __init__(self, url: str, token: str) -> None:
        """Raises InvalidInput."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise InvalidInput(f"{url!r} is no address; one looks like http://127.0.0.1:7200")
        self.host = parts.hostname
        self.port = port or (443 if parts.scheme == "https" else 80)
        self.ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self.path = parts.path.rstrip("/").removesuffix("/api/v1") + "/api/v1"
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        self.headers = (
            f"Host: {parts.netloc}\r\n{authorization}Accept: application/problem+json\r\n"
        )


class Connection(asyncio.Protocol):
    """One connection: requests one after the other, until it becomes a WebSocket."""

    def __init__(self) -> None:
        self.open = False
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._socket: WebSocket | None = None

    # --- asyncio's ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is none by class
        self.open = True

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Lost("the connection ended before the answer"))
        if self._socket is not None:
            self._socket.lost()

    def data_received(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.feed(data)
            return
        self._buffer += data
        self._read_answer()

    # --- ours ----------------------------------------------------------------------------------

    async def request(self, data: bytes) -> tuple[int, bytes]:
        """Send a request; its status and body. Raises Lost."""
        if self._transport is None or not self.open:
            raise Lost("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.abort()
            raise

    def become(self, socket: WebSocket) -> None:
        """From now on this is a WebSocket; what came already belongs to it."""
        self._socket = socket
        if self._buffer:
            data, self._buffer = bytes(self._buffer), bytearray()
            socket.feed(data)

    def write(self, data: bytes) -> None:
        """Send, if it is open."""
        if self._transport is not None and self.open:
            self._transport.write(data)

    def close(self) -> None:
        """Close once all is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _read_answer(self) -> None:
        answer = self._answer
        end = self._buffer.find(b"\r\n\r\n")
        if answer is None or answer.done() or end < 0:
            if len(self._buffer) > _MOST_OF_A_HEAD:
                self._fail("an answer without an end of its head")
            return
        head = bytes(self._buffer[:end]).lower()
        status = int(head[9:12]) if head[9:12].isdigit() else 0
        length = _content_length(head)
        if not status or length > _MOST_OF_A_BODY or b"\r\ntransfer-encoding:" in head:
            self._fail("an answer that this client does not understand")
            return
        if len(self._buffer) >= end + 4 + length:
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            if b"\r\nconnection: close" in head:
                self.close()
                self.open = False
            answer.set_result((status, body))

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Lost(why))
        self.abort()


def _content_length(head: bytes) -> int:
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


class WebSocket:
    """Frames in both directions. `on_close` is called once, with 1006 when there was no word."""

    def __init__(self, connection: Connection, on_frame: OnFrame, on_close: OnClose) -> None:
        self._connection = connection
        self._on_frame, self._on_close = on_frame, on_close
        self._buffer = bytearray()
        self._parts = bytearray()
        self._kind = 0
        self._closed = False

    def send(self, frame: Frame) -> None:
        """Send a text or bytes."""
        if isinstance(frame, str):
            self._send(_TEXT, frame.encode())
        else:
            self._send(_BINARY, frame)

    def close(self) -> None:
        """Say goodbye, and close."""
        if not self._closed:
            self._send(_CLOSE, (1000).to_bytes(2))
            self._ended(1000)

    def linger(self) -> None:
        """All is said: leave it to the server to close, for a while."""
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self.close)

    def _send(self, kind: int, payload: bytes) -> None:
        length = len(payload)
        if length < 126:
            head = bytes((0x80 | kind, 0x80 | length))
        elif length < 65536:
            head = bytes((0x80 | kind, 0xFE)) + length.to_bytes(2)
        else:
            head = bytes((0x80 | kind, 0xFF)) + length.to_bytes(8)
        # A mask of zeros changes nothing: no proxy that it would protect is in between.
        self._connection.write(head + b"\0\0\0\0" + payload)

    def feed(self, data: bytes) -> None:
        """Take in what has come."""
        self._buffer += data
        while not self._closed and self._one():
            pass

    def lost(self) -> None:
        """The connection ended."""
        self._ended(NO_CLOSE_FRAME)

    def _one(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        length, start = buffer[1] & 0x7F, 2
        if length == 126:
            length, start = int.from_bytes(buffer[2:4]), 4
        elif length == 127:
            length, start = int.from_bytes(buffer[2:10]), 10
        if len(buffer) < start + length:
            return False
        kind, last = buffer[0] & 0x0F, bool(buffer[0] & 0x80)
        payload = bytes(buffer[start : start + length])
        del buffer[: start + length]
        self._take(kind, last, payload)
        return True

    def _take(self, kind: int, last: bool, payload: bytes) -> None:
        if kind == _PING:
            self._send(_PONG, payload)
        elif kind == _CLOSE:
            self._send(_CLOSE, payload[:2])
            self._ended(int.from_bytes(payload[:2]) if len(payload) >= 2 else 1005)
        elif kind != _PONG:
            self._kind = kind or self._kind
            self._parts += payload
            if last:
                whole, self._parts = bytes(self._parts), bytearray()
                self._on_frame(whole.decode() if self._kind == _TEXT else whole)

    def _ended(self, code: int) -> None:
        if not self._closed:
            self._closed = True
            self._connection.close()
            self._on_close(code)


class Http:
    """Requests to one server as one token, over connections that are kept."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: list[Connection] = []

    async def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """The answer's status and body. Raises Lost."""
        connection = self._kept() or await self._connect()
        answer = await connection.request(self._head(method, path, body) + (body or b""))
        if connection.open:
            self._idle.append(connection)
        return answer

    async def websocket(
        self, path: str, on_frame: OnFrame, on_close: OnClose
    ) -> WebSocket | tuple[int, bytes]:
        """A connection of its own; what the server answered instead if it refused. Raises Lost."""
        connection = await self._connect()
        key = base64.b64encode(os.urandom(16)).decode()
        status, body = await connection.request(
            f"GET {self.address.path}{path} HTTP/1.1\r\n{self.address.headers}"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode()
        )
        if status != 101:
            connection.close()
            return status, body
        socket = WebSocket(connection, on_frame, on_close)
        connection.become(socket)
        return socket

    def close(self) -> None:
        """Close what is kept."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _head(self, method: str, path: str, body: bytes | None) -> bytes:
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        kind = "" if body is None else "Content-Type: application/json\r\n"
        return (
            f"{method} {self.address.path}{path} HTTP/1.1\r\n"
            f"{self.address.headers}{kind}{length}\r\n"
        ).encode()

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def _connect(self) -> Connection:
        address = self.address
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, address.host, address.port, ssl=address.ssl
                )
        except (OSError, TimeoutError) as error:
            raise Lost(f"cannot connect: {error}") from error
        return connection
