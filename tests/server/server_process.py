"""`assay serve` as its operators have it: a process that can be killed, and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SECONDS: Final = 60.0
_ENTER: Final = """
import os, sys
groups = sys.argv[1].split(":")
for group in filter(None, groups):
    with open(group + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "assay", *sys.argv[2:]])
"""


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    """Wait until it holds."""
    for _ in range(int(seconds / 0.05)):
        if await holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to hold in time")


def free_port() -> int:
    """One that nobody has now; servers come back at the same one."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@dataclass(kw_only=True)
class ServerProcess:
    """One server after the other, with a state folder and a database of their own."""

    state: Path
    environments: tuple[str, ...] = ("bash=2",)
    arguments: tuple[str, ...] = ()
    destroys: bool = True
    """Whether it is started so that stopping it (not killing it) ends all of its sandboxes."""
    driver: str = "lean"
    host: str = "127.0.0.1"
    enter: tuple[str, ...] = ()
    """A command that becomes the server, somewhere else: in namespaces of its own."""
    scheme: str = "http"
    port: int = field(default_factory=free_port)
    groups: tuple[Path, ...] = ()
    """Control groups that a server is started in, as systemd does it."""
    variables: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    seen: set[str] = field(default_factory=set)
    """All sandboxes that were ever there, as far as was looked."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def log(self) -> str:
        """All that servers have written to standard error."""
        return (self.state / "log").read_text()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def command(self) -> list[str]:
        offers = [part for name in self.environments for part in ("--environment", name)]
        return [
            *self.enter, sys.executable, "-c", _ENTER, ":".join(map(str, self.groups)),
            "--state", str(self.state), "serve", "--listen", f"{self.host}:{self.port}",
            "--driver", self.driver, *offers, *self.arguments,
            *(("--destroy-on-exit",) if self.destroys else ()),
        ]  # fmt: skip

    def start(self, seconds: float = SECONDS) -> float:
        """Start one, wait until it takes requests, and return how long that took."""
        started = time.monotonic()
        self.launch()
        assert self.process is not None
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if readable else b""
        assert line == f"Assay serves at {self.url}\n".encode(), (line, self.log[-3000:])
        return time.monotonic() - started

    def launch(self) -> None:
        """Start one, and don't wait."""
        assert self.process is None
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")}
        with (self.state / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**inherited, "ASSAY_CONFIG": os.devnull, **self.variables},
                start_new_session=True,
            )

    def kill(self) -> None:
        """As a crash does: the main process, and nothing else."""
        self._end(signal.SIGKILL)

    def stop(self, seconds: float = SECONDS) -> int:
        """As `systemctl stop` does. Returns the exit status."""
        return self._end(signal.SIGTERM, seconds)

    def _end(self, number: int, seconds: float = SECONDS) -> int:
        self.sandboxes()
        process = self.process
        assert process is not None
        os.kill(process.pid, number)
        status = process.wait(seconds)
        assert process.stdout is not None
        process.stdout.close()
        self.process = None
        return status

    def sandboxes(self) -> set[str]:
        """The ids of those that are there."""
        found = self._named("sandboxes")
        self.seen |= found | self._named("prepared")
        return found

    def _named(self, folder: str) -> set[str]:
        return {path.name for path in (self.state / self.driver / folder).glob("*")}

    def left_over(self) -> list[str]:
        """Whatever sandboxes of this state folder have left on the host."""
        found = [f"user range {link.name}" for link in (self.state / "users").glob("*")]
        for folder in ("sandboxes", "prepared", "run"):
            found += [f"folder {path}" for path in self.state.glob(f"*/{folder}/*")]
        found += [f"owner {path}" for path in self.state.glob("owners/[!.]*")
                  if path.suffix != ".json"]  # fmt: skip
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found += [f"mount {line}" for line in mounts if f"{self.state}/" in line]
        found += [f"group {group}" for group in Path("/sys/fs/cgroup").glob("*/assay/*")
                  if group.name in self.seen]  # fmt: skip
        return found + [f"process {pid}" for pid in self.processes(self.seen)]

    def processes(self, sandboxes: set[str]) -> list[int]:
        """All processes of these sandboxes that the host sees."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                groups = (path / "cgroup").read_text()
                if any(f"/{sandbox_id}/" in groups for sandbox_id in sandboxes):
                    found.append(int(path.name))
        return found

    def end(self) -> None:
        """For a test that failed in the middle, too: nothing goes on."""
        if self.process is not None:
            self.kill()


@contextlib.contextmanager
def own_groups(name: str) -> Iterator[tuple[Path, ...]]:
    """A control group of version 1 in each hierarchy, as a service of systemd has them."""
    hierarchies = {path.resolve() for path in Path("/sys/fs/cgroup").iterdir()
                   if (path / "cgroup.procs").exists()}  # fmt: skip
    groups = tuple(sorted(path / name for path in hierarchies if path.name != "cpuset"))
    try:
        for group in groups:
            group.mkdir()
        yield groups
    finally:
        for group in groups:
            if group.exists():
                _until_gone(group)


def _until_gone(group: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        for pid in (group / "cgroup.procs").read_text().split():  # of a test that failed
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            group.rmdir()
            return
        except OSError:
            assert time.monotonic() < deadline, f"{group} cannot be removed"
            time.sleep(0.02)
