"""A virtual machine as data, and the port of what runs one: a monitor."""

from __future__ import annotations

import math
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final, Protocol

from assay.domain.limits import MIB, SandboxLimits
from assay.driver.port import ByteStream, Problem
from assay.drivers.microvm.folder import MachineFolder
from assay.drivers.microvm.identity import Watch

KERNEL_BYTES: Final = 160 * MIB
"""What a machine's kernel, its modules and the agent need, on top of what programs may have.

4 MiB of that are for each port: a queue of a device that is no PCI's has 1,024 buffers of a page.
They are zeros that nobody writes to, and cost the host nothing.
"""
MONITOR_BYTES: Final = 192 * MIB
"""What a monitor needs itself; a translator of instructions keeps what it has translated."""
_MONITOR_THREADS: Final = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What is to be run."""

    kernel: Path
    initrd: Path
    disk: Path
    """The image, as a file system; read-only."""
    memory_mib: int
    processors: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A machine that was stopped as it waited for who to be, to be restored any number of times."""

    machine: Machine
    state: Path
    """Of its processors and devices."""
    memory: int
    """A descriptor of its memory, which nobody can write to any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a machine is run on the host, and as whom."""

    ports: Sequence[socket.socket]
    """Sockets that listen; what connects there comes out at one of the machine's ports."""
    host: socket.socket | None
    """A connection to the first of them, made before the machine is there; None: there are none."""
    folder: MachineFolder
    log: IO[bytes]
    user: int
    enter: Callable[[int], None]
    """Puts a process of this number where the host's limits are."""
    watch: Watch


class Running:
    """The process of a monitor that we have started. It goes on when we end."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = False

    def has_ended(self) -> bool:
        """Whether it has; the kernel forgets it then."""
        if not self._ended:
            with suppress(ChildProcessError):
                self._ended = os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
        return self._ended

    def end(self) -> None:
        """Kill it with its machine, and wait for its end."""
        if not self.has_ended():
            with suppress(ProcessLookupError, ChildProcessError):
                os.killpg(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            self._ended = True


class Monitor(Protocol):
    """A program that runs virtual machines, one in a process of its own."""

    name: str
    """The driver's name, too."""
    ports: int
    """How many connections to one machine there can be at a time."""

    @property
    def most_at_once(self) -> tuple[int, str] | None:
        """How many idle machines this one bears, and why no more; None: as many as memory holds."""
        ...

    @property
    def version(self) -> str:
        """What the program says of itself. Raises RuntimeMissing."""
        ...

    def problems(self) -> list[Problem]:
        """Why it can't run machines here, as far as that can be told without trying."""
        ...

    @property
    def identity(self) -> str:
        """Changes with everything that makes a kept machine worthless: version, processor, options.

        Raises RuntimeMissing.
        """
        ...

    def keep(self, machine: Machine, place: Place, memory: Path, state: Path) -> None:
        """Start a machine, wait until it waits, and write what it is to two new files.

        Raises RuntimeFailed, CreateTimeout, RuntimeMissing or OSError; the machine has ended then.
        """
        ...

    def restore(self, kept: Kept, place: Place) -> Running:
        """Go on with a kept machine, in a process of its own.

        Raises RuntimeMissing, RuntimeFailed or OSError.
        """
        ...

    def meet(self, place: Place, running: Running) -> socket.socket:
        """The connection on which a restored machine is told who it is.

        Raises RuntimeFailed or CreateTimeout.
        """
        ...

    async def open(self, folder: MachineFolder, seconds: float) -> ByteStream:
        """A stream to the agent. Raises SandboxGone or ConnectionLost."""
        ...


def size(limits: SandboxLimits) -> tuple[int, int]:
    """MiB of memory and processors of a machine whose programs are to come to their limits."""
    memory = (limits.memory_bytes + KERNEL_BYTES + MIB - 1) // MIB
    return memory, max(1, math.ceil(limits.cpus))


def room(limits: SandboxLimits) -> SandboxLimits:
    """What the host lets the machine and its monitor have together."""
    memory, processors = size(limits)
    return replace(
        limits,
        memory_bytes=memory * MIB + MONITOR_BYTES,
        processes=_MONITOR_THREADS,
        cpus=processors + 1.0,
    )


def confined(command: Sequence[str | Path], place: Place, file_bytes: int) -> list[str]:
    """The command that runs a monitor with the rights of nobody, and in namespaces of its own."""
    return [
        "unshare", "--net", "--ipc", "--uts", "--wd=/", "--",
        "setpriv", f"--reuid={place.user}", f"--regid={place.user}", "--clear-groups",
        "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all",
        "prlimit", f"--fsize={file_bytes}:{file_bytes}", "--core=0:0",
        *map(str, command),
    ]  # fmt: skip


def launch(
    command: Sequence[str | Path],
    place: Place,
    keep: Sequence[int],
    file_bytes: int = MIB,
    *,
    jailed: bool = False,
) -> Running:
    """Start a monitor; it gets the descriptors `keep` under their own numbers.

    It can write files, its log above all, up to `file_bytes`; beyond that it gets an error, and no
    signal, as Python ignores that one. `jailed`: the command itself gives up its rights.
    """
    whole = confined(command, place, file_bytes)
    if jailed:
        whole = ["unshare", "--net", "--ipc", "--uts", "--", *map(str, command)]
    with open("/dev/null", "rb") as nothing:  # noqa: PTH123 - a device
        log = place.log.fileno()
        places = [(nothing.fileno(), 0), (log, 1), (log, 2), *((each, each) for each in keep)]
        pid = os.posix_spawnp(
            whole[0],
            whole,
            _ENVIRONMENT,
            file_actions=[(os.POSIX_SPAWN_DUP2, ours, its) for ours, its in places],
            setsid=True,
        )
    running = Running(pid)
    try:
        place.enter(pid)
    except BaseException:
        running.end()
        raise
    return running


_ENVIRONMENT: Final[Mapping[str, str]] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}
