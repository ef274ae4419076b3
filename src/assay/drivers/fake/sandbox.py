"""What one fake sandbox holds besides its agent: files, ports, and what its programs use."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Mapping
from typing import Final

from assay.agent.messages import Request
from assay.driver.port import SandboxSpec
from assay.drivers.fake.builtins import BUILTINS
from assay.drivers.fake.execution import FakeExecution, StartFailure
from assay.drivers.fake.process import Process, Program
from assay.drivers.fake.stream import MemoryStream
from assay.drivers.fake.tree import Tree, problem

NATIVE_PROGRAM: Final = "probe"
"""The script that stands for any uploaded program of machine code."""
_SCRIPT: Final = b"#!fake "
_DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


class FakeSandbox:
    """A sandbox in memory. `programs` are its installed programs: name to script."""

    def __init__(self, spec: SandboxSpec, programs: Mapping[str, Program]) -> None:
        self.spec = spec
        self.programs = programs
        self.ports: dict[int, Callable[[], MemoryStream]] = {}
        self.executions: dict[int, FakeExecution] = {}
        self.highest = 0
        self.processes = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self.computing = 0
        self.cpu_seconds = 0.0
        self.oom_kills = 0
        loop = asyncio.get_running_loop()
        self.files = Tree(
            most_bytes=spec.limits.disk_bytes,
            most_inodes=spec.limits.inodes,
            now_ns=lambda: round(loop.time() * 1e9),
            working_folder=spec.root.working_folder,
            folders=spec.root.folders,
            user=spec.root.user,
        )
        self.files.install("/etc/passwd", b"root:x:0:0::/:/bin/sh\n")
        self.files.install("/etc/shadow", b"root:!:1::::::\n", mode=0o600)
        for name in programs:
            self.files.install(f"/usr/bin/{name}", _SCRIPT + name.encode(), mode=0o755)

    # --- starting programs ---------------------------------------------------------------------

    def start(self, channel: int, request: Request, changed: Callable[[], None]) -> FakeExecution:
        """Start an execution; one whose program cannot be started ends at once."""
        execution = FakeExecution(channel, request, self, changed)
        self.highest = max(self.highest, channel)
        self.executions[channel] = execution
        try:
            program = self._find_program(request)
        except OSError as error:
            self._fail(execution, error, "program")
            return execution
        directory = _text(request.working_directory) or "/"
        if not self._is_folder(directory, request.uid):
            self._fail(execution, problem(errno.ENOENT, directory), "directory")
        elif not self.has_room_for_process():
            self._fail(execution, problem(errno.EAGAIN, "process"), "process")
        else:
            execution.start(self._process(execution, request, directory), program)
        return execution

    def _process(self, execution: FakeExecution, request: Request, directory: str) -> Process:
        pairs = (_text(variable).partition("=") for variable in request.environment)
        return Process(
            execution,
            tuple(_text(argument) for argument in request.argv),
            {name: value for name, _, value in pairs},
            directory,
            request.uid,
            request.gid,
        )

    def _fail(self, execution: FakeExecution, error: OSError, step: str) -> None:
        number = error.errno or errno.EIO
        exit_code = 127 if number in (errno.ENOENT, errno.ENOTDIR) else 126
        execution.fail(StartFailure(number, step), exit_code)

    def _is_folder(self, path: str, uid: int) -> bool:
        try:
            self.files.find(path.rstrip("/") + "/.", uid)
        except OSError:
            return False
        return True

    def _find_program(self, request: Request) -> Program:
        name = _text(request.argv[0])
        if request.builtin:
            if name not in BUILTINS:
                raise problem(errno.EINVAL, name)
            return BUILTINS[name]
        if "/" in name:
            if not name.startswith("/"):
                name = f"{_text(request.working_directory)}/{name}"
            return self._program_at(name, request.uid)
        return self._program_in_path(name, request)

    def _program_in_path(self, name: str, request: Request) -> Program:
        failure = problem(errno.ENOENT, name)
        for folder in _search_path(request):
            try:
                return self._program_at(f"{folder}/{name}", request.uid)
            except FileNotFoundError:
                continue
            except PermissionError as error:
                failure = error
        raise failure

    def _program_at(self, path: str, uid: int) -> Program:
        content = self.files.executable(path, uid)
        name = ""
        if content.startswith(_SCRIPT):
            name = content[len(_SCRIPT) :].split(b"\n")[0].decode(errors="replace")
        elif content.startswith(b"\x7fELF"):
            name = NATIVE_PROGRAM
        if name not in self.programs:
            raise problem(errno.ENOEXEC, path)
        return self.programs[name]

    # --- what is shared ----------------------------------------------------------------------

    def has_room_for_process(self) -> bool:
        """Whether one process more may be started."""
        return self.processes < self.spec.limits.processes

    def count_process(self, change: int) -> None:
        """A process has started (1) or ended (-1)."""
        self.processes += change
        if self.processes:
            self._empty.clear()
        else:
            self._empty.set()

    async def wait_until_empty(self) -> None:
        """Wait until no process is left."""
        await self._empty.wait()

    @property
    def memory_bytes(self) -> int:
        """What its programs have touched, and its files."""
        programs = sum(execution.memory_bytes for execution in self.executions.values())
        return programs + self.files.bytes_used

    def open_port(self, port: int, connect: Callable[[], MemoryStream]) -> None:
        """Listen on a port of the loopback."""
        if port in self.ports:
            raise problem(errno.EADDRINUSE, str(port))
        self.ports[port] = connect

    def connect_port(self, port: int) -> MemoryStream:
        """Connect to a port of the loopback."""
        if port not in self.ports:
            raise problem(errno.ECONNREFUSED, str(port))
        return self.ports[port]()

    def end(self) -> None:
        """Kill everything in it."""
        for execution in self.executions.values():
            execution.kill(None)


def _search_path(request: Request) -> list[str]:
    for variable in request.environment:
        if variable.startswith(b"PATH="):
            return _text(variable[5:]).split(":")
    return _DEFAULT_PATH.split(":")


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="surrogateescape")
