"""A ByteStream over a connected socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Protocol, runtime_checkable

from assay.domain.errors import ConnectionLost


@runtime_checkable
class DirectWrites(Protocol):
    """What a ByteStream may offer besides: writing without waiting.

    Who has it can answer a caller without a task switch; a stream without it works as well.
    """

    def try_write(self, data: bytes | memoryview) -> int:
        """Hand over what fits now and return how many bytes that were, perhaps 0.

        Not while a `write` is under way. Raises ConnectionLost when the stream is broken.
        """
        ...


class SocketStream:
    """A ByteStream over a connected stream socket, which it owns from then on.

    The socket stays registered with the event loop between reads, which `loop.sock_recv` would
    not do: that saves two system calls for every message.
    """

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._watched = False
        self._most = 0
        self._reading: asyncio.Future[bytes] | None = None
        self._writing: asyncio.Future[None] | None = None
        self._left = b""
        self._drained = False

    async def read(self, most: int) -> bytes:
        """Return 1 to `most` bytes, or b"" at the end."""
        if self._left:
            data, self._left = self._left[:most], self._left[most:]
            return data
        if not self._drained:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                return self._receive(most)
        return await self._wait_for_bytes(most)

    def _receive(self, most: int) -> bytes:
        try:
            data: bytes = self._socket.recv(most)
        except (BlockingIOError, InterruptedError):
            raise
        except OSError as error:
            raise _broken(error) from error
        # A short read emptied the socket: asking again at once would only cost a system call.
        self._drained = 0 < len(data) < most
        return data

    async def _wait_for_bytes(self, most: int) -> bytes:
        self._check_open()
        self._most = most
        reading: asyncio.Future[bytes] = self._loop.create_future()
        self._reading = reading
        if not self._watched:
            self._loop.add_reader(self._socket.fileno(), self._on_readable)
            self._watched = True
        try:
            data = await reading
        except asyncio.CancelledError:
            # The bytes may have come in the same turn of the loop; the next read gets them.
            if reading.done() and not reading.cancelled() and reading.exception() is None:
                self._left = reading.result()
            raise
        finally:
            self._reading = None
        return data

    def _on_readable(self) -> None:
        if self._reading is None or self._reading.done():
            self._unwatch()
            self._drained = False
            return
        try:
            self._reading.set_result(self._receive(self._most))
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionLost as error:
            self._reading.set_exception(error)

    def _unwatch(self) -> None:
        if self._watched:
            self._loop.remove_reader(self._socket.fileno())
            self._watched = False

    def try_write(self, data: bytes | bytearray | memoryview) -> int:
        """Hand over what fits into the socket's buffer and return how many bytes that were."""
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise _broken(error) from error

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand over all of `data`."""
        view = memoryview(data)
        while view := view[self.try_write(view) :]:
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        descriptor = self._socket.fileno()
        writing = self._writing = self._loop.create_future()
        self._loop.add_writer(descriptor, _finish, writing)
        try:
            await writing
        finally:
            self._writing = None
            if self._socket.fileno() == descriptor:
                self._loop.remove_writer(descriptor)

    async def aclose(self) -> None:
        """Close the socket; who waits in `read` or `write` gets ConnectionLost."""
        if self._socket.fileno() < 0:
            return
        self._unwatch()
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for waiting in (self._reading, self._writing):
            if waiting is not None and not waiting.done():
                waiting.set_exception(_closed())

    def _check_open(self) -> None:
        if self._socket.fileno() < 0:
            raise _closed()


def _finish(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _broken(error: OSError) -> ConnectionLost:
    return ConnectionLost("the connection to the agent broke", detail=str(error))


def _closed() -> ConnectionLost:
    return ConnectionLost("the connection to the agent was closed")
