"""Control groups of version 1: one hierarchy for each controller, and often version 2 beside."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from assay.domain.limits import MIB, SandboxLimits
from assay.driver.port import Cleanup
from assay.drivers.linux import kernel
from assay.drivers.linux.cgroups import (
    AGENT,
    AGENTS_OWN,
    LEARNERS,
    PARENT,
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
    put,
    quota,
    refused,
    remove_all,
    tree,
    where_there,
    write,
)
from assay.drivers.linux.confinement import AGENT_MEMORY, AGENT_PROCESSES, Bind
from assay.drivers.linux.kernel import MountFlag
from assay.drivers.linux.process import Process
from assay.drivers.linux.spares import SLOTS, Spares

VIEW: Final = Path("/sys/fs/cgroup")
_SCAFFOLD: Final = Path("/dev/shm")
_UNIFIED: Final = ".unified"
_LEAST_SOCKET_MEMORY: Final = 4 * MIB
_OF_SLOTS: Final = {
    "memory": ("memory.max_usage_in_bytes", "memory.kmem.tcp.limit_in_bytes"),
    "freezer": ("freezer.state",),
}
"""What an agent writes, besides, in the groups of its executions."""
_LIMITED: Final = ("memory", "pids")
"""Where an agent's own group is limited."""
_FLAGS: Final = MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC


@dataclass(frozen=True, kw_only=True, slots=True)
class Hierarchy:
    """One tree of groups: its controllers ("cpu,cpuacct" are often together), where it is."""

    controllers: str
    mounted: Path
    own: str = "/"
    """The group that this process is in."""

    @property
    def named(self) -> bool:
        """Whether it has no controller, only a name ("name=systemd")."""
        return self.controllers.startswith("name=")

    @property
    def name(self) -> str:
        """Of the folder where the runtime looks for it."""
        return self.controllers.removeprefix("name=")


