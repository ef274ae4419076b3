"""A ByteStream over a connected socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final, Protocol, TypeGuard, runtime_checkable

from assay.domain.errors import ConnectionLost

LISTEN_BYTES: Final = 262_144
"""What `DirectReads` hands over at one time, at most."""


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


@runtime_checkable
class DirectReads(Protocol):
    """What a ByteStream may offer besides: handing over what comes, in place of `read`.

    Who has it gets bytes without a task that waits for them.
    """

    def listen(
        self,
        on_bytes: Callable[[bytes], None],
        on_end: Callable[[ConnectionLost | None], None],
    ) -> None:
        """From now on call `on_bytes` with what comes, one turn of the event loop for each call.

        At the end comes `on_end`, once, with the reason if it broke. Nobody may `read` any more.
        """
        ...

    def pause(self) -> None:
        """Hand over nothing until `resume`."""
        ...

    def resume(self) -> None:
        """Go on handing over."""
        ...

    def close(self) -> None:
        """Close both directions at once; nothing is handed over after this, no end either."""
        ...


_writers: dict[type, bool] = {}
_readers: dict[type, bool] = {}
"""To look takes longer than many a write, so each type is asked once."""


def writes_directly(stream: object) -> TypeGuard[DirectWrites]:
    """Whether it offers that."""
    kind = type(stream)
    if kind not in _writers:
        _writers[kind] = issubclass(kind, DirectWrites)
    return _writers[kind]


def reads_directly(stream: object) -> TypeGuard[DirectReads]:
    """Whether it offers that."""
    kind = type(stream)
    if kind not in _readers:
        _readers[kind] = issubclass(kind, DirectReads)
    return _readers[kind]


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
        self._on_bytes: Callable[[bytes], None] | None = None
        self._on_end: Callable[[ConnectionLost | None], None] | None = None

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

    def listen(
        self,
        on_bytes: Callable[[bytes], None],
        on_end: Callable[[ConnectionLost | None], None],
    ) -> None:
        """Call `on_bytes` with what comes, and `on_end` once, in place of `read`."""
        self._on_bytes, self._on_end = on_bytes, on_end
        self._watched = False  # for `read`: the new registration takes its place
        self.resume()

    def pause(self) -> None:
        """Hand over nothing until `resume`."""
        self._unwatch()

    def resume(self) -> None:
        """Go on handing over."""
        if not self._watched and self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket.fileno(), self._hand_over)
            self._watched = True
            if self._left:  # of a read that was cancelled
                self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        if self._on_bytes is None or self._on_end is None or not self._watched:
            return
        try:
            data, self._left = self._left or self._socket.recv(LISTEN_BYTES), b""
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._unwatch()
            self._on_end(_broken(error))
            return
        if data:
            self._on_bytes(data)
        else:
            self._unwatch()
            self._on_end(None)

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
        """Close the socket; who waits in `read` or `write`, or listens, gets ConnectionLost."""
        on_end = self._on_end
        self.close()
        if on_end is not None:
            on_end(_closed())

    def close(self) -> None:
        """Close the socket; who listens hears nothing more."""
        if self._socket.fileno() < 0:
            return
        self._unwatch()
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._on_bytes = self._on_end = None
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
