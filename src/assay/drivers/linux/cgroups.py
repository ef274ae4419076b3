"""Control groups: an agent's, and its learners' with the limits, in whatever layout a host has.

    /assay/<id>/agent       process 1
    /assay/<id>/learners    the limits; the agent makes a group in it for each execution

In a tree of version 2 beside version 1, which limits nothing and can kill, there is /assay/<id>
alone: the agent is in it, and so are the groups of its executions.

An ordinary user's are not in /assay but in a group that was delegated to them (layout.py).

The agent stays outside of what limits the learners, so running out of memory never hits it. Where
a kernel of the sandbox's own runs both, there is no agent's group:

    /assay/<id>/learners/kernel   all processes of that kernel, placed there by the runtime
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from assay.domain.errors import RuntimeFailed
from assay.domain.limits import SandboxLimits
from assay.driver.port import Cleanup
from assay.drivers.linux.confinement import GROUPS, Bind
from assay.drivers.linux.process import Process, kill_and_wait

if TYPE_CHECKING:
    from assay.drivers.linux.spares import Spares

T = TypeVar("T")

PARENT: Final = "assay"
"""From the top of the hierarchies, for root."""
AGENT: Final = "agent"
LEARNERS: Final = "learners"
KERNEL: Final = "kernel"
SERVERS: Final = "assay-servers"
"""Beside the sandboxes' parent: a group that passes controllers on may hold no processes."""
PERIOD_US: Final = 100_000
AGENTS_OWN: Final = 3
"""Processes of the agent in the limited group while one execution runs: the keeper of its slot,
and the keeper and the prepared process of the next. Each further execution takes one more."""

SECONDS_TO_DIE: Final = 10.0
SECONDS_TO_END: Final = PERIOD_US / 1e6
"""For a process that is killed, and owes no time; then its groups are looked at."""
_READ_MOST: Final = 65536
_TIDIED_MOST: Final = 10
_GONE: Final = (errno.ENOENT, errno.ENODEV)
"""Of a group: before one of its files was opened, or after that."""
_LINKS_OF_NONE: Final = 2
"""To a group without others in it: its name, and its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What the kernel counted for the learners' group."""

    oom_kills: int
    cpu_ns: int
    memory_bytes: int
    processes_refused: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Where the runtime is to start process 1, and whether it sets the limits of that group.

    It leaves groups alone where `group` is "".
    """

    group: str
    limited: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Gift:
    """A group, or a file of one, that belongs to the sandbox's root."""

    path: str
    mode: int | None = None
    """Of a group: nobody else in the sandbox may enter it."""


class Groups(Protocol):
    """What the driver needs of control groups."""

    @property
    def limits(self) -> bool:
        """Whether there are any, so that the kernel holds what they limit and counts it."""
        ...

    @property
    def cleanup(self) -> Cleanup:
        """How the agent ends an execution with what it is shown of them."""
        ...

    @property
    def spares(self) -> Spares | None:
        """Groups that are used again, where that can be."""
        ...

    def group_of(self, sandbox_id: str) -> str:
        """The agent's group, from the top of the hierarchies; "" for none."""
        ...

    def enter(self) -> None:
        """Leave the group that sandboxes are to be made in, if it is where this process is."""
        ...

    def start(self, sandbox_id: str) -> Start:
        """What the runtime is told."""
        ...

    def view(self, *, whole: bool) -> None:
        """Arrange /sys/fs/cgroup in a launcher's own mount namespace for the runtime.

        Unless the runtime insists on the `whole`, it is not shown what sandboxes don't need.
        """
        ...

    def make(self, sandbox_id: str, owner: int | None) -> None:
        """Make the groups; `owner` is to make others in the learners'.

        None: somebody else hands over to its owner what `gifts` lists.
        """
        ...

    def gifts(self, sandbox_id: str) -> list[Gift]:
        """What `make` hands over, where it is there."""
        ...

    def limit(self, sandbox_id: str, limits: SandboxLimits, owner: int) -> None:
        """Set the learners' limits, before or after `place`."""
        ...

    def entrances(self, sandbox_id: str) -> list[str]:
        """The files that process 1 is written to before it is in a namespace of groups."""
        ...

    def exits(self) -> list[str]:
        """The files that a process, with all that it will start, is written to so that it is not
        in the server's group where sandboxes have none of their own: else they would end with
        the server's. Whoever writes them makes their groups."""
        ...

    def learners(self, sandbox_id: str) -> list[str]:
        """The folders on the host that the agent is given."""
        ...

    def make_whole(self, sandbox_id: str, limits: SandboxLimits) -> None:
        """Make one group, with limits, for all of a sandbox whose kernel is its own."""
        ...

    def binds(self, sandbox_id: str) -> list[Bind]:
        """What the agent is shown of it."""
        ...

    def members(self, sandbox_id: str) -> list[int]:
        """All processes of a sandbox that the host knows."""
        ...

    def place(self, sandbox_id: str, pid: int, owner: int, *, entered: bool = False) -> None:
        """Put process 1 where nobody else has, and make what could not be made before.

        `entered`: it came by all the `entrances`.

        Raises ProcessLookupError when it has ended.
        """
        ...

    def usage(self, sandbox_id: str) -> Usage | None:
        """What the learners used, or None when the groups are not there."""
        ...

    def remove(self, sandbox_id: str, process: Process | None) -> None:
        """End all processes of a sandbox and remove its groups. Raises RuntimeFailed.

        `process` is its process 1, if anybody noted which.
        """
        ...

    def tidy(self) -> None:
        """Remove what no sandbox uses any more."""
        ...


