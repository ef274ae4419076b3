"""Two ends of a stream of bytes in memory, as bounded as a socket's."""

from __future__ import annotations

import asyncio
from typing import Final

from assay.domain.errors import ConnectionLost

CAPACITY: Final = 212_992
"""Bytes under way in one direction: what Linux gives a UNIX socket."""


class _Lane:
    """One direction: a buffer with one reader and one writer."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._buffer = bytearray()
        self._changed = asyncio.Event()
        self.ended = False
        self.broken = False

    def put(self, data: bytes | bytearray | memoryview) -> int:
        if self.ended or self.broken:
            raise ConnectionLost("the connection to the agent broke")
        room = self._capacity - len(self._buffer)
        if room <= 0:
            return 0
        self._buffer += data[:room]
        self.ring()
        return min(room, len(data))

    def take(self, most: int) -> bytes | None:
        if self.broken:
            raise ConnectionLost("the connection to the agent broke")
        if self._buffer:
            data = bytes(self._buffer[:most])
            del self._buffer[:most]
            self.ring()
            return data
        return b"" if self.ended else None

    async def change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def ring(self) -> None:
        self._changed.set()


class MemoryStream:
    """A ByteStream (with DirectWrites) between two coroutines of one event loop."""

    def __init__(self, incoming: _Lane, outgoing: _Lane) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False

    async def read(self, most: int) -> bytes:
        """Return 1 to `most` bytes, or b"" at the end."""
        while not self._closed:
            data = self._incoming.take(most)
            if data is not None:
                return data
            await self._incoming.change()
        raise ConnectionLost("the connection to the agent was closed")

    def try_write(self, data: bytes | bytearray | memoryview) -> int:
        """Hand over what fits and return how many bytes that were."""
        if self._closed:
            raise ConnectionLost("the connection to the agent was closed")
        return self._outgoing.put(data)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand over all of `data`."""
        view = memoryview(data)
        while view := view[self.try_write(view) :]:
            await self._outgoing.change()

    def end_writing(self) -> None:
        """Let the other side read to the end; reading goes on."""
        self._outgoing.ended = True
        self._outgoing.ring()

    def offer(self, data: bytes) -> None:
        """Write if that needs no waiting and the stream is whole."""
        if not self._closed and not self._outgoing.ended and not self._outgoing.broken:
            self._outgoing.put(data)

    async def aclose(self) -> None:
        """Close both directions; what was written before can still be read."""
        self.shut()

    def shut(self) -> None:
        """Close both directions, without being a coroutine."""
        self._closed = True
        for lane in (self._incoming, self._outgoing):
            lane.ended = True
            lane.ring()

    def cut(self) -> None:
        """Break both directions, losing what is under way."""
        for lane in (self._incoming, self._outgoing):
            lane.broken = True
            lane.ring()


def stream_pair(capacity: int = CAPACITY) -> tuple[MemoryStream, MemoryStream]:
    """Make two connected streams, each of which holds at most `capacity` bytes under way."""
    there, back = _Lane(capacity), _Lane(capacity)
    return MemoryStream(back, there), MemoryStream(there, back)
