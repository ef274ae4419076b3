"""Ports of a sandbox as ports of this machine: listeners, and tunnels with back-pressure."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from assay.domain.errors import AssayError, ConnectionLost
from assay.domain.lease import PortMapping
from assay.driver.port import ByteStream

CONNECTIONS_MOST: Final = 32
"""At one time to the ports of one runner; who comes then is hung up on."""
_PIECE: Final = 65_536


class HasPorts(Protocol):
    """What can open a stream to a port of a sandbox."""

    async def open_port(self, port: int) -> ByteStream:
        """Open it."""
        ...


class Tunnel:
    """A stream to a port that says when it carries something, and when it is closed."""

    def __init__(
        self, stream: ByteStream, *, on_closed: Callable[[], None], on_bytes: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._on_closed: Callable[[], None] | None = on_closed
        self._on_bytes = on_bytes

    async def read(self, most: int) -> bytes:
        """Return 1 to `most` bytes, or b"" once the program has closed its side."""
        data = await self._stream.read(most)
        self._on_bytes()
        return data

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand over all of `data`; waits while the program is slow to read."""
        self._on_bytes()
        await self._stream.write(data)

    async def end_input(self) -> None:
        """Say that nothing more will be written; reading goes on."""
        end = getattr(self._stream, "end_input", None)
        if end is not None:
            await end()

    async def aclose(self) -> None:
        """Close both directions."""
        if self._on_closed is not None:
            closed, self._on_closed = self._on_closed, None
            await self._stream.aclose()
            closed()


class MappedPorts:
    """The listeners of one runner. Who can connect to them can talk to the learner's program."""

    def __init__(self, runner: HasPorts) -> None:
        # Weakly: a pair that knows each other would wait for the garbage collector.
        self._runner: HasPorts = weakref.proxy(runner)
        self._servers: list[asyncio.Server] = []
        self._closed = False
        self._connections: set[asyncio.Task[None]] = set()

    async def open(
        self, host: str, exposed: Sequence[int], former: Sequence[PortMapping] = ()
    ) -> tuple[PortMapping, ...]:
        """Listen on `host`: where it did before if that is free, else wherever there is room."""
        before = {mapping.exposed_port: mapping.port for mapping in former}
        mapped = []
        for port in exposed:
            server = await self._listen(host, port, before.get(port, 0))
            if self._closed:  # the lease came to its end meanwhile
                server.close()
                break
            self._servers.append(server)
            ours = server.sockets[0].getsockname()[1]
            mapped.append(PortMapping(exposed_port=port, host=host, port=ours))
        return tuple(mapped)

    async def _listen(self, host: str, exposed: int, wanted: int) -> asyncio.Server:
        async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(exposed, reader, writer)

        if wanted:
            with contextlib.suppress(OSError):
                return await asyncio.start_server(on_connection, host, wanted)
        return await asyncio.start_server(on_connection, host, 0)

    def close(self) -> None:
        """Listen no more, and hang up."""
        self._closed = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        for task in self._connections:
            task.cancel()

    async def _serve(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._connections) < CONNECTIONS_MOST and self._servers:
                self._connections.add(task)
                # Cancelled: the lease is over. The rest: there's nobody to tell but by hanging up.
                with contextlib.suppress(AssayError, OSError, asyncio.CancelledError):
                    await self._carry(await self._runner.open_port(port), reader, writer)
        finally:
            self._connections.discard(task)
            writer.transport.abort() if writer.is_closing() else writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _carry(
        self, stream: ByteStream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_up(reader, stream))
                both.create_task(_down(stream, writer))
        except* (AssayError, OSError):
            writer.transport.abort()
        finally:
            await stream.aclose()


async def _up(reader: asyncio.StreamReader, stream: ByteStream) -> None:
    while data := await reader.read(_PIECE):
        await stream.write(data)
    if isinstance(stream, Tunnel):
        await stream.end_input()


async def _down(stream: ByteStream, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionLost):  # nothing listens there: the end, and no more
        while data := await stream.read(_PIECE):
            writer.write(data)
            await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
