"""One TLS connection of the link: frames at first, then bytes as they come."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, Final, cast

from assay.domain.errors import ConnectionLost, ProtocolViolation
from assay.link.frames import frame, take_frame

HOLD_BYTES: Final = 262_144
"""Of what came and nobody has read, before the other side has to wait."""
SECONDS_TO_SHAKE_HANDS: Final = 5.0
SECONDS_TO_CLOSE: Final = 2.0
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 12_000),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)
"""A machine that is gone closes nothing: without an answer for 14 seconds, a connection is over."""


class LinkStream(asyncio.Protocol):
    """A ByteStream that begins with frames. One reads and one writes at a time.

    `on_open` is told once the handshake is over. Who closes, closes both directions, as an agent
    and its host do; what was sent before still arrives.
    """

    def __init__(self, on_open: Callable[[LinkStream], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self.last_heard = self._loop.time()
        """When something came last."""
        self.on_gone: Callable[[], None] | None = None
        """Called once the connection is over."""
        self._on_open = on_open
        self._transport: asyncio.Transport | None = None
        self._held = bytearray()
        self._paused = False
        self._ended = False
        self._error: ConnectionLost | None = None
        self._reading: asyncio.Future[None] | None = None
        self._draining: asyncio.Future[None] | None = None
        self._full = False
        self._gone = asyncio.Event()
        self._on_bytes: Callable[[bytes], None] | None = None
        self._on_end: Callable[[ConnectionLost | None], None] | None = None

    # --- what the transport says -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        # (uvloop's are of no class of asyncio's.)
        self._transport = opened = cast("asyncio.Transport", transport)
        # What is handed over has left this process. (With 0, TLS would pause for ever.)
        opened.set_write_buffer_limits(high=1, low=0)
        found = transport.get_extra_info("socket")
        for option in _KEEPALIVE:
            with contextlib.suppress(OSError, AttributeError):
                found.setsockopt(*option)
        self.last_heard = self._loop.time()
        if self._on_open is not None:
            self._on_open(self)

    def data_received(self, data: bytes) -> None:
        """Something came."""
        self.last_heard = self._loop.time()
        if self._on_bytes is not None and not self._paused and not self._held:
            self._on_bytes(data)
            return
        self._held += data
        if len(self._held) > HOLD_BYTES:
            self._stop()
        self._wake()

    def eof_received(self) -> bool:
        """The other side has closed, or was killed: event loops don't tell which."""
        self._ended = True
        self._finish(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over: closed by us, or cut."""
        self._gone.set()
        if self.on_gone is not None:
            self.on_gone()
        if not self._ended:
            self._error = self._error or ConnectionLost(
                "the connection of the link broke", detail=str(exc or "cut off")
            )
        if self._draining is not None and not self._draining.done():
            self._draining.set_exception(self._error or _closed())
        self._finish(self._error)

    def pause_writing(self) -> None:
        """The other side is slow."""
        self._full = True

    def resume_writing(self) -> None:
        """It is not, any more."""
        self._full = False
        if self._draining is not None and not self._draining.done():
            self._draining.set_result(None)

    def _finish(self, error: ConnectionLost | None) -> None:
        self._wake()
        if self._held and self._on_bytes is not None:
            return  # `_hand_over` tells of the end, after these
        on_end, self._on_bytes, self._on_end = self._on_end, None, None
        if on_end is not None:
            on_end(error)

    def _wake(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    def _stop(self) -> None:
        if not self._paused and self._transport is not None and not self._gone.is_set():
            self._paused = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            if not self._gone.is_set():
                self._transport.resume_reading()

    # --- who is on the other side ----------------------------------------------------------------

    @property
    def certificate(self) -> Any:
        """Of the other side, verified, as `SSLSocket.getpeercert` shows it."""
        assert self._transport is not None
        return self._transport.get_extra_info("peercert")

    # --- frames ----------------------------------------------------------------------------------

    async def frame(self, most: int) -> bytes:
        """The next frame. Raises ConnectionLost at the end, ProtocolViolation for one of more than
        `most` bytes.
        """
        while (content := take_frame(self._held, most)) is None:
            if self._ended or self._error is not None:
                raise self._error or _ended()
            self._go_on()
            await self._wait()
            # One that is longer than what is held otherwise comes in parts.
        if len(self._held) <= HOLD_BYTES:
            self._go_on()
        return content

    async def send(self, content: bytes) -> None:
        """Send a frame, and wait while the other side is slow. Raises ConnectionLost."""
        await self.write(frame(content))

    # --- bytes -----------------------------------------------------------------------------------

    async def read(self, most: int) -> bytes:
        """Return 1 to `most` bytes, or b"" once the other side has closed."""
        while not self._held:
            if self._ended:
                return b""
            if self._error is not None:
                raise self._error
            self._go_on()
            await self._wait()
        data = bytes(self._held[:most])
        del self._held[:most]
        return data

    async def _wait(self) -> None:
        reading = self._reading = self._loop.create_future()
        try:
            await reading
        finally:
            self._reading = None

    def try_write(self, data: bytes | bytearray | memoryview) -> int:
        """Hand over all of it, unless what came before is still on its way."""
        transport = self._open()
        if self._full or transport.get_write_buffer_size() > 0:
            return 0
        transport.write(data)
        return len(data)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand over all of `data`."""
        self._open().write(data)
        while self._full:
            draining = self._draining = self._loop.create_future()
            try:
                await draining
            finally:
                self._draining = None

    def _open(self) -> asyncio.Transport:
        if self._error is not None:
            raise self._error
        if self._transport is None or self._ended or self._transport.is_closing():
            raise _closed()
        return self._transport

    def listen(
        self,
        on_bytes: Callable[[bytes], None],
        on_end: Callable[[ConnectionLost | None], None],
    ) -> None:
        """Call `on_bytes` with what comes, and `on_end` once, in place of `read`."""
        self._on_bytes, self._on_end = on_bytes, on_end
        self._go_on()
        if self._held or self._ended or self._error is not None:
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """What came before anybody listened, or while they paused."""
        if self._on_bytes is None or self._paused:
            return
        if self._held:
            data = bytes(self._held)
            self._held.clear()
            self._on_bytes(data)
        if (self._ended or self._error is not None) and not self._held:
            self._finish(None if self._ended else self._error)

    def pause(self) -> None:
        """Hand over nothing until `resume`."""
        self._stop()
        self._paused = True

    def resume(self) -> None:
        """Go on handing over."""
        self._go_on()
        self._loop.call_soon(self._hand_over)

    # --- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close both directions; nothing is handed over after this, no end either."""
        self._on_bytes = self._on_end = None
        if not self._ended:
            self._error = self._error or _closed()
        self._wake()
        if self._transport is not None:
            self._transport.close()

    def abort(self, error: ConnectionLost) -> None:
        """Close at once, for this reason; what was not sent is lost."""
        self._error = self._error or error
        if self._transport is not None:
            self._transport.abort()

    async def aclose(self) -> None:
        """Close; who waits in `read` or `write`, or listens, gets ConnectionLost."""
        on_end = self._on_end
        self.close()
        if on_end is not None:
            on_end(_closed())
        if self._transport is None or self._gone.is_set():
            return
        try:
            async with asyncio.timeout(SECONDS_TO_CLOSE):
                await self._gone.wait()
        except TimeoutError:
            self._transport.abort()


def violation(error: ProtocolViolation) -> ConnectionLost:
    """The end of a connection whose other side breaks the protocol."""
    return ConnectionLost("the other side broke the protocol of the link", detail=error.message)


def _ended() -> ConnectionLost:
    return ConnectionLost("the other side has closed the connection of the link")


def _closed() -> ConnectionLost:
    return ConnectionLost("the connection of the link was closed")
