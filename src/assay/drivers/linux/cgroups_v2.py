"""Control groups of version 2: one tree for everything.

    /assay/<id>             the top of what the sandbox's control group namespace can reach
    /assay/<id>/agent       process 1
    /assay/<id>/learners    the limits

Where the tree is mounted with `nsdelegate`, as systemd does, the kernel lets nobody move a process
across the top of its namespace, not even into a group that is its own. So the runtime starts
process 1 in the group above both, which becomes that top, and the driver moves it into its own.
Only then can the controllers be enabled: a group that passes memory on may have no processes.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from assay.domain.limits import SandboxLimits
from assay.driver.port import Cleanup
from assay.drivers.linux.cgroups import (
    AGENT,
    AGENTS_OWN,
    LEARNERS,
    PARENT,
    PERIOD_US,
    SERVERS,
    Gift,
    Start,
    Usage,
    bind,
    end,
    get,
    gifts,
    hand_over,
    make_folder,
    members,
    quota,
    refused,
    remove_all,
    where_there,
    write,
)
from assay.drivers.linux.confinement import AGENT_MEMORY, AGENT_PROCESSES, Bind
from assay.drivers.linux.process import Process

CONTROLLERS: Final = ("memory", "pids", "cpu")
_ENABLED: Final = " ".join(f"+{name}" for name in CONTROLLERS)


class GroupsV2:
    """Groups on a host with version 2 alone."""

    limits = True
    cleanup = Cleanup.CGROUP_KILL
    spares = None

    def __init__(self, mounted: Path, parent: str = PARENT, *, is_own: bool = False) -> None:
        """`is_own`: the group above `parent` is the one that this process is in."""
        self._mounted = mounted
        self._parent = parent
        self._is_own = is_own

    def group_of(self, sandbox_id: str) -> str:
        return f"/{self._parent}/{sandbox_id}/{AGENT}"

    def enter(self) -> None:
        if self._is_own:
            servers = (self._mounted / self._parent).parent / SERVERS
            make_folder(servers)
            write(servers, cgroup_procs=os.getpid())

    def start(self, sandbox_id: str) -> Start:
        return Start(group=f"/{self._parent}/{sandbox_id}", limited=False)

    def view(self, *, whole: bool) -> None:
        """Runtimes like this layout as it is."""

    def make(self, sandbox_id: str, owner: int | None) -> None:
        make_folder(self._group(sandbox_id))
        parent = self._mounted / self._parent
        for folder in (parent.parent, parent):
            write(folder, cgroup_subtree_control=_ENABLED)
        for name in (AGENT, LEARNERS):
            make_folder(self._group(sandbox_id) / name)

    def gifts(self, sandbox_id: str) -> list[Gift]:
        return []  # what `place` and `limit` hand over comes later

    def make_whole(self, sandbox_id: str, limits: SandboxLimits) -> None:
        group = self._group(sandbox_id)
        make_folder(group / LEARNERS)
        for folder in (group.parent.parent, group.parent, group):
            write(folder, cgroup_subtree_control=_ENABLED)
        _limit_all(group / LEARNERS, limits)

    def binds(self, sandbox_id: str) -> list[Bind]:
        return [bind(self._group(sandbox_id) / LEARNERS, "unified")]

    def members(self, sandbox_id: str) -> list[int]:
        return members(self._group(sandbox_id))

    def entrances(self, sandbox_id: str) -> list[str]:
        return [f"{self._group(sandbox_id)}/cgroup.procs"]

    def exits(self) -> list[str]:
        return []  # there is one tree, in which each sandbox has its group

    def learners(self, sandbox_id: str) -> list[str]:
        return [f"{self._group(sandbox_id)}/{LEARNERS}"]

    def place(self, sandbox_id: str, pid: int, owner: int, *, entered: bool = False) -> None:
        group = self._group(sandbox_id)
        # With whoever has come along: a group that passes controllers on may hold no processes.
        for each in {*get(f"{group}/cgroup.procs").split(), str(pid)}:
            write(group / AGENT, cgroup_procs=each)
        write(group, cgroup_subtree_control=_ENABLED)
        _limit(group / AGENT, memory=AGENT_MEMORY, processes=AGENT_PROCESSES)
        hand_over(gifts(group, "cgroup.procs"), owner)

    def limit(self, sandbox_id: str, limits: SandboxLimits, owner: int) -> None:
        learners = self._group(sandbox_id) / LEARNERS
        _limit_all(learners, limits)
        # The agent counts memory for each execution; processes and time are counted together.
        write(learners, cgroup_subtree_control="+memory")
        # Last of all: the agent waits until it may use these.
        hand_over(gifts(learners, "cgroup.subtree_control", "cpu.max", "cgroup.procs"), owner)

    def usage(self, sandbox_id: str) -> Usage | None:
        learners = self._group(sandbox_id) / LEARNERS
        return where_there(
            lambda: Usage(
                oom_kills=_number(learners / "memory.events", "oom_kill"),
                cpu_ns=1000 * _number(learners / "cpu.stat", "usage_usec"),
                memory_bytes=int((learners / "memory.current").read_text()),
                processes_refused=refused(learners),
            )
        )

    def remove(self, sandbox_id: str, process: Process | None) -> None:
        folder = self._group(sandbox_id)
        end(process)
        with contextlib.suppress(FileNotFoundError):
            write(folder, cgroup_kill=1)  # Linux 5.14; what older ones lack, remove_all does
        remove_all([folder], folder, folder / LEARNERS / "cpu.max")

    def tidy(self) -> None:
        with contextlib.suppress(OSError):
            (self._mounted / self._parent).rmdir()

    def _group(self, sandbox_id: str) -> Path:
        return self._mounted / self._parent / sandbox_id


def _limit_all(learners: Path, limits: SandboxLimits) -> None:
    _limit(learners, memory=limits.memory_bytes, processes=limits.processes + AGENTS_OWN)
    write(learners, cpu_max=f"{quota(limits)} {PERIOD_US}")


def _limit(folder: Path, *, memory: int, processes: int) -> None:
    write(folder, memory_max=memory, pids_max=processes)
    with contextlib.suppress(FileNotFoundError):  # a kernel without swap
        (folder / "memory.swap.max").write_text("0")


def _number(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        words = line.split()
        if words[0] == name:
            return int(words[1])
    return 0
