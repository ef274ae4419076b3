"""What a scripted program of the fake driver sees of its sandbox, and what ends it."""

from __future__ import annotations

import asyncio
import errno
import os
import signal as signals
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from assay.domain.command import TerminalSize
from assay.domain.errors import ConnectionLost
from assay.drivers.fake.stream import MemoryStream, stream_pair
from assay.drivers.fake.tree import Tree

if TYPE_CHECKING:
    from assay.drivers.fake.execution import FakeExecution

Program = Callable[["Process"], Awaitable["int | None"]]
"""A scripted program: returns its exit code (None: 0)."""

STDOUT: Final = 1
STDERR: Final = 2
_SLICE_SECONDS: Final = 0.01
_HARMLESS: Final = {
    int(signals.SIGCHLD),
    int(signals.SIGCONT),
    int(signals.SIGURG),
    int(signals.SIGWINCH),
}


class Process:
    """A running program: its arguments, files, streams, clock, memory and signals.

    A script is a coroutine function that gets one of these. Everything that it does through it
    obeys the sandbox's limits. Time is the event loop's.
    """

    def __init__(
        self,
        execution: FakeExecution,
        argv: tuple[str, ...],
        environment: dict[str, str],
        working_directory: str,
        uid: int,
        gid: int,
    ) -> None:
        self.argv = argv
        self.environment = environment
        self.working_directory = working_directory
        self.uid = uid
        self.gid = gid
        self.cpu_seconds = 0.0
        self.memory_bytes = 0
        self.leads_group = True
        self._execution = execution
        self._caught: set[int] = set()
        self._ignored: set[int] = set()
        self._pending: asyncio.Queue[int] = asyncio.Queue()
        self._going_on = asyncio.Event()
        self._going_on.set()
        self._task: asyncio.Task[None] | None = None
        self.exit_code: int | None = None
        self.end_signal: int | None = None

    # --- streams -----------------------------------------------------------------------------

    async def read(self, most: int = 65_536) -> bytes:
        """Read standard input: 1 to `most` bytes (of a terminal, one line), b"" at the end."""
        await self._going_on.wait()
        return await self._execution.input.read(most)

    async def write(self, data: bytes, stream: int = STDOUT) -> None:
        """Write to standard output or error; waits while the host takes no more."""
        await self._going_on.wait()
        await self._execution.write(stream, data)

    def close_input(self) -> None:
        """Close standard input."""
        self._execution.input.close()

    def is_terminal(self, stream: int) -> bool:
        """Whether a stream (0, 1, 2) is the terminal."""
        return self._execution.is_terminal(stream)

    @property
    def terminal_size(self) -> TerminalSize | None:
        """The terminal's size now, if there is one."""
        terminal = self._execution.terminal
        return None if terminal is None else terminal.size

    @property
    def open_files(self) -> int | None:
        """How many descriptors it may have open."""
        return self._execution.request.open_files

    # --- time and memory -----------------------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        """Do nothing for so long."""
        await asyncio.sleep(seconds)
        await self._going_on.wait()

    async def compute(self, seconds: float | None = None) -> None:
        """Use so much processor time; without end when None. Processors are shared fairly."""
        sandbox = self._execution.sandbox
        left = seconds if seconds is not None else float("inf")
        sandbox.computing += 1
        try:
            while left > 0:
                share = min(1.0, sandbox.spec.limits.cpus / sandbox.computing)
                used = min(_SLICE_SECONDS * share, left)
                await self.sleep(used / share)
                left -= used
                self.cpu_seconds += used
                self._execution.count_cpu(used)
        finally:
            sandbox.computing -= 1

    async def allocate(self, count: int) -> None:
        """Touch so many bytes more of memory; the kernel may kill for it."""
        self.memory_bytes += count
        if self._execution.has_memory():
            return
        self._execution.oom_kills += 1
        self._execution.sandbox.oom_kills += 1
        await self.die(signals.SIGKILL)

    # --- signals -------------------------------------------------------------------------------

    def catch(self, *numbers: int) -> None:
        """Have these signals delivered to `next_signal`."""
        self._caught.update(numbers)

    def ignore_signals(self) -> None:
        """Ignore every signal that can be ignored."""
        self._ignored.update(set(range(1, 65)) - {signals.SIGKILL, signals.SIGSTOP})

    async def next_signal(self) -> int:
        """Wait for the next signal that is caught."""
        number = await self._pending.get()
        await self._going_on.wait()
        return number

    async def die(self, number: int) -> None:
        """End by a signal, whatever was done about it."""
        self.kill(number)
        await asyncio.sleep(1)  # where the end reaches this process

    def deliver(self, number: int) -> None:
        """Take a signal from outside."""
        if number == signals.SIGCONT:
            self._going_on.set()
        if number == signals.SIGSTOP:
            self._going_on.clear()
        elif number in self._ignored:
            return
        elif number in self._caught:
            self._pending.put_nowait(number)
        elif number not in _HARMLESS:
            self.kill(number)

    def kill(self, number: int) -> None:
        """End at once by a signal."""
        if not self.ended:
            self.end_signal = int(number)
            if self._task is not None:
                self._task.cancel()

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.exit_code is not None or self.end_signal is not None

    # --- other processes and ports ---------------------------------------------------------------

    def spawn(self, program: Program, *, own_group: bool = False) -> Process:
        """Start another process of the execution. Raises BlockingIOError (EAGAIN) at the limit."""
        if not self._execution.sandbox.has_room_for_process():
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        child = Process(
            self._execution,
            self.argv,
            self.environment,
            self.working_directory,
            self.uid,
            self.gid,
        )
        child.leads_group = own_group
        child._ignored |= self._ignored
        self._execution.add_process(child, program)
        return child

    async def wait_for(self, child: Process) -> None:
        """Wait until a child has ended."""
        if child._task is not None:
            await asyncio.wait((child._task,))

    def listen(self, port: int, serve: Callable[[Process, MemoryStream], Awaitable[None]]) -> None:
        """Accept connections to a port of the sandbox's loopback, each in a child."""

        def connect() -> MemoryStream:
            ours, theirs = stream_pair()

            async def program(child: Process) -> None:
                try:
                    await serve(child, ours)
                except ConnectionLost:
                    pass  # the other side has closed
                finally:
                    await ours.aclose()

            self.spawn(program)
            return theirs

        self._execution.listen(port, connect)

    def connect(self, port: int) -> MemoryStream:
        """Connect to a port of the loopback. Raises ConnectionRefusedError."""
        return self._execution.sandbox.connect_port(port)

    # --- files ---------------------------------------------------------------------------------

    @property
    def files(self) -> Tree:
        """The sandbox's files."""
        return self._execution.sandbox.files

    def path(self, name: str) -> str:
        """An absolute path for a name in the working directory."""
        return name if name.startswith("/") else f"{self.working_directory}/{name}"

    # --- running -------------------------------------------------------------------------------

    def run(self, program: Program, ended: Callable[[Process], None]) -> None:
        """Start it; `ended` is called once, at its end."""
        self._task = asyncio.get_running_loop().create_task(self._run(program))

        def on_done(_: object) -> None:
            if not self.ended:  # cancelled before its first step, or by its event loop
                self.end_signal = int(signals.SIGKILL)
            ended(self)

        self._task.add_done_callback(on_done)

    async def _run(self, program: Program) -> None:
        try:
            code = await program(self) or 0
        except asyncio.CancelledError:
            return
        except Exception:
            # As a real interpreter would; whoever wrote the script sees it in standard error.
            code = 1
            await self.write(traceback.format_exc().encode(), STDERR)
        if not self.ended:
            self.exit_code = code & 0xFF
