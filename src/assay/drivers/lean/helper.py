"""The program `lean`, kept running, and the processes that it starts for us."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from assay.domain.errors import CreateTimeout, DriverUnavailable, RuntimeFailed
from assay.drivers.linux.filter import compiled
from assay.drivers.linux.finish import unbroken
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
    async def begun(cls, connection: socket.socket) -> Shell | None:
        """One that was just asked for, once it waits for the rest of its plan.

        None: it has ended without a word, or who should start it has.
        Raises Refused, CreateTimeout.
        """
        answer, descriptors = await _answer(connection)
        if answer.startswith(_READY):
            if not descriptors:
                raise RuntimeFailed("this process has no room for another descriptor (EMFILE)")
            process = Process.parse(answer.removeprefix(_READY))
            assert process is not None
            return cls(connection, replace(process, hold=Hold(descriptors[0])))
        if answer:
            raise Refused(answer)
        return None

    async def complete(self, plan: bytes) -> None:
        """Send the rest; return when it is the agent. Raises Refused, CreateTimeout."""
        self._connection.send(plan)
        while answer := (await _answer(self._connection))[0]:
            if answer != _HIDDEN:
                raise Refused(answer)
            self.hides_owners = True
        self.close()

    def close(self) -> None:
        """Let go of it; one that waits ends."""
        self._connection.close()


async def readable(descriptor: int, seconds: float) -> bool:
    """Wait for that, so long at most, and say whether it is."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[bool] = loop.create_future()
    timer = loop.call_later(seconds, _settle, waiting, False)
    loop.add_reader(descriptor, _settle, waiting, True)
    try:
        return await waiting
    finally:
        loop.remove_reader(descriptor)
        timer.cancel()


def _settle(waiting: asyncio.Future[bool], result: bool) -> None:
    if not waiting.done():
        waiting.set_result(result)


async def _answer(connection: socket.socket) -> tuple[str, list[int]]:
    """What is said next, with descriptors; nothing when it has ended, or is the agent."""
    while await readable(connection.fileno(), _SECONDS_TO_STEP):
        with contextlib.suppress(BlockingIOError):
            return _said(connection)
    raise CreateTimeout(f"lean did not make a sandbox in {_SECONDS_TO_STEP:.0f} s")


def _said(connection: socket.socket) -> tuple[str, list[int]]:
    try:
        text, descriptors, _, _ = socket.recv_fds(
            connection, _MESSAGE_MOST, 1, socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionResetError:
        return "", []
    return text.decode(errors="replace"), descriptors


class Helper:
    """Starts `lean` when it is first needed, and again when it has ended."""

    def __init__(self, program: Path, on_start: Callable[[int], None]) -> None:
        """`on_start` is told the number of the process, before it starts any other."""
        self._program = program
        self._on_start = on_start
        self._turn = asyncio.Lock()
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._errands: deque[asyncio.Future[str]] = deque()
        """Whose answers are still to come, in this order."""
        self._crowded: asyncio.Future[bool] | None = None
        """Of who waits until it takes more."""

    async def start(self, plan: bytes, output: int, lock: int) -> Shell:
        """A process that takes the plan's steps, and holds `lock` until it is the agent.

        Raises Refused, RuntimeFailed, CreateTimeout or DriverUnavailable.
        """
        for _ in range(_TRIES):
            ours, its = _pair()
            try:
                with its:
                    await self._say(plan, [its.fileno(), output, lock])
                shell = await Shell.begun(ours)
            except BaseException:
                ours.close()
                raise
            if shell is not None:
                return shell
            ours.close()
        raise RuntimeFailed("lean ends as soon as it is to start a process", detail="see `dmesg`")

    async def do(self, errand: bytes) -> None:
        """Have steps taken on the host, in order up to the first that can't be.

        Raises Refused for that, and RuntimeFailed, CreateTimeout or DriverUnavailable. Who is
        cancelled meanwhile is so when they are taken.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()
        await self._say(_ERRAND + errand, answer=answer)
        # What it says later would be taken for another answer.
        timer = loop.call_later(_SECONDS_TO_STEP, self._end)
        try:
            said = await unbroken(answer)
        finally:
            timer.cancel()
        if not said:
            raise RuntimeFailed("lean has ended on an errand, or hangs", detail="see `dmesg`")
        if said != _DONE:
            raise Refused(said)

    async def _say(
        self,
        plan: bytes,
        descriptors: Sequence[int] = (),
        answer: asyncio.Future[str] | None = None,
    ) -> None:
        async with self._turn:
            if self._connection is None:
                self._begin()
            try:
                await self._send(plan, descriptors)
            except (BrokenPipeError, ConnectionResetError):
                self._end()
                self._begin()
                await self._send(plan, descriptors)
            if answer is not None:
                self._errands.append(answer)

    async def _send(self, plan: bytes, descriptors: Sequence[int]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        while self._connection is not None:
            try:
                self._connection.sendmsg([plan], rights if descriptors else [])
            except BlockingIOError:  # it has much to do
                await self._has_room(self._connection.fileno())
            else:
                return
        raise BrokenPipeError

    async def _has_room(self, descriptor: int) -> None:
        """Return when it takes more, or was hung up on."""
        loop = asyncio.get_running_loop()
        self._crowded = loop.create_future()
        loop.add_writer(descriptor, _settle, self._crowded, True)
        try:
            await self._crowded
        finally:
            if self._connection is not None:
                loop.remove_writer(descriptor)
            self._crowded = None

    def _on_answer(self) -> None:
        """(Nothing: it has ended.)"""
        if self._connection is None:
            return
        try:
            answer = _said(self._connection)[0]
        except BlockingIOError:
            return
        if not answer or not self._errands:
            self._end()
        elif not (first := self._errands.popleft()).done():
            first.set_result(answer)

    def _begin(self) -> None:
        program = compiled()
        ours, its = _pair()
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
        self._connection = ours
        try:
            self._on_start(self._process.pid)
            ours.send(program)
        except OSError:  # it was killed already
            self._end()
            raise
        asyncio.get_running_loop().add_reader(ours.fileno(), self._on_answer)

    async def aclose(self) -> None:
        """End it. The processes that it has started go on."""
        process = self._process
        self._hang_up()
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, _SECONDS_TO_END)
        self._end()

    def _hang_up(self) -> None:
        if self._connection is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._connection.fileno())
            loop.remove_writer(self._connection.fileno())
            self._connection.close()
            self._connection = None
        if self._crowded is not None:
            _settle(self._crowded, False)
        while self._errands:
            if not (each := self._errands.popleft()).done():
                each.set_result("")

    def _end(self) -> None:
        self._hang_up()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int | None:
        """Of the running program, for who looks after it."""
        return self._process.pid if self._process is not None else None


def _pair() -> tuple[socket.socket, socket.socket]:
    """Our end, which never waits, and the other."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, its


def open_log(path: Path) -> int:
    """Where an agent's last words go."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
