"""What waits to be written to one connection, the most urgent first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from assay.agent import protocol as wire
from assay.domain.errors import ConnectionLost
from assay.driver.port import ByteStream
from assay.driver.stream import writes_directly

MOST_TOGETHER: Final = 65_536
"""Bytes of urgent frames that go out in one write."""

_Waiting = deque[tuple[bytes, "asyncio.Future[None] | None"]]


class Outbox:
    """The writing half of a connection.

    Whoever sends hands over whole frames and can be cancelled at any time: a frame is sent
    entirely or not at all. When nothing waits and the stream can, a frame is written on the
    spot; otherwise one task writes, which lives for as long as something waits.

    Urgent frames (control, and the input of terminals) overtake bulk ones, of which one is
    under way at a time. Answers to what the agent sends (PONG, ACK) replace those that were not
    sent yet, so an agent that sends and never reads costs no memory.
    """

    def __init__(self, stream: ByteStream, broken: Callable[[ConnectionLost], None]) -> None:
        self._stream = stream
        self._direct = stream if writes_directly(stream) else None
        self._broken = broken
        self._rest: bytes | memoryview = b""
        self._pong: bytes | None = None
        self._acks: dict[int, int] = {}
        self._urgent: _Waiting = deque()
        self._bulk: _Waiting = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._last_sent = asyncio.get_running_loop().time()

    @property
    def last_sent(self) -> float | None:
        """When the stream took something last; None while it takes no more."""
        return self._last_sent if self._task is None else None

    def put(self, frame: bytes, *, urgent: bool = True) -> None:
        """Send a frame, now or as soon as the stream takes it."""
        if not self._at_once(frame) and not self._closed:
            (self._urgent if urgent else self._bulk).append((frame, None))
            self._wake()

    def put_pong(self, payload: bytes) -> None:
        """Answer the newest PING."""
        if not self._at_once(wire.frame(0, wire.PONG, payload)):
            self._pong = payload
            self._wake()

    def put_ack(self, channel: int, offset: int) -> None:
        """Acknowledge output of an execution before `offset`."""
        if not self._at_once(wire.number_frame(channel, wire.ACK, offset)):
            self._acks[channel] = offset
            self._wake()

    def drop_ack(self, channel: int) -> None:
        """Forget an acknowledgement that was not sent; the execution is over."""
        self._acks.pop(channel, None)

    async def send(self, frame: bytes, *, urgent: bool) -> None:
        """Send a frame and return when the stream has taken it.

        Returns as well when the connection is closed. When cancelled, the frame is sent
        all the same.
        """
        if self._at_once(frame) or self._closed:
            return
        sent = asyncio.get_running_loop().create_future()
        (self._urgent if urgent else self._bulk).append((frame, sent))
        self._wake()
        await sent

    def close(self) -> None:
        """Drop what waits, and let go of those who wait for it."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        for _, sent in (*self._urgent, *self._bulk):
            _resolve(sent)
        self._urgent.clear()
        self._bulk.clear()
        self._acks.clear()

    async def finish(self) -> None:
        """After `close`: wait until the task that writes is gone."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    def _at_once(self, frame: bytes) -> bool:
        if self._task is not None or self._direct is None or self._closed:
            return False
        try:
            count = self._direct.try_write(frame)
        except ConnectionLost as error:
            self._broken(error)
            return False
        self._note_sent()
        if count < len(frame):
            self._rest = memoryview(frame)[count:]
            self._wake()
        return True

    def _note_sent(self) -> None:
        self._last_sent = asyncio.get_running_loop().time()

    def _wake(self) -> None:
        if self._task is None and not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        sent: asyncio.Future[None] | None = None
        try:
            while self._rest or self._waiting():
                data, sent = self._next()
                await self._stream.write(data)
                self._note_sent()
                _resolve(sent)
        except ConnectionLost as error:
            self._broken(error)
        except Exception as error:  # a stream that breaks its contract is broken, too
            self._broken(broken_by(error))
        finally:
            _resolve(sent)
            self._task = None

    def _waiting(self) -> bool:
        return bool(self._urgent or self._bulk or self._acks or self._pong is not None)

    def _next(self) -> tuple[bytes | memoryview, asyncio.Future[None] | None]:
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest, None
        answers = self._answers()
        if answers:
            return answers, None
        if self._urgent:
            return self._next_urgent()
        return self._bulk.popleft()

    def _answers(self) -> bytes:
        pong, self._pong = self._pong, None
        acks, self._acks = self._acks, {}
        parts = [] if pong is None else [wire.frame(0, wire.PONG, pong)]
        parts += [wire.number_frame(channel, wire.ACK, offset) for channel, offset in acks.items()]
        return b"".join(parts)

    def _next_urgent(self) -> tuple[bytes, asyncio.Future[None] | None]:
        frame, sent = self._urgent.popleft()
        if sent is not None:
            return frame, sent
        parts, length = [frame], len(frame)
        while self._urgent and self._urgent[0][1] is None and length < MOST_TOGETHER:
            frame, _ = self._urgent.popleft()
            parts.append(frame)
            length += len(frame)
        return b"".join(parts), None


def broken_by(error: Exception) -> ConnectionLost:
    """The error for what no stream should raise."""
    return ConnectionLost("the connection to the agent broke", detail=repr(error))


def _resolve(sent: asyncio.Future[None] | None) -> None:
    if sent is not None and not sent.done():
        sent.set_result(None)
