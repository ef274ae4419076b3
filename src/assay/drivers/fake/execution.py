"""One execution as the fake agent keeps it: processes, streams, limits, and how it ended."""

from __future__ import annotations

import asyncio
import signal as signals
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from assay.agent import protocol as wire
from assay.agent.messages import Request
from assay.domain.facts import Facts, KilledBy, Measurement, Source
from assay.drivers.fake.process import STDOUT, Process, Program
from assay.drivers.fake.terminal import Terminal, on_screen

if TYPE_CHECKING:
    from assay.drivers.fake.sandbox import FakeSandbox
    from assay.drivers.fake.stream import MemoryStream

INPUT_ROOM: Final = 256 * 1024
_PIECE: Final = 32_768


class Output:
    """Output that was not acknowledged: at most 1 MiB, and 4,096 changes of stream."""

    def __init__(self) -> None:
        self.kept = 0
        self.read = 0
        self._offsets: list[int] = []
        self._pieces: list[tuple[int, bytes]] = []
        self._changed = asyncio.Event()

    def has_room(self) -> bool:
        """Whether the agent reads on."""
        return self.room() > 0

    def room(self) -> int:
        """Bytes that can be taken now."""
        if len(self._pieces) >= wire.MOST_STREAM_CHANGES:
            return 0
        return wire.WINDOW_BYTES - (self.read - self.kept)

    async def wait_for_room(self) -> None:
        """Wait until something was acknowledged."""
        while not self.has_room():
            self._changed.clear()
            await self._changed.wait()

    def append(self, stream: int, data: bytes) -> None:
        """Take bytes, for which there must be room."""
        last = self._pieces[-1] if self._pieces else None
        if last is not None and last[0] == stream and len(last[1]) + len(data) <= _PIECE:
            self._pieces[-1] = (stream, last[1] + data)
        else:
            self._offsets.append(self.read)
            self._pieces.append((stream, data))
        self.read += len(data)

    def acknowledge(self, offset: int) -> None:
        """Forget everything before `offset`."""
        if offset <= self.kept:
            return
        self.kept = offset
        done = bisect_right(self._offsets, offset) - 1
        if offset == self.read:
            done = len(self._offsets)
        del self._offsets[:done], self._pieces[:done]
        self._changed.set()

    def from_offset(self, offset: int) -> tuple[int, bytes] | None:
        """Return stream and bytes of one stream from `offset` on, or None at the end."""
        if offset >= self.read:
            return None
        index = bisect_right(self._offsets, offset) - 1
        stream, data = self._pieces[index]
        return stream, data[offset - self._offsets[index] :]


class Input:
    """Standard input on its way to the program."""

    def __init__(self, *, streamed: bool, by_line: bool, changed: Callable[[], None]) -> None:
        self.streamed = streamed
        self._by_line = by_line
        self.received = 0
        self.consumed = 0
        self.closed = not streamed
        self.told = 0
        """The window that the host knows."""
        self._ended = not streamed
        self._waiting: deque[bytes] = deque()
        self._tell = changed
        self._changed = asyncio.Event()

    @property
    def window(self) -> int:
        """Up to where the host may send."""
        return self.consumed + INPUT_ROOM

    def receive(self, count: int) -> None:
        """Note bytes from the host. A terminal takes them at once, a pipe as the program reads."""
        self.received += count
        if self._by_line or self.closed:
            self._consume(count)

    def take(self, data: bytes) -> None:
        """Let the program read these bytes; of a terminal a line, b"" its end of file."""
        if not self.closed:
            self._waiting.append(data)
            self._changed.set()

    def _consume(self, count: int) -> None:
        self.consumed += count
        if self.window - self.told >= INPUT_ROOM // 2:
            self._tell()

    def end(self) -> None:
        """Let the program read end-of-file once it has read all."""
        self._ended = True
        self._changed.set()

    def close(self) -> None:
        """The program reads no more."""
        if not self.closed:
            self.closed = True
            self.consumed = self.received
            self._tell()

    async def read(self, most: int) -> bytes:
        """Return bytes of standard input, b"" at its end."""
        while not self._waiting:
            if self._ended or self.closed:
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = self._waiting.popleft()
        if len(data) > most:
            self._waiting.appendleft(data[most:])
            data = data[:most]
        if not self._by_line:
            self._consume(len(data))
        return data


@dataclass(frozen=True, slots=True)
class StartFailure:
    """Why a program could not be started: the errno's number, and the step."""

    number: int
    step: str


