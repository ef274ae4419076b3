"""No control groups at all: what an ordinary user has to whom none were delegated.

Then the kernel limits each process rather than all of them together (bundle.py), and what a
sandbox has started is found by its process namespace: that ends with its process 1.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from assay.domain.limits import SandboxLimits
from assay.driver.port import Cleanup
from assay.drivers.linux.cgroups import SECONDS_TO_DIE, Gift, Start, Usage, hanging
from assay.drivers.linux.cgroups_v1 import Hierarchy, show_version_1
from assay.drivers.linux.confinement import Bind
from assay.drivers.linux.process import Process


class NoGroups:
    """Groups that are not there."""

    limits = False
    spares = None
    cleanup = Cleanup.KILL_ALL

    def __init__(self, hierarchies: Sequence[Hierarchy]) -> None:
        self._hierarchies = hierarchies

    def group_of(self, sandbox_id: str) -> str:
        return ""

    def enter(self) -> None:
        """Nothing to leave."""

    def start(self, sandbox_id: str) -> Start:
        return Start(group="", limited=False)

    def view(self, *, whole: bool) -> None:
        """Runtimes want to see some that they can't use, and crun not those of both versions."""
        if self._hierarchies:
            show_version_1(self._hierarchies, None)

    def make(self, sandbox_id: str, owner: int | None) -> None:
        """Nothing to make."""

    def gifts(self, sandbox_id: str) -> list[Gift]:
        return []

    def limit(self, sandbox_id: str, limits: SandboxLimits, owner: int) -> None:
        """Nothing to limit them with."""

    def entrances(self, sandbox_id: str) -> list[str]:
        return []

    def exits(self) -> list[str]:
        return []

    def learners(self, sandbox_id: str) -> list[str]:
        return []

    def make_whole(self, sandbox_id: str, limits: SandboxLimits) -> None:
        """Nothing to make."""

    def members(self, sandbox_id: str) -> list[int]:
        return []

    def binds(self, sandbox_id: str) -> list[Bind]:
        return []

    def place(self, sandbox_id: str, pid: int, owner: int, *, entered: bool = False) -> None:
        """Nowhere to place it."""

    def usage(self, sandbox_id: str) -> Usage | None:
        return None

    def remove(self, sandbox_id: str, process: Process | None) -> None:
        """Kill process 1; the kernel then kills all others before it lets it end."""
        if process is None:
            return
        process.kill(time.monotonic() + SECONDS_TO_DIE)
        if process.runs():
            raise hanging(f"process {process.pid} was killed and still runs")

    def tidy(self) -> None:
        """Nothing to remove."""
