"""The program `lean`, kept running, and the processes that it starts for us."""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from assay.domain.errors import CreateTimeout, DriverUnavailable, RuntimeFailed
from assay.drivers.linux.filter import compiled

_MESSAGE_MOST: Final = 4096
_SECONDS_TO_STEP: Final = 30.0
_SECONDS_TO_END: Final = 5.0
_TRIES: Final = 2
"""The program may have ended since it was last used."""
_PID: Final = "pid "
_READY: Final = "ready"
_HIDDEN: Final = "hidden"


class Refused(RuntimeFailed):
    """A step that could not be taken; its `detail` is what `lean` says of it."""

    def __init__(self, text: str) -> None:
        number, _, step = text.partition(" ")
        self.number = int(number) if number.isdecimal() else None
        """The error's, for the step."""
        super().__init__(
            "lean could not make a sandbox; `assay doctor` looks for the cause",
            detail=step if self.number is not None else text,
        )


class Shell:
    """A process in new namespaces that is to become the agent of a sandbox."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pid = 0
        self.hides_owners = False
        """Whether the host could not tell who owns the image's files."""

    @classmethod
    def begun(cls, connection: socket.socket) -> Shell | None:
        """One that was just asked for, or None when who should start it has ended."""
        shell = cls(connection)
        answer = shell._answer(time.monotonic() + _SECONDS_TO_STEP)
        if answer.startswith(_PID):
            shell.pid = int(answer.removeprefix(_PID))
            return shell
        if answer:
            raise Refused(answer)
        return None

    def wait_until_ready(self) -> None:
        """Return when it waits for the rest of its plan. Raises Refused, CreateTimeout."""
        answer = self._answer(time.monotonic() + _SECONDS_TO_STEP)
        if answer != _READY:
            raise Refused(answer or "its process ended")

    def complete(self, plan: bytes, abandoned: threading.Event) -> None:
        """Send the rest; return when it is the agent. Raises Refused, CreateTimeout."""
        self._connection.send(plan)
        deadline = time.monotonic() + _SECONDS_TO_STEP
        while answer := self._answer(deadline, abandoned):
            if answer != _HIDDEN:
                raise Refused(answer)
            self.hides_owners = True
        self.close()

    def close(self) -> None:
        """Let go of it; one that waits ends."""
        self._connection.close()

    def _answer(self, deadline: float, abandoned: threading.Event | None = None) -> str:
        """What it says next; nothing when it has ended, or is the agent."""
        speaks = select.poll()
        speaks.register(self._connection, select.POLLIN)
        while not speaks.poll(200):
            if time.monotonic() > deadline or (abandoned is not None and abandoned.is_set()):
                raise CreateTimeout(f"lean did not make a sandbox in {_SECONDS_TO_STEP:.0f} s")
        with contextlib.suppress(ConnectionResetError):
            return self._connection.recv(_MESSAGE_MOST).decode(errors="replace")
        return ""


class Helper:
    """Starts `lean` when it is first needed, and again when it has ended. For several threads."""

    def __init__(self, program: Path, on_start: Callable[[int], None]) -> None:
        """`on_start` is told the number of the process, before it starts any other."""
        self._program = program
        self._on_start = on_start
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, plan: bytes, output: int, lock: int) -> Shell:
        """A process that takes the plan's steps, and holds `lock` until it is the agent.

        Raises Refused, RuntimeFailed, CreateTimeout or DriverUnavailable.
        """
        for _ in range(_TRIES):
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                with its:
                    self._send(plan, [its.fileno(), output, lock])
                shell = Shell.begun(ours)
            except BaseException:
                ours.close()
                raise
            if shell is not None:
                return shell
            ours.close()
        raise RuntimeFailed("lean ends as soon as it is to start a process", detail="see `dmesg`")

    def _send(self, plan: bytes, descriptors: Sequence[int]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self._connection.sendmsg([plan], rights)
                    return
                self._end()
            self._connection = self._begin()
            self._connection.sendmsg([plan], rights)

    def _begin(self) -> socket.socket:
        program = compiled()
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            try:
                self._process = subprocess.Popen(
                    [self._program], stdin=its.fileno(), stdout=subprocess.DEVNULL,
                    env={}, cwd=Path("/"), start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                ours.close()
                raise DriverUnavailable(
                    f"{self._program} can't be started; build it: make -C agent", detail=str(error)
                ) from error
        try:
            self._on_start(self._process.pid)
            ours.send(program)
        except OSError:  # it was killed already
            ours.close()
            self._end()
            raise
        return ours

    def close(self) -> None:
        """End it. The processes that it has started go on."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            try:
                self._process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    @property
    def pid(self) -> int | None:
        """Of the running program, for who looks after it."""
        return self._process.pid if self._process is not None else None


def open_log(path: Path) -> int:
    """Where an agent's last words go."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
