"""A running program: its output as it comes, its input, its end; connections come and go."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Self

import aiohttp

from assay_client.errors import (
    AssayError,
    ConnectionLost,
    InputClosed,
    NotFound,
    OffsetLost,
    ProtocolViolation,
    Replaced,
    RunnerGone,
    UnknownExecution,
)
from assay_client.http import pauses
from assay_client.values import Chunk, End
from assay_client.wire import NORMAL, OFFSET_LOST, REPLACED, ExecutionStream, Frame

Connect = Callable[[int | None], Awaitable[aiohttp.ClientWebSocketResponse]]
"""Opens a connection that goes on at an offset; None: the first one."""

IDLE_SECONDS: Final = 0.5
"""Output that was read is acknowledged after so much time, however little it is."""
SECONDS_TO_CANCEL: Final = 5.0
_SECONDS_TO_CLOSE: Final = 2.0


class Process:
    """One execution. Made by `Runner.start`, `spawn` and `attach`; belongs to one event loop.

    Lost connections are made anew, and nothing is lost or doubled by it. Memory is bounded: the
    server sends at most 1 MiB that was not read, and `write` waits when 1 MiB is on its way.
    """

    def __init__(
        self, connect: Connect, execution_id: str, *, resume_seconds: float, offset: int | None
    ) -> None:
        """Start following it; `aclose` stops that."""
        self.execution_id = execution_id
        self._connect = connect
        self._resume_seconds = resume_seconds
        self._stream = ExecutionStream()
        if offset is not None:
            self._stream.go_on_at(offset)
        self._chunks: deque[Chunk] = deque()
        self._last = self._readers = 0
        self._failure: AssayError | None = None
        self._to_send = asyncio.Event()
        self._news = _News()
        self._task = asyncio.get_running_loop().create_task(self._follow())

    def __repr__(self) -> str:
        return f"Process({self.execution_id!r})"

    # --- output, and the end -----------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        """The next output; the end of it is the end of the program. Raises what `wait` raises."""
        self._consume_last()
        while not self._chunks:
            if self._stream.end is not None:
                raise StopAsyncIteration
            self._raise_failure()
            self._readers += 1
            try:
                await self._news.wait()
            finally:
                self._readers -= 1
        chunk = self._chunks.popleft()
        self._last = len(chunk.data)
        return chunk

    async def wait(self) -> End:
        """How it ended. Output that nobody is waiting for is dropped.

        Raises UnknownExecution or RunnerGone when the server knows nothing of it (any more),
        ConnectionLost or Unreachable when the server did not come back in time.
        """
        while self._stream.end is None:
            self._drop()
            self._raise_failure()
            await self._news.wait()
        return self._stream.end

    def _drop(self) -> None:
        if not self._readers:
            self._consume_last()
            while self._chunks:
                self._last = len(self._chunks.popleft().data)
                self._consume_last()

    def _consume_last(self) -> None:
        """Whoever asks for more is done with what there was: it is acknowledged only now."""
        if self._last:
            self._stream.consumed += self._last
            self._last = 0
            self._to_send.set()

    async def collect(self, *, most: int = 64 * 1024 * 1024) -> tuple[bytes, bytes, End]:
        """All its standard output and error up to `most` bytes, and how it ended."""
        kept = {"stdout": bytearray(), "stderr": bytearray()}
        async for chunk in self:
            room = most - len(kept["stdout"]) - len(kept["stderr"])
            kept[chunk.stream] += chunk.data[:room]
        return bytes(kept["stdout"]), bytes(kept["stderr"]), await self.wait()

    @property
    def end(self) -> End | None:
        """How it ended, or None."""
        return self._stream.end

    # --- what can be done to it ------------------------------------------------------------------

    async def write(self, data: bytes | str) -> None:
        """Give it standard input; waits while 1 MiB is on its way.

        Raises InputClosed when nobody will read it, and what following the program raised.
        """
        rest = memoryview(data.encode() if isinstance(data, str) else data)
        while rest:
            self._raise_failure()
            room = self._stream.room
            if room <= 0 and not self._stream.input_closed:
                await self._news.wait()
                continue
            self._stream.write(rest[:room])
            rest = rest[room:]
            self._to_send.set()

    async def end_input(self) -> None:
        """No more standard input will come."""
        self._raise_failure()
        self._stream.end_input()
        self._to_send.set()

    async def signal(self, number: int) -> None:
        """Send it a signal. One that is on its way when a connection breaks may be lost."""
        self._stream.signal(number)
        self._to_send.set()

    async def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size."""
        self._stream.resize(rows, columns)
        self._to_send.set()

    async def cancel(self) -> None:
        """End it; its outcome will be "cancelled", unless it was quicker."""
        self._stream.cancel()
        self._to_send.set()

    async def detach(self) -> None:
        """Stop following it: it goes on, and `Runner.attach` can follow it again."""
        self._task.cancel()
        await asyncio.wait((self._task,))
        self._failure = self._failure or ConnectionLost("nobody follows the program any more")
        self._news.tell()

    async def aclose(self) -> None:
        """End it if it runs, and close the connection."""
        if not self._task.done() and self._stream.end is None:
            await self.cancel()
            with contextlib.suppress(AssayError, TimeoutError):
                async with asyncio.timeout(SECONDS_TO_CANCEL):
                    await self.wait()
        if self._stream.end is not None:
            await asyncio.wait((self._task,), timeout=_SECONDS_TO_CLOSE)
        await self.detach()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(
                self._failure.message, code=self._failure.code, status=self._failure.status
            ) from self._failure

    # --- connections ---------------------------------------------------------------------------

    async def _follow(self) -> None:
        """One connection after the other, until the end or a failure is known."""
        try:
            loop = asyncio.get_running_loop()
            deadline, waits = loop.time() + self._resume_seconds, pauses()
            while self._stream.end is None:
                try:
                    connected = await self._connect(self._stream.offset_to_ask_for)
                    if await self._over(connected):
                        deadline, waits = loop.time() + self._resume_seconds, pauses()
                except AssayError as error:
                    if not _is_passing(error) or loop.time() > deadline:
                        raise
                if self._stream.end is None:
                    await asyncio.sleep(next(waits))
        except AssayError as error:
            self._failure = error
        finally:
            self._news.tell()

    async def _over(self, connected: aiohttp.ClientWebSocketResponse) -> bool:
        """Carry frames until this connection is closed; returns whether it was of any use."""
        self._stream.begin()
        sender = asyncio.get_running_loop().create_task(self._send(connected))
        try:
            async for message in connected:
                if message.type is aiohttp.WSMsgType.TEXT or (
                    message.type is aiohttp.WSMsgType.BINARY
                ):
                    self._receive(message.data)
        finally:
            sender.cancel()
            await asyncio.wait((sender,))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS_TO_CLOSE):
                    await connected.close()
        self._judge_close(connected.close_code)
        return self._stream.started

    def _receive(self, frame: Frame) -> None:
        chunk = self._stream.receive(frame)
        if chunk is not None:
            self._chunks.append(chunk)
        self._news.tell()
        self._to_send.set()

    def _judge_close(self, code: int | None) -> None:
        if self._stream.end is not None:
            return
        if code == REPLACED:
            raise Replaced("another connection follows this execution now")
        if code == OFFSET_LOST:
            raise OffsetLost("the output before this point is no longer kept")
        if code in (NORMAL, 1002, 1003, 1007, 1008):
            raise ProtocolViolation(f"the server closed the stream (code {code}) before its end")

    async def _send(self, connected: aiohttp.ClientWebSocketResponse) -> None:
        """Send whenever there is something to send; little acknowledgements after a while."""
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            idle = False
            while True:
                for frame in self._stream.outgoing(idle=idle):
                    if isinstance(frame, str):
                        await connected.send_str(frame)
                    else:
                        await connected.send_bytes(frame)
                idle = await self._something_to_send()

    async def _something_to_send(self) -> bool:
        """Wait for it; returns whether it was quiet long enough for little acknowledgements."""
        wait = IDLE_SECONDS if self._stream.owes_acknowledgement else None
        try:
            async with asyncio.timeout(wait):
                await self._to_send.wait()
        except TimeoutError:
            return True
        self._to_send.clear()
        return False


def _is_passing(error: AssayError) -> bool:
    """Whether the next try may do better: nobody answers, or a gateway or a server that stops."""
    if isinstance(error, (NotFound, RunnerGone, UnknownExecution, InputClosed)):
        return False
    return error.retryable or isinstance(error, ConnectionLost) or error.status in (502, 504)


class _News:
    """Wakes everybody who waits."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    async def wait(self) -> None:
        """Until the next `tell`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def tell(self) -> None:
        """There is news."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