class GroupsV1:
    """Groups on a host whose controllers are of version 1.

    crun refuses a host that has both versions mounted, so launchers show runtimes version 1 only.
    The tree of version 2 has no controllers then, but it can kill a whole group at once, which
    version 1 can't.
    """

    limits = True

    def __init__(
        self,
        hierarchies: Sequence[Hierarchy],
        unified: Path | None,
        parent: str = PARENT,
        given: frozenset[str] | None = None,
    ) -> None:
        """`given`: the controllers that we may use, being an ordinary user; None: all of them."""
        self._root = given is None
        self.cleanup = Cleanup.CGROUP_KILL if given is None else Cleanup.KILL_ALL
        self._hierarchies = hierarchies
        self._unified = unified
        self._parent = parent
        self._of: Mapping[str, Hierarchy] = {
            name: hierarchy
            for hierarchy in hierarchies
            for name in hierarchy.controllers.split(",")
            if given is None or name in given
        }

    def group_of(self, sandbox_id: str) -> str:
        return f"/{self._parent}/{sandbox_id}/{AGENT}"

    @cached_property
    def spares(self) -> Spares | None:
        """Of version 1."""
        if not self._root:
            return None
        # A group of version 2 can't be given another name.
        trees = {name: path for name, path in self._trees.items() if name != "unified"}
        return Spares(trees, around=self._trees.get("unified", ""))

    @cached_property
    def _trees(self) -> Mapping[str, str]:
        """Where on the host the agents' parts are, by the hierarchies' names."""
        trees = self._delegated(host=True)
        return {name: f"{mounted}/{self._parent}" for name, mounted in trees.items()}

    @cached_property
    def kills_at_once(self) -> bool:
        """Whether the kernel kills groups of version 2 (Linux 5.14), and they are mounted."""
        return self._unified is not None and kernel.is_at_least(5, 14)

    def view(self, *, whole: bool) -> None:
        # Runtimes make a group in each that they see. One of cpuset is of no use here, and makes
        # the kernel plan anew who runs where, over all groups.
        shown = [each for each in self._hierarchies if whole or each.controllers != "cpuset"]
        show_version_1(shown, self._unified if self.kills_at_once else None)

    def enter(self) -> None:
        """Groups of version 1 may hold both processes and groups."""

    def start(self, sandbox_id: str) -> Start:
        if not self._root:
            return Start(group="", limited=False)
        return Start(group=self.group_of(sandbox_id), limited=True)

    def make(self, sandbox_id: str, owner: int | None) -> None:
        spares = self.spares
        taken = spares is not None and spares.take(sandbox_id)
        for name in self._trees:
            if not taken or name == "unified":
                make_folder(self._learners(name, sandbox_id))
            if not taken and name != "unified":
                make_folder(f"{self._group(name, sandbox_id)}/{AGENT}")
        if not taken:
            memory, processes = self._group("memory", sandbox_id), self._group("pids", sandbox_id)
            write(f"{memory}/{AGENT}", memory_limit_in_bytes=AGENT_MEMORY)
            write(f"{processes}/{AGENT}", pids_max=AGENT_PROCESSES)
        if owner is not None:
            hand_over(self.gifts(sandbox_id), owner)
        if spares is None:
            return
        if (known := spares.limits.get(sandbox_id)) is not None:
            self._limit_share(sandbox_id, known)  # its former agent may have changed that
        if spares.usual is not None:
            # Most often it is what will be asked for, when there is less time.
            self.limit(sandbox_id, spares.usual, owner=0)

    def gifts(self, sandbox_id: str) -> list[Gift]:
        return [
            gift for name in self._trees for gift in _gifts(name, self._group(name, sandbox_id))
        ]

    def entrances(self, sandbox_id: str) -> list[str]:
        # The kernel goes through all groups that have used a processor lately, again and again, so
        # an agent has one of its own only where that has a limit.
        return [
            f"{tree}/{sandbox_id}{f'/{AGENT}' if name in _LIMITED else ''}/cgroup.procs"
            for name, tree in self._trees.items()
        ]

    def exits(self) -> list[str]:
        left = [each for each in self._hierarchies if self._root and each.controllers != "cpuset"]
        groups = {f"{each.mounted}/{self._parent}" for each in left} - {*self._trees.values()}
        groups |= {beside for each in self._hierarchies if (beside := self._beside(each))}
        return [f"{group}/cgroup.procs" for group in sorted(groups)]

    def _beside(self, cpuset: Hierarchy) -> str:
        """A group with the processors of the server's, which it would hold on to otherwise.

        What the server may use of them holds for its sandboxes, too. But its group may be a pod's,
        which has to go before they do.
        """
        own = f"{cpuset.mounted}{cpuset.own}"
        is_it = self._root and cpuset.controllers == "cpuset" and cpuset.own != "/"
        if not is_it or not Path(own).is_dir():
            return ""
        cpus, mems = (get(f"{own}/cpuset.{kind}").strip() for kind in ("cpus", "mems"))
        top = f"{cpuset.mounted}/{self._parent}"
        group = f"{top}/of-{cpus}-{mems}"
        make_folder(group)
        for kind in ("cpus", "mems"):
            everything = get(f"{cpuset.mounted}/cpuset.{kind}").strip()
            write(top, **{f"cpuset_{kind}": everything})
        write(group, cpuset_cpus=cpus, cpuset_mems=mems)
        return group

    def learners(self, sandbox_id: str) -> list[str]:
        return [self._learners(name, sandbox_id) for name in self._trees]

    def make_whole(self, sandbox_id: str, limits: SandboxLimits) -> None:
        for name in self._trees:
            make_folder(self._learners(name, sandbox_id))
        self.limit(sandbox_id, limits, owner=0)

    def limit(self, sandbox_id: str, limits: SandboxLimits, owner: int) -> None:
        if self.spares is not None:
            self.spares.usual = limits
            if self.spares.limits.get(sandbox_id) == limits:
                return
            self.spares.limits[sandbox_id] = limits
        self._limit_memory(self._learners("memory", sandbox_id), limits)
        write(self._learners("pids", sandbox_id), pids_max=limits.processes + AGENTS_OWN)
        self._limit_share(sandbox_id, limits)

    def _limit_share(self, sandbox_id: str, limits: SandboxLimits) -> None:
        # A new group's period is PERIOD_US; to write it would take as long again as the quota,
        # for which the kernel looks at all groups.
        file = f"{self._learners('cpu', sandbox_id)}/cpu.cfs_quota_us"
        if get(file).strip() != quota(limits):
            put(file, quota(limits))

    def _limit_memory(self, group: str, limits: SandboxLimits) -> None:
        if not kernel.is_at_least(5, 11):
            # Before, a group did not count what is in those below unless told to.
            above = [str(each) for each in Path(group).parents[:2]]
            for folder in (*reversed(above), group):
                with contextlib.suppress(OSError):
                    if get(f"{folder}/memory.use_hierarchy").strip() == "0":
                        write(folder, memory_use_hierarchy=1)
        with contextlib.suppress(OSError):  # in this way a limit can be lowered, and raised
            put(f"{group}/memory.memsw.limit_in_bytes", "-1")
        write(group, memory_limit_in_bytes=limits.memory_bytes)
        with contextlib.suppress(OSError):  # without swap, kernels lack one or the other
            write(group, memory_swappiness=0)
            put(f"{group}/memory.memsw.limit_in_bytes", str(limits.memory_bytes))
        # Version 1 counts buffers of sockets apart from all else, and only below a limit. It holds
        # for groups that have one of their own: the agent writes it to those it makes, too.
        with contextlib.suppress(OSError):  # gone from kernels that are built without it
            most = max(_LEAST_SOCKET_MEMORY, limits.memory_bytes // 4)
            put(f"{group}/memory.kmem.tcp.limit_in_bytes", str(most))

    def binds(self, sandbox_id: str) -> list[Bind]:
        return [
            bind(mounted / self._parent / _learners(name, sandbox_id), name)
            for name, mounted in self._delegated(host=False).items()
        ]

    def members(self, sandbox_id: str) -> list[int]:
        return members(self._group("pids", sandbox_id))

    def place(self, sandbox_id: str, pid: int, owner: int, *, entered: bool = False) -> None:
        if entered:
            return
        if self.kills_at_once:
            write(self._group("unified", sandbox_id), cgroup_procs=pid)
        if not self._root:
            for name in self._trees:
                _move(pid, owner, f"{self._group(name, sandbox_id)}/{AGENT}")

    def usage(self, sandbox_id: str) -> Usage | None:
        memory = self._learners("memory", sandbox_id)
        return where_there(
            lambda: Usage(
                oom_kills=sum(_oom_kills(group) for group in tree(memory)),
                cpu_ns=int(get(f"{self._learners('cpuacct', sandbox_id)}/cpuacct.usage")),
                memory_bytes=int(get(f"{memory}/memory.usage_in_bytes")),
                processes_refused=refused(self._learners("pids", sandbox_id)),
            )
        )

    def remove(self, sandbox_id: str, process: Process | None) -> None:
        if not self.kills_at_once:
            self._thaw(sandbox_id)
        end(process)
        self._kill_all(sandbox_id)
        processes = self._group("pids", sandbox_id)
        share = f"{self._learners('cpu', sandbox_id)}/cpu.cfs_quota_us"
        folders = [f"{folder}/{sandbox_id}" for folder in self._parents()]
        if self.spares is not None:
            kept = {f"{tree}/{sandbox_id}" for tree in self.spares.trees.values()}
            remove_all([each for each in folders if each not in kept], processes, share)
            if self.spares.put(sandbox_id):
                return
        remove_all(folders, processes, share)

    def _kill_all(self, sandbox_id: str) -> None:
        """Whatever has not ended with process 1, or before there was one."""
        if self.kills_at_once:
            with contextlib.suppress(FileNotFoundError):
                group = self._group("unified", sandbox_id)
                if "populated 1" in get(f"{group}/cgroup.events"):
                    write(group, cgroup_kill=1)

    def _thaw(self, sandbox_id: str) -> None:
        """A frozen process does not even end; an agent that died may have left some."""
        if "freezer" not in self._of:
            return
        for group in tree(f"{self._of['freezer'].mounted}/{self._parent}/{sandbox_id}"):
            with contextlib.suppress(OSError):
                write(group, freezer_state="THAWED")

    def tidy(self) -> None:
        if self.spares is not None:
            self.spares.remove_all()
        for folder in self._parents():
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def _parents(self) -> list[str]:
        mounted = [hierarchy.mounted for hierarchy in self._hierarchies]
        return [
            f"{path}/{self._parent}"
            for path in (*mounted, *([self._unified] if self._unified else []))
        ]

    def _delegated(self, *, host: bool) -> dict[str, Path]:
        """The trees that the agent gets a part of, by the names that it knows."""
        names = ["memory", "pids", "cpu", "cpuacct"]
        if self._root and not self.kills_at_once and "freezer" in self._of:
            names.append("freezer")
        trees = {
            name: self._of[name].mounted if host else VIEW / self._of[name].name for name in names
        }
        if self.kills_at_once and self._unified is not None:
            trees["unified"] = self._unified if host else VIEW / _UNIFIED
        return trees

    def _group(self, name: str, sandbox_id: str) -> str:
        return f"{self._trees[name]}/{sandbox_id}"

    def _learners(self, name: str, sandbox_id: str) -> str:
        return f"{self._trees[name]}/{_learners(name, sandbox_id)}"


def _learners(name: str, sandbox_id: str) -> str:
    """Below the folder of all sandboxes. Version 2 limits nothing here, so that the agent may be in
    the group in which it makes those of executions: one less to make and to remove."""
    return sandbox_id if name == "unified" else f"{sandbox_id}/{LEARNERS}"


def show_version_1(hierarchies: Sequence[Hierarchy], unified: Path | None) -> None:
    """Cover /sys/fs/cgroup with the same hierarchies, and version 2 where no runtime looks for it.

    They are bound, not mounted anew: that would change the host's options of version 2.
    """
    kernel.mount("cgroup", _SCAFFOLD, "tmpfs", _FLAGS, "mode=755,size=64k")
    for hierarchy in hierarchies:
        _bind(hierarchy.mounted, _SCAFFOLD / hierarchy.name)
        for name in hierarchy.controllers.split(","):
            if not hierarchy.named and name != hierarchy.name:
                (_SCAFFOLD / name).symlink_to(hierarchy.name)
    if unified is not None:
        _bind(unified, _SCAFFOLD / _UNIFIED)
    kernel.mount(_SCAFFOLD, VIEW, flags=MountFlag.MOVE)


def _gifts(name: str, group: str) -> list[Gift]:
    """The learners' group of a hierarchy, with what agents have made there before."""
    if name == "unified":  # which is new for each sandbox
        return gifts(group, "cgroup.procs", "cgroup.subtree_control")
    learners = f"{group}/{LEARNERS}"
    share = ("cpu.cfs_quota_us",) if name == "cpu" else ()
    of_slots = ("cgroup.procs", *_OF_SLOTS.get(name, ()))
    return [
        *gifts(learners, "cgroup.procs", "tasks", *share),
        *(gift for slot in SLOTS for gift in gifts(f"{learners}/{slot}", *of_slots)),
    ]


def _oom_kills(group: str) -> int:
    try:
        lines = get(f"{group}/memory.oom_control").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _move(pid: int, owner: int, group: str) -> None:
    """Version 1 lets nobody but root and a process's own user move it."""
    folder = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chown("cgroup.procs", owner, owner, dir_fd=folder)
        with kernel.acting_as(owner):
            procs = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.write(procs, str(pid).encode())
        finally:
            os.close(procs)
    finally:
        os.close(folder)


def _bind(source: Path, target: Path) -> None:
    target.mkdir()
    kernel.mount(source, target, flags=MountFlag.BIND)
