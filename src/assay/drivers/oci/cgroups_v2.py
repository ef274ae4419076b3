"""Control groups of version 2: one tree for everything."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from assay.domain.limits import SandboxLimits
from assay.drivers.oci.bundle import Bind
from assay.drivers.oci.cgroups import (
    AGENTS_OWN,
    LEARNERS,
    PARENT,
    PERIOD_US,
    Usage,
    bind,
    hand_over,
    make_folder,
    remove_all,
    write,
)

_CONTROLLERS: Final = ("memory", "pids", "cpu")


class GroupsV2:
    """Groups on a host with version 2 alone."""

    def __init__(self, mounted: Path) -> None:
        self._mounted = mounted

    def view(self) -> None:
        """Runtimes like this layout as it is."""

    def make(self, sandbox_id: str, limits: SandboxLimits, owner: int) -> None:
        learners = self._learners(sandbox_id)
        make_folder(learners)
        enabled = " ".join(f"+{name}" for name in _CONTROLLERS)
        above = (self._mounted, learners.parent.parent, learners.parent)
        for folder in above:
            write(folder, cgroup_subtree_control=enabled)
        # The agent counts memory for each execution; processes and time are counted together.
        write(learners, cgroup_subtree_control="+memory")
        quota = max(1000, round(limits.cpus * PERIOD_US))
        write(
            learners,
            memory_max=limits.memory_bytes,
            pids_max=limits.processes + AGENTS_OWN,
            cpu_max=f"{quota} {PERIOD_US}",
        )
        with contextlib.suppress(FileNotFoundError):
            (learners / "memory.swap.max").write_text("0")
        hand_over(learners, owner, ("cgroup.procs", "cgroup.subtree_control"))
        hand_over(learners.parent, owner, ("cgroup.procs",))

    def binds(self, sandbox_id: str) -> list[Bind]:
        return [bind(self._learners(sandbox_id), "unified")]

    def place(self, sandbox_id: str, pid: int) -> None:
        """The runtime has."""

    def usage(self, sandbox_id: str) -> Usage | None:
        learners = self._learners(sandbox_id)
        try:
            return Usage(
                oom_kills=_number(learners / "memory.events", "oom_kill"),
                cpu_ns=1000 * _number(learners / "cpu.stat", "usage_usec"),
                memory_bytes=int((learners / "memory.current").read_text()),
            )
        except FileNotFoundError:
            return None

    def remove(self, sandbox_id: str) -> None:
        folder = self._learners(sandbox_id).parent
        with contextlib.suppress(FileNotFoundError):
            write(folder, cgroup_kill=1)
        remove_all([folder], folder)

    def tidy(self) -> None:
        with contextlib.suppress(OSError):
            (self._mounted / PARENT).rmdir()

    def _learners(self, sandbox_id: str) -> Path:
        return self._mounted / PARENT / sandbox_id / LEARNERS


def _number(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        words = line.split()
        if words[0] == name:
            return int(words[1])
    return 0
