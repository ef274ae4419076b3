"""What may be left behind: in this process, and on the host.

A machine that runs tests is busy with other things, other sandboxes among them. So nothing is
compared "before and after" for the host as a whole: what is looked for are traces of the very
sandboxes that a case made, by their ids and by their namespaces. Only this process's own
descriptors and tasks are counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from assay.agent.files import list_files
from assay.agent.session import Session
from assay.domain.errors import FileError
from assay.driver.port import Driver, Sandbox

_CGROUPS: Final = Path("/sys/fs/cgroup")
_PROC: Final = Path("/proc")
_AGENTS: Final = (0, 65533)
"""Whose the agent is, and bridges to it."""
_NAMESPACES: Final = ("pid", "net", "mnt")


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnState:
    """What this process holds."""

    descriptors: dict[int, str]
    tasks: frozenset[asyncio.Task[object]]

    @classmethod
    def now(cls) -> OwnState:
        """Look at this process."""
        return cls(descriptors=dict(_descriptors()), tasks=frozenset(asyncio.all_tasks()))

    def left_since(self) -> list[str]:
        """What is there now and was not then."""
        gc.collect()
        now = OwnState.now()
        new = {
            number: target
            for number, target in now.descriptors.items()
            if self.descriptors.get(number) != target
        }
        tasks = now.tasks - self.tasks - {asyncio.current_task()}
        return [
            *(f"descriptor {number} of this process ({target})" for number, target in new.items()),
            *(f"task {task.get_name()} ({task.get_coro()!r})" for task in tasks if not task.done()),
        ]


_TICK_SECONDS: Final = 1 / os.sysconf("SC_CLK_TCK")
"""How exactly the kernel tells when a process was started: rounded down."""


@dataclass(kw_only=True, slots=True)
class Traces:
    """Where sandboxes were on this host, noted while they lived."""

    namespaces: dict[str, str] = field(default_factory=dict)
    """From a namespace, as in /proc/PID/ns, to the sandbox that it belongs to."""
    folders: dict[str, str] = field(default_factory=dict)
    destroyed: dict[str, float] = field(default_factory=dict)
    """When each sandbox began to be destroyed, in seconds since the machine started."""

    def note(self, sandbox: Sandbox) -> None:
        """Remember where a sandbox is: its namespaces and its folders."""
        for path in sandbox.facts.values():
            if path.startswith("/") and sandbox.id in path:
                self.folders[path] = sandbox.id
        for pid in processes_of(sandbox):
            for kind in _NAMESPACES:
                with contextlib.suppress(OSError):
                    namespace = _namespace(pid, kind)
                    if namespace != _namespace(os.getpid(), kind):
                        self.namespaces[namespace] = sandbox.id

    def note_end(self, sandbox_id: str) -> None:
        """Remember that a sandbox is about to be destroyed."""
        self.destroyed.setdefault(sandbox_id, _uptime())

    def left(self, sandbox_ids: Iterable[str]) -> list[str]:
        """What is still there of sandboxes that were destroyed."""
        ids = frozenset(sandbox_ids)
        return [
            *_processes_left(ids, self.namespaces, self.destroyed),
            *_named_after(ids, _mount_points(), "mount"),
            *_named_after(ids, _control_groups(), "control group"),
            *_named_after(ids, _network_namespaces(), "network namespace"),
            *(f"folder {path}" for path, owner in self.folders.items()
              if owner in ids and os.path.lexists(path)),
        ]  # fmt: skip


async def sandboxes_left(driver: Driver, sandbox_ids: Iterable[str]) -> list[str]:
    """Which of these sandboxes the driver still has."""
    there = set(await driver.list())
    return [f"sandbox {sandbox_id}" for sandbox_id in sandbox_ids if sandbox_id in there]


def processes_of(sandbox: Sandbox) -> list[int]:
    """The host's process ids of everything in a sandbox that the host can see.

    Found by the sandbox's id in the control group, and by the process that the driver names in
    its facts ("process"). Empty for technologies whose processes are not the host's.
    """
    found = []
    for pid in _all_processes():
        with contextlib.suppress(OSError):
            if sandbox.id in (_PROC / str(pid) / "cgroup").read_text():
                found.append(pid)
    named = sandbox.facts.get("process", "")
    if named.isdigit() and int(named) not in found and (_PROC / named).exists():
        found.append(int(named))
    return found


def programs_of(sandbox: Sandbox) -> list[int]:
    """Those of them that run as another user than the agent: the sandbox's oldest process.

    A technology may have processes of its own in the same groups; those are in other namespaces.
    """
    owners = {}
    named = sandbox.facts.get("process", "")
    for pid in processes_of(sandbox):
        with contextlib.suppress(OSError):  # gone meanwhile
            if not named or _namespace(pid, "pid") == _namespace(int(named), "pid"):
                owners[pid] = (_started(pid), pid, _owner(pid))
    if not owners:
        return []
    agents = min(owners.values())[2]
    return [pid for pid, (_, _, owner) in owners.items() if owner != agents]


async def programs_in(session: Session) -> int:
    """How many processes a learner has in a sandbox.

    The host counts them; where they are none of its own, the sandbox's root does in its /proc.
    """
    if not session.driver.capabilities.own_kernel:
        # Where they come and go, more are seen in one look than there are at any time.
        return sum((_PROC / str(pid)).exists() for pid in programs_of(session.sandbox))
    while True:
        with contextlib.suppress(FileError):  # some of them end meanwhile
            found = await list_files(session.agent, "/proc", privileged=True)
            return sum(one.name.isdigit() and one.uid not in _AGENTS for one in found)


def resident_bytes() -> int:
    """Memory of this process, without what it shares with files."""
    fields = dict(line.split(":", 1) for line in (_PROC / "self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def _descriptors() -> Iterator[tuple[int, str]]:
    for descriptor in list((_PROC / "self/fd").iterdir()):
        # (the descriptor of this very listing is gone by now)
        with contextlib.suppress(OSError):
            yield int(descriptor.name), str(descriptor.readlink())


def _all_processes() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _namespace(pid: int, kind: str) -> str:
    return str((_PROC / str(pid) / "ns" / kind).readlink())


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _owner(pid: int) -> str:
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("Uid:"):
            return line.split()[1]
    return ""


def _started(pid: int) -> float:
    """When a process was started, in seconds since the machine was."""
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) * _TICK_SECONDS


def _processes_left(
    ids: frozenset[str], namespaces: dict[str, str], destroyed: dict[str, float]
) -> Iterator[str]:
    for pid in _all_processes():
        if pid == os.getpid():
            continue
        folder = _PROC / str(pid)
        with contextlib.suppress(OSError):
            # A zombie is its parent's matter, and has no namespaces any more.
            where = (folder / "cgroup").read_bytes() + (folder / "cmdline").read_bytes()
            by_name = [one for one in ids if one.encode() in where]
            by_namespace = [
                owner
                for kind in _NAMESPACES
                # The kernel gives the numbers of namespaces again: a younger process is another's,
                # and so may one be that is of the same tick.
                if (owner := namespaces.get(_namespace(pid, kind), "")) in ids
                and _started(pid) + _TICK_SECONDS <= destroyed.get(owner, _uptime())
            ]
            for owner in {*by_name, *by_namespace}:
                yield f"process {pid} of sandbox {owner} ({(folder / 'comm').read_text().strip()})"


def _mount_points() -> Iterator[str]:
    for line in (_PROC / "self/mountinfo").read_text().splitlines():
        yield line.split()[4]


def _control_groups() -> Iterator[str]:
    for folder, names, _ in os.walk(_CGROUPS):
        for name in names:
            yield f"{folder}/{name}"


def _network_namespaces() -> Iterator[str]:
    for folder in ("/run/netns", "/var/run/docker/netns"):
        with contextlib.suppress(OSError):
            yield from (entry.name for entry in Path(folder).iterdir())


def _named_after(ids: frozenset[str], paths: Iterable[str], what: str) -> Iterator[str]:
    for path in paths:
        if any(one in path for one in ids):
            yield f"{what} {path}"
