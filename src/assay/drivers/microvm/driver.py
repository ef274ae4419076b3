"""The driver: sandboxes that are virtual machines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from assay.domain.errors import AssayError
from assay.driver.port import ByteStream, Health, Problem
from assay.drivers.linux import health
from assay.drivers.linux.driver import ThreadedDriver
from assay.drivers.linux.users import FIRST
from assay.drivers.microvm.machine import Monitor
from assay.drivers.microvm.workshop import MachineWorkshop

_SECONDS_TO_CONNECT: Final = 10.0


class MicroVmDriver(ThreadedDriver):
    """Makes sandboxes with a monitor of virtual machines.

    `state` is a folder of its own on this machine, that several servers may share, and `disks` one
    for images as disks; `agent` and `guest` are our programs in a machine; `kernel` is the path of
    one, or "" for the newest that is installed. Needs root.
    """

    def __init__(
        self,
        *,
        monitor: Monitor,
        state: Path,
        disks: Path,
        agent: Path,
        guest: Path,
        kernel: str = "",
        first_user: int = FIRST,
        parallel: int = 4,
    ) -> None:
        self._monitor = monitor
        self._state = state
        self._machines = MachineWorkshop(
            monitor=monitor,
            state=state.absolute(),
            disks=disks.absolute(),
            agent=agent,
            guest=guest,
            kernel=kernel,
            first_user=first_user,
        )
        super().__init__(self._machines, parallel)

    @property
    def most_at_once(self) -> tuple[int, str] | None:
        """How many idle sandboxes this machine bears, and why no more; None: as memory allows."""
        return self._monitor.most_at_once

    async def probe(self) -> Health:
        """Make a sandbox with an empty root and connect to its agent. Never raises."""
        try:
            problems = await asyncio.to_thread(self._monitor.problems)
            version = "" if problems else await asyncio.to_thread(lambda: self._monitor.version)
        except (AssayError, OSError) as error:
            problems, version = [Problem(summary=str(error))], ""
        if problems:
            return Health(works=False, version=version, problems=tuple(problems))
        return await health.probe(self, self._state, version)

    async def connect(self, sandbox_id: str) -> ByteStream:
        """Open a byte stream to the agent. Raises SandboxGone when there is none."""
        self._agent_of(sandbox_id)
        folder = self._machines.sandboxes.folder(sandbox_id)
        return await self._monitor.open(folder, _SECONDS_TO_CONNECT)
