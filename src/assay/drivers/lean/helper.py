"""The program `lean`, kept running, and the processes that it starts for us."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from assay.domain.errors import CreateTimeout, DriverUnavailable, RuntimeFailed
from assay.drivers.linux.filter import compiled
from assay.drivers.linux.process import Hold, Process

_MESSAGE_MOST: Final = 4096
_SECONDS_TO_STEP: Final = 30.0
_SECONDS_TO_END: Final = 5.0
_TRIES: Final = 2
"""The program may have ended since it was last used."""
_READY: Final = "ready "
_DONE: Final = "done"
_ERRAND: Final = b"errand\0"
_HIDDEN: Final = "hidden"
_PATIENCE: Final = struct.pack("ll", 0, 200_000)
"""Seconds and microseconds, as the kernel has them."""


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

    def __init__(self, connection: socket.socket, process: Process) -> None:
        self._connection = connection
        self.process = process
        self.hides_owners = False
        """Whether the host could not tell who owns the image's files."""

    @classmethod
    def begun(cls, connection: socket.socket) -> Shell | None:
        """One that was just asked for, once it waits for the rest of its plan.

        None: it has ended without a word, or who should start it has.
        Raises Refused, CreateTimeout.
        """
        _be_patient(connection)
        answer, descriptors = _answer(connection)
        if answer.startswith(_READY):
            if not descriptors:
                raise RuntimeFailed("this process has no room for another descriptor (EMFILE)")
            process = Process.parse(answer.removeprefix(_READY))
            assert process is not None
            return cls(connection, replace(process, hold=Hold(descriptors[0])))
        if answer:
            raise Refused(answer)
        return None

    def complete(self, plan: bytes, abandoned: threading.Event) -> None:
        """Send the rest; return when it is the agent. Raises Refused, CreateTimeout."""
        self._connection.send(plan)
        while answer := _answer(self._connection, abandoned)[0]:
            if answer != _HIDDEN:
                raise Refused(answer)
            self.hides_owners = True
        self.close()

    def close(self) -> None:
        """Let go of it; one that waits ends."""
        self._connection.close()


def _be_patient(connection: socket.socket) -> None:
    """Have the kernel wait so long for each message: one call in place of two."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)


def _answer(
    connection: socket.socket, abandoned: threading.Event | None = None
) -> tuple[str, list[int]]:
    """What is said next, with descriptors; nothing when it has ended, or is the agent."""
    deadline = time.monotonic() + _SECONDS_TO_STEP
    while True:
        try:
            text, descriptors, _, _ = socket.recv_fds(
                connection, _MESSAGE_MOST, 1, socket.MSG_CMSG_CLOEXEC
            )
            return text.decode(errors="replace"), descriptors
        except BlockingIOError:
            if time.monotonic() > deadline or (abandoned is not None and abandoned.is_set()):
                raise CreateTimeout(
                    f"lean did not make a sandbox in {_SECONDS_TO_STEP:.0f} s"
                ) from None
        except ConnectionResetError:
            return "", []


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

    def do(self, errand: bytes) -> None:
        """Have steps taken on the host, in order up to the first that can't be.

        Raises Refused for that, and RuntimeFailed, CreateTimeout or DriverUnavailable.
        """
        with self._lock:
            self._say(_ERRAND + errand)
            assert self._connection is not None
            try:
                answer, _ = _answer(self._connection)
            except BaseException:  # what it says later would be taken for another answer
                self._end()
                raise
        if not answer:
            raise RuntimeFailed("lean has ended on an errand", detail="see `dmesg`")
        if answer != _DONE:
            raise Refused(answer)

    def _send(self, plan: bytes, descriptors: Sequence[int]) -> None:
        with self._lock:
            self._say(plan, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])

    def _say(self, plan: bytes, rights: Sequence[tuple[int, int, array.array[int]]] = ()) -> None:
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
        _be_patient(ours)
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
