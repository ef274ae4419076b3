"""What comes over one connection, handed on frame by frame."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from assay.agent import protocol as wire
from assay.agent.outbox import broken_by
from assay.domain.errors import ConnectionLost, ProtocolViolation
from assay.driver.port import ByteStream
from assay.driver.stream import DirectReads, reads_directly

READ_BYTES: Final = 262_144
FRAMES_AT_ONCE: Final = 256
"""So many frames of one read are handled before everybody else in the event loop has a turn."""

Broken = Callable[[ConnectionLost | ProtocolViolation], None]


class Inbox:
    """The reading half of a connection, which closes the stream in the end.

    From `start` on, `receive` gets each frame, and `broken` the reason for which none comes any
    more. Where the stream hands over what comes by itself, nothing is between the socket and
    `receive`: a task that reads would cost two more turns of the event loop for each message.
    """

    def __init__(
        self, stream: ByteStream, receive: Callable[[wire.Frame], None], broken: Broken
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.last_heard = self._loop.time()
        """When something came last."""
        self._stream = stream
        self._direct = stream if reads_directly(stream) else None
        self._receive = receive
        self._broken = broken
        self._decoder = wire.FrameDecoder(wire.TO_HOST)
        self._frames: Iterator[wire.Frame] = iter(())
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def first(self) -> wire.Frame:
        """Wait for the first frame. Raises ConnectionLost and ProtocolViolation."""
        while data := await self._read_some():
            self._frames = self._decoder.feed(data)
            for frame in self._frames:
                return frame
        raise _ended()

    def start(self) -> None:
        """Hand over what came with the first frame, and all that follows."""
        more = self._work()
        if self._closed:
            return
        if self._direct is None:
            self._task = self._loop.create_task(self._read())
        else:
            self._direct.listen(self._on_bytes, self._on_end)
            if more:
                self._take_turns(self._direct)

    def close(self) -> None:
        """Hand over nothing more, not even what came already, and close the stream."""
        self._closed = True
        if self._direct is not None:
            self._direct.close()
        elif self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def finish(self) -> None:
        """After `close`: wait until the task that reads is gone, if there is one."""
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait((self._task,))

    def _work(self) -> bool:
        """Hand over the next frames, and say whether there may be more."""
        count = 0
        try:
            for frame in islice(self._frames, FRAMES_AT_ONCE):
                count += 1
                self._receive(frame)
                if self._closed:
                    return False
        except ProtocolViolation as error:
            self._broken(error)
        except Exception as error:  # a fault of ours: the rest would make no sense after it
            self._broken(broken_by(error))
            raise
        return count == FRAMES_AT_ONCE and not self._closed

    # --- by a stream that hands over what comes --------------------------------------------------

    def _on_bytes(self, data: bytes) -> None:
        self.last_heard = self._loop.time()
        self._frames = self._decoder.feed(data)
        if self._work():
            # One read can hold thousands of small frames; others must not wait for all of them.
            assert self._direct is not None
            self._take_turns(self._direct)

    def _take_turns(self, direct: DirectReads) -> None:
        direct.pause()

        def go_on() -> None:
            if self._closed:
                return
            if self._work():
                self._loop.call_soon(go_on)
            elif not self._closed:
                direct.resume()

        self._loop.call_soon(go_on)

    def _on_end(self, error: ConnectionLost | None) -> None:
        self._broken(error or _ended())

    # --- by a task -------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            await self._work_off()
            while data := await self._read_some():
                self._frames = self._decoder.feed(data)
                await self._work_off()
                if self._closed:
                    return
                # A read that never has to wait must not keep everyone else waiting.
                await asyncio.sleep(0)
            self._broken(_ended())
        except ConnectionLost as error:
            self._broken(error)
        finally:
            await self._stream.aclose()

    async def _work_off(self) -> None:
        more = self._work()
        while more:
            await asyncio.sleep(0)
            more = self._work()

    async def _read_some(self) -> bytes:
        try:
            data = await self._stream.read(READ_BYTES)
        except ConnectionLost:
            raise
        except Exception as error:  # a stream that breaks its contract is broken, too
            raise broken_by(error) from error
        self.last_heard = self._loop.time()
        return data


def _ended() -> ConnectionLost:
    return ConnectionLost("the sandbox's agent closed the connection")
