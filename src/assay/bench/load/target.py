"""The server that is loaded: one of our own with temporary state, or somebody else's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from assay.bench.load.accounts import Spent, spent_by
from assay.bench.load.connection import Address, Http, Lost
from assay.bench.load.control import LoadFailed, ServerSilent
from assay.domain.errors import Unauthenticated

SECONDS_TO_START: Final = 60.0
SECONDS_TO_END: Final = 300.0
_SECONDS_TO_RESTART: Final = 0.1
"""As systemd waits (RestartSec=)."""
_KEPT: Final = ("ASSAY_IMAGES", "ASSAY_CRUN", "ASSAY_NODES")
"""How variables begin that say where things are, not how they are served."""
_GROUP: Final = f"assay-bench-{os.getpid()}"


class Target:
    """A server at an address."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        self.pid: int | None = None
        """Its process, if it is ours."""

    async def get(self, path: str) -> Any:
        """What it answers to a GET, decoded. Raises LoadFailed, or Unauthenticated."""
        http = Http(Address(self.url, self.token))
        try:
            status, body = await http.request("GET", path)
        except Lost as error:
            raise ServerSilent(f"no server answers at {self.url}: {error}") from error
        finally:
            http.close()
        if status == 401:
            raise Unauthenticated(f"the server at {self.url} wants another token")
        if status >= 300:
            raise LoadFailed(f"the server at {self.url} answered {status} to {path}")
        return msgspec.json.decode(body) if body else None

    async def runner_ids(self) -> list[str]:
        """Of all runners that our token sees."""
        found = await self.get("/runners")
        return [runner["runnerId"] for runner in found["runners"]]

    async def pool(self) -> dict[str, Any]:
        """By environment: target, idle, creating, …"""
        found = await self.get("/pool")
        environments: dict[str, Any] = found.get("environments", found)
        return environments

    def sandbox_ids(self) -> list[str]:
        """Of all sandboxes, where that can be seen."""
        return []

    def spent(self) -> Spent:
        """Processor time of the server, restarts included."""
        return Spent()


class OwnServer(Target):
    """`assay serve`, started by us; `open_server` makes it."""

    def __init__(
        self,
        folder: Path,
        port: int,
        arguments: Sequence[str],
        driver: str | None,
        program: Sequence[str] = ("-m", "assay"),
    ) -> None:
        super().__init__(f"http://127.0.0.1:{port}", secrets.token_urlsafe(24))
        self.state = folder / "state"
        """What reaches its sandboxes; what it keeps lies beside it, on a disk as in use."""
        self.killed = 0
        self._log = folder / "server.log"
        self._database = f"sqlite:///{folder / 'server.db'}"
        self._program = program
        self._arguments = [
            *("--listen", f"127.0.0.1:{port}"),
            *("--allow-host-images", "--log-level", "warning", "--log-format", "text"),
            "--destroy-on-exit",  # of no meaning when it is killed
            *(("--driver", driver) if driver else ()),
            *arguments,
        ]
        self._process: asyncio.subprocess.Process | None = None
        self._before = Spent()

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for commands about this server: none of ours, but its secret."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("ASSAY_") or name.startswith(_KEPT)
        }
        ours = {"ASSAY_CONFIG": os.devnull, "ASSAY_SERVER_TOKEN": self.token}
        return {**inherited, **ours, "ASSAY_DATABASE": self._database}

    async def start(self) -> None:
        """Start it, and wait until it answers. Raises LoadFailed."""
        with self._log.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *self._program,
                "--state", self.state, "serve", *self._arguments,
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                env=dict(self.environment), start_new_session=True,
            )  # fmt: skip
        self.pid = self._process.pid
        enter_group(self.pid)
        await self._until_it_answers()

    async def _until_it_answers(self) -> None:
        assert self._process is not None
        deadline = asyncio.get_running_loop().time() + SECONDS_TO_START
        while True:
            with contextlib.suppress(LoadFailed):
                await self.get("/health")
                return
            late = asyncio.get_running_loop().time() > deadline
            if late or self._process.returncode is not None:
                said = self._log.read_text(errors="replace").strip().splitlines()[-3:]
                raise LoadFailed(f"the server did not start: {' '.join(said)}")
            await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """As kill -9 does it, and start it again as systemd does."""
        assert self._process is not None
        self._before = self.spent()
        self._process.kill()
        await self._process.wait()
        self.killed += 1
        self.pid = None
        await asyncio.sleep(_SECONDS_TO_RESTART)
        await self.start()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self) -> None:
        """End it, and all its sandboxes."""
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(SECONDS_TO_END):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def sandbox_ids(self) -> list[str]:
        """Of all sandboxes that there are."""
        found = self.state.glob("*/sandboxes/*")
        return sorted(path.name for path in found)

    def spent(self) -> Spent:
        """Processor time of the server, restarts included."""
        return self._before if self.pid is None else self._before + spent_by(self.pid)


@contextlib.asynccontextmanager
async def open_server(
    environments: Mapping[str, int],
    *,
    driver: str | None = None,
    options: Sequence[str] = (),
    program: Sequence[str] = ("-m", "assay"),
) -> AsyncIterator[OwnServer]:
    """A server of our own with these environments and sizes of their pools, gone at the end.

    `program`: what Python runs in place of Assay's commands, with the same arguments.
    """
    pools = [
        word for name, size in environments.items() for word in ("--environment", f"{name}={size}")
    ]
    with tempfile.TemporaryDirectory(prefix="assay-load-", ignore_cleanup_errors=True) as folder:
        server = OwnServer(Path(folder), _free_port(), [*pools, *options], driver, program)
        with _in_memory(server.state):
            try:
                try:
                    await server.start()
                    yield server
                finally:
                    await server.stop()
                if server.sandbox_ids():  # it died, or was too slow: another one ends what is left
                    await server.start()
                    await server.stop()
            finally:
                leave_group()


@contextlib.contextmanager
def _in_memory(folder: Path) -> Iterator[None]:
    """Make a folder, in memory as /run is where systemd is; on the disk for who may not mount."""
    folder.mkdir(mode=0o700)
    options = "mode=0700,nosuid,nodev"
    command = ("mount", "-t", "tmpfs", "-o", options, "assay-load", folder)
    mounted = os.geteuid() == 0 and not subprocess.run(command, check=False).returncode
    try:
        yield
    finally:
        if mounted:
            subprocess.run(("umount", "--lazy", folder), check=False)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


# --- the layout that systemd gives: the server in a group of its own, sandboxes beside it --------


def _group_folders() -> list[Path]:
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        return [top / _GROUP]
    names = ("cpuacct", "cpu,cpuacct", "memory", "pids", "systemd", "unified")
    return [top / name / _GROUP for name in names if (top / name).is_dir()]


def enter_group(pid: int) -> bool:
    """Put a process into a group of its own, if we may."""
    entered = False
    for folder in _group_folders():
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
            (folder / "cgroup.procs").write_text(str(pid))
            entered = True
    return entered


def leave_group() -> None:
    """Remove it, once it is empty."""
    for folder in _group_folders():
        with contextlib.suppress(OSError):
            folder.rmdir()
