"""A process that stays the same one: its number and when it started."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assay.domain.errors import DriverUnavailable


class Hold:
    """A descriptor that stands for one process (a pidfd): to ask it takes one call of the kernel,
    and to read about the process in /proc ten times as long."""

    def __init__(self, descriptor: int) -> None:
        """It is this one's to close."""
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._open = True

    def runs(self) -> bool:
        """Whether it does; no more once it was let go of."""
        with self._lock:
            return self._open and not _ended(self._descriptor)

    def kill(self, deadline: float) -> None:
        """As Process.kill; nothing once it was let go of."""
        if (descriptor := self.killed()) is not None:
            _wait([descriptor], deadline)

    def killed(self) -> int | None:
        """Send SIGKILL, and tell the descriptor that can be read from once it has ended; None when
        it has already, or was let go of."""
        with self._lock:
            if not self._open or _ended(self._descriptor) or not _killed(self._descriptor):
                return None
            return self._descriptor

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._descriptor)


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """Numbers are used again, so the start (in clock ticks since boot) tells who it is."""

    pid: int
    started: int
    hold: Hold | None = field(default=None, compare=False, repr=False)
    """On it, if whoever made it has kept one."""

    def let_go(self) -> None:
        """Of the hold on it, if there is one."""
        if self.hold is not None:
            self.hold.close()

    @classmethod
    def find(cls, pid: int) -> Process | None:
        """The process with this number, or None when none runs."""
        try:
            opened = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            return None
        try:
            text = os.read(opened, 4096).decode(errors="replace")
        except ProcessLookupError:
            return None
        finally:
            os.close(opened)
        # The second field is the program's name, and may hold anything.
        state, *numbers = text.rpartition(")")[2].split()
        return None if state in "ZX" else cls(pid=pid, started=int(numbers[18]))

    @classmethod
    def parse(cls, text: str) -> Process | None:
        """The inverse of str()."""
        words = text.split()
        if len(words) != 2 or not all(word.isdecimal() for word in words):
            return None
        return cls(pid=int(words[0]), started=int(words[1]))

    def __str__(self) -> str:
        return f"{self.pid} {self.started}"

    def began(self) -> float:
        """When it was started, on the clock (seconds since 1970)."""
        up = time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / os.sysconf("SC_CLK_TCK")
        return time.time() - up

    def runs(self) -> bool:
        """Whether this very process still runs."""
        return Process.find(self.pid) == self if self.hold is None else self.hold.runs()

    def kill(self, deadline: float) -> None:
        """Send SIGKILL, and wait until it has ended or time.monotonic() is `deadline`."""
        if self.hold is not None:
            self.hold.kill(deadline)
            return
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.runs() and _killed(handle):  # so that is whom we hold
                _wait([handle], deadline)
        finally:
            os.close(handle)


def title(pid: int) -> str:
    """What a process calls itself (its first argument), or nothing when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").partition("\0")[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children(parent: Process) -> Iterator[Process]:
    """The processes that this one has started, and those that their parents left to it.

    Raises DriverUnavailable where the kernel does not tell.
    """
    try:
        text = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        if parent.runs():
            raise DriverUnavailable(
                "this kernel does not tell whose child a process is (CONFIG_PROC_CHILDREN)"
            ) from None
        return
    for pid in map(int, text.split()):
        if (found := Process.find(pid)) is not None:
            yield found


def kill_and_wait(members: Callable[[], Iterable[int]], deadline: float) -> None:
    """Send SIGKILL to all members, and wait until they ended or time.monotonic() is `deadline`."""
    handles: dict[int, int] = {}
    try:
        for pid in members():
            with contextlib.suppress(ProcessLookupError):
                handles[pid] = os.pidfd_open(pid)
        # A number that is still a member's belongs to the process that we hold: not used again.
        ours = [handles[pid] for pid in handles.keys() & set(members())]
        _wait([handle for handle in ours if _killed(handle)], deadline)
    finally:
        for handle in handles.values():
            os.close(handle)


def _killed(handle: int) -> bool:
    """Send SIGKILL; False: it has ended, and been waited for, since anybody looked."""
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _ended(handle: int) -> bool:
    asked = select.poll()
    asked.register(handle, select.POLLIN)
    return bool(asked.poll(0))


def _wait(handles: Sequence[int], deadline: float) -> None:
    running = select.poll()
    for handle in handles:
        running.register(handle, select.POLLIN)
    left = len(handles)
    while left and (rest := deadline - time.monotonic()) > 0:
        for handle, _ in running.poll(rest * 1000):
            running.unregister(handle)
            left -= 1