def group_of_kernel(agents: str) -> str:
    """The group of a kernel of the sandbox's own, given where an agent's would be."""
    return f"{agents.rpartition('/')[0]}/{LEARNERS}/{KERNEL}"


def bind(source: Path, name: str) -> Bind:
    """The learners' group of one hierarchy, as the agent sees it."""
    target = f"{GROUPS}/{name}"
    return Bind(source=str(source), target=target, writable=True, executable=False)


def quota(limits: SandboxLimits) -> str:
    """Microseconds of processor time in each period that the learners may use."""
    return f"{max(1000, round(limits.cpus * PERIOD_US))}"


def write(folder: Path | str, **values: object) -> None:
    """Write settings of a group; `_` in a name stands for `.` where it comes first."""
    for name, value in values.items():
        put(f"{folder}/{name.replace('_', '.', 1)}", f"{value}")


def put(path: str, text: str) -> None:
    """Write a file of the kernel's, at a fifth of the cost of a file object."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def get(path: str) -> str:
    """Read a file of the kernel's, to its end."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(file, _READ_MOST)
        while more := len(text) % _READ_MOST == 0 and os.read(file, _READ_MOST):
            text += more
        return text.decode()
    finally:
        os.close(file)


def where_there(read: Callable[[], T]) -> T | None:
    """What is read of a group, or None when that is not there (any more)."""
    try:
        return read()
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return None


def make_folder(folder: Path | str) -> None:
    """Make a group and those above it, even while another server tidies up."""
    for _ in range(_TIDIED_MOST):
        # It was there a moment ago, or what is above it was.
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            os.makedirs(folder, exist_ok=True)
            return
    os.makedirs(folder, exist_ok=True)


def join(procs: str, pid: int) -> None:
    """Put a process into a group, which is made for it, by its file of processes.

    Another server that tidies up may remove the group in between, again and again.
    """
    for _ in range(_TIDIED_MOST):
        make_folder(os.path.dirname(procs))
        try:
            put(procs, f"{pid}")
        except OSError as error:
            if error.errno not in _GONE:
                raise
        else:
            return
    put(procs, f"{pid}")


def gifts(folder: Path | str, *files: str) -> list[Gift]:
    """What lets its owner, and nobody else, make groups below and move processes in."""
    return [
        Gift(path=f"{folder}", mode=0o700),
        *(Gift(path=f"{folder}/{name}") for name in files),
    ]


def hand_over(given: Iterable[Gift], owner: int) -> None:
    """Make it the owner's, where it is there: not every kernel has all of the files."""
    for gift in given:
        with contextlib.suppress(FileNotFoundError):
            if gift.mode is not None:
                os.chmod(gift.path, gift.mode)
            os.chown(gift.path, owner, owner)


def groups_in(folder: Path | str) -> list[str]:
    """The groups directly in a group; none when there is no such group."""
    try:
        if os.stat(folder).st_nlink == _LINKS_OF_NONE:  # a group has some thirty files
            return []
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def tree(folder: Path | str) -> list[str]:
    """A group and all groups in it, innermost first."""
    within = [each for group in groups_in(folder) for each in tree(group)]
    return [*within, os.fspath(folder)]


def refused(folder: Path | str) -> int:
    """How often a process was refused in a group and those in it, being at a limit of processes.

    Kernels differ in which of the groups counts it, the one at its limit or the process's own.
    """
    count = 0
    for group in tree(folder):
        with contextlib.suppress(OSError):  # not in version 1 before Linux 4.7
            count += int(get(f"{group}/pids.events").split()[1])
    return count


def members(folder: Path | str) -> list[int]:
    """The processes in a group and in all groups in it."""
    found: list[int] = []
    for group in tree(folder):
        with contextlib.suppress(OSError):
            found += map(int, get(f"{group}/cgroup.procs").split())
    return [pid for pid in found if pid != 0]  # 0: outside of our own process namespace


def end(process: Process | None) -> None:
    """End a sandbox by its process 1: the kernel lets it go when all others have ended."""
    if process is not None:
        process.kill(time.monotonic() + SECONDS_TO_END)


def remove_all(folders: Sequence[Path | str], processes: Path | str, share: Path | str) -> None:
    """Remove all `folders` with those in them; kill what is in `processes` until that can be done.

    `share` is the file of the learners' share of the processors.
    """
    deadline = time.monotonic() + SECONDS_TO_DIE
    while left := [folder for folder in folders if not _remove_tree(folder)]:
        soon = time.monotonic() + PERIOD_US / 1e6
        kill_and_wait(lambda: members(processes), min(soon, deadline))
        if time.monotonic() > deadline:
            raise hanging(f"cannot remove {left[0]}: processes {members(processes)}")
        _forgive(share)
        time.sleep(0.002)


def _forgive(share: Path | str) -> None:
    """Let killed processes go that owe time used inside the kernel, by saying their share again.

    Otherwise they would first wait until it is paid back, for seconds.
    """
    with contextlib.suppress(OSError):
        put(f"{share}", get(f"{share}"))


def hanging(detail: str) -> RuntimeFailed:
    """The error when processes were killed and do not end."""
    return RuntimeFailed(
        "a sandbox's processes do not end; they may hang in the kernel, see `dmesg`", detail=detail
    )


def _remove_tree(folder: Path | str) -> bool:
    for group in tree(folder):
        try:
            os.rmdir(group)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
