"""Streams to the agent of a machine, over ports that know no connections: see agent/relay.c."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from typing import Final

from assay.domain.errors import ConnectionLost
from assay.driver.stream import SocketStream
from assay.drivers.microvm.folder import MachineFolder

NONCE_BYTES: Final = 16
_HEAD: Final = 4
_MOST: Final = 32768
_READ: Final = 65536
_STALE_MOST: Final = 16 * 1024 * 1024
"""Of an earlier connection, what can still be on its way; a machine that sends more is broken."""


class LinkStream:
    """A ByteStream over one of the ports, which is ours until it is closed."""

    def __init__(self, connected: socket.socket, lock: int) -> None:
        self._socket = SocketStream(connected)
        self._lock = lock
        self._came = bytearray()
        self._ready = bytearray()
        self._ended = False

    async def begin(self, token: bytes) -> None:
        """Tell the machine that a new connection begins, and pass over what is left of others.

        Raises ConnectionLost.
        """
        nonce, stale = secrets.token_bytes(NONCE_BYTES), 0
        await self._socket.write(token + nonce)
        while (found := self._came.find(nonce)) < 0:
            kept = len(self._came) - NONCE_BYTES
            if kept > 0:
                stale += kept
                del self._came[:kept]
            data = await self._socket.read(_READ)
            if not data or stale > _STALE_MOST:
                raise ConnectionLost("the machine does not answer at its port")
            self._came += data
        del self._came[: found + NONCE_BYTES]
        self._unpack()

    async def read(self, most: int) -> bytes:
        """Return 1 to `most` bytes, or b"" once the agent has closed."""
        while not self._ready and not self._ended:
            data = await self._socket.read(_READ)
            if not data:
                return b""
            self._came += data
            self._unpack()
        data = bytes(self._ready[:most])
        del self._ready[:most]
        return data

    def _unpack(self) -> None:
        at = 0
        while not self._ended and len(self._came) - at >= _HEAD:
            length = int.from_bytes(self._came[at : at + _HEAD], "little")
            if length > _MOST:
                raise ConnectionLost("the machine sent what is no piece of a stream")
            if len(self._came) - at < _HEAD + length:
                break
            self._ready += self._came[at + _HEAD : at + _HEAD + length]
            self._ended = length == 0
            at += _HEAD + length
        del self._came[:at]

    def try_write(self, data: bytes | memoryview) -> int:
        """Hand over what fits now."""
        return self._socket.try_write(data)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand over all of `data`."""
        await self._socket.write(data)

    async def aclose(self) -> None:
        """Close it, and leave the port to others."""
        await self._socket.aclose()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


async def open_port(folder: MachineFolder, seconds: float) -> LinkStream:
    """A stream over the first port that nobody else has. Raises SandboxGone or ConnectionLost."""
    deadline = time.monotonic() + seconds
    while (dialled := folder.dial()) is None:
        if time.monotonic() > deadline:
            raise ConnectionLost("all ways to the agent are in use")
        await asyncio.sleep(0.02)
    return await open_link(*dialled, folder.token(), max(1.0, deadline - time.monotonic()))


async def open_link(
    connected: socket.socket, lock: int, token: bytes, seconds: float
) -> LinkStream:
    """A stream over a port that was just connected to. Raises ConnectionLost."""
    link = LinkStream(connected, lock)
    try:
        async with asyncio.timeout(seconds):
            await link.begin(token)
    except TimeoutError as error:
        await link.aclose()
        raise ConnectionLost("the machine does not answer in time at its port") from error
    except BaseException:
        await link.aclose()
        raise
    return link