class FakeExecution:
    """The life of one execution."""

    def __init__(
        self, channel: int, request: Request, sandbox: FakeSandbox, changed: Callable[[], None]
    ) -> None:
        self.channel = channel
        self.request = request
        self.sandbox = sandbox
        self.attached = True
        self.sent = 0
        self.exit_sent = False
        self.window_due = request.stdin or request.terminal is not None
        self.facts: Facts | None = None
        self.start_failure: StartFailure | None = None
        self.oom_kills = 0
        self.output = Output()
        self.terminal: Terminal | None = None
        self.input = Input(
            streamed=self.window_due,
            by_line=request.terminal is not None,
            changed=self._on_window,
        )
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._processes: list[Process] = []
        self._main: Process | None = None
        self._ports: list[int] = []
        self._cpu_seconds = 0.0
        self._peak_bytes = 0
        self._output_used = 0
        self._reason: KilledBy | None = None
        self._wall: asyncio.TimerHandle | None = None
        if request.terminal is not None:
            self.terminal = Terminal(
                request.terminal, show=self._show, line=self.input.take, signal=self.signal
            )

    # --- life ----------------------------------------------------------------------------------

    def start(self, process: Process, program: Program) -> None:
        """Start the first process, with which the execution will end."""
        self._main = process
        if self.request.wall_ns is not None:
            self._wall = self._loop.call_later(self.request.wall_ns / 1e9, self.kill, KilledBy.WALL)
        self.add_process(process, program)

    def fail(self, failure: StartFailure, exit_code: int) -> None:
        """End it before it has begun."""
        self.start_failure = failure
        self._loop.call_soon(self._end, exit_code, None)

    def add_process(self, process: Process, program: Program) -> None:
        """Start a process."""
        self._processes.append(process)
        self.sandbox.count_process(1)
        process.run(program, self._on_process_ended)

    def kill(self, reason: KilledBy | None) -> None:
        """End everything at once; a reason is kept for the facts unless there is one already."""
        if self.running and self._reason is None:
            self._reason = reason
        for process in list(self._processes):
            process.kill(signals.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to the program's process group."""
        for process in list(self._processes):
            if process is self._main or not process.leads_group:
                process.deliver(number)

    def resize(self, rows: int, columns: int) -> None:
        """Change the terminal's size."""
        if self.terminal is not None:
            self.terminal.size = type(self.terminal.size)(rows=rows, columns=columns)
            self.signal(signals.SIGWINCH)

    @property
    def running(self) -> bool:
        """Whether the first process runs."""
        return self.facts is None and (self._main is None or not self._main.ended)

    def _on_process_ended(self, process: Process) -> None:
        self._processes.remove(process)
        self.sandbox.count_process(-1)
        if process is self._main:
            self.kill(None)
            self._end(process.exit_code, process.end_signal)

    def _end(self, exit_code: int | None, end_signal: int | None) -> None:
        if self._wall is not None:
            self._wall.cancel()
        for port in self._ports:
            self.sandbox.ports.pop(port, None)
        self.input.closed = True
        wall_ns = round((self._loop.time() - self._started) * 1e9)
        kernel = Source.HOST
        self.facts = Facts(
            exit_code=exit_code,
            signal=end_signal,
            killed_by=self._reason,
            wall_ns=Measurement(value=wall_ns, source=Source.AGENT),
            cpu_ns=Measurement(value=round(self._cpu_seconds * 1e9), source=kernel),
            peak_memory_bytes=Measurement(value=self._peak_bytes, source=kernel),
            output_bytes=Measurement(value=self._output_used, source=Source.AGENT),
            oom_kills=Measurement(value=self.oom_kills, source=kernel),
        )
        self._changed()

    # --- what processes use ------------------------------------------------------------------

    def count_cpu(self, seconds: float) -> None:
        """Add processor time, and end the execution at its limit."""
        self._cpu_seconds += seconds
        self.sandbox.cpu_seconds += seconds
        limit = self.request.cpu_ns
        if limit is not None and self._cpu_seconds * 1e9 >= limit:
            self.kill(KilledBy.CPU)

    def has_memory(self) -> bool:
        """Note what is in use, and say whether that is within the sandbox's limit."""
        used = self.memory_bytes
        within = self.sandbox.memory_bytes <= self.sandbox.spec.limits.memory_bytes
        if within:
            self._peak_bytes = max(self._peak_bytes, used)
        return within

    @property
    def memory_bytes(self) -> int:
        """What its processes have touched."""
        return sum(process.memory_bytes for process in self._processes)

    def listen(self, port: int, connect: Callable[[], MemoryStream]) -> None:
        """Open a port for as long as the execution lives. Raises OSError when it is taken."""
        self.sandbox.open_port(port, connect)
        self._ports.append(port)

    # --- streams -----------------------------------------------------------------------------

    def is_terminal(self, stream: int) -> bool:
        """Whether a stream (0, 1, 2) is the terminal."""
        return self.terminal is not None and not (stream == 2 and self.request.separate_stderr)

    async def write(self, stream: int, data: bytes) -> None:
        """Take a program's output as the agent reads it; waits for room."""
        if self.is_terminal(stream):
            stream, data = STDOUT, on_screen(data)
        view = memoryview(data)
        while view:
            await self.output.wait_for_room()
            count = min(len(view), self.output.room(), _PIECE)
            self._take_output(stream, bytes(view[:count]))
            view = view[count:]
            if len(view):
                await asyncio.sleep(0)  # as between two system calls

    def _take_output(self, stream: int, data: bytes) -> None:
        if self.facts is not None:
            return
        limit = self.request.output_bytes
        if limit is not None and self._output_used + len(data) > limit:
            data = data[: limit - self._output_used]
            self.kill(KilledBy.OUTPUT)
        if data:
            self._output_used += len(data)
            self.output.append(stream, data)
            self._changed()

    def _show(self, data: bytes) -> None:
        if self.output.room() >= len(data):  # what nobody takes is not echoed
            self._take_output(STDOUT, data)

    def take_input(self, data: bytes) -> None:
        """Take new bytes of standard input."""
        self.input.receive(len(data))
        if self.terminal is not None:
            self.terminal.type(data)
        elif data:
            self.input.take(data)

    def end_input(self) -> None:
        """End standard input."""
        if self.terminal is not None:
            self.terminal.type(b"\x04")
        else:
            self.input.end()

    def _on_window(self) -> None:
        self.window_due = True
        self._changed()
