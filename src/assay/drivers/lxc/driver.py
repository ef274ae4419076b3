"""The driver: sandboxes by LXC's own tools, without any daemon."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path

from assay.domain.errors import RuntimeMissing
from assay.driver.port import Health, Problem, SandboxSpec
from assay.drivers.linux import health
from assay.drivers.linux.driver import ThreadedDriver
from assay.drivers.linux.users import FIRST
from assay.drivers.lxc.workshop import REMEDY, LxcWorkshop


class LxcDriver(ThreadedDriver):
    """Makes sandboxes with `lxc-start`, of LXC 5 or later.

    `program` is a name on PATH, or a path; `state` a folder of its own on this machine, that
    several servers may share; `agent` is the static program that becomes process 1, and `lean` what
    starts LXC in a sandbox's control groups; `parallel` sandboxes are made at a time, others wait.
    Needs root, if only in a user namespace with 65,536 more ids.
    """

    def __init__(
        self,
        *,
        state: Path,
        agent: Path,
        lean: Path,
        program: str = "lxc-start",
        first_user: int = FIRST,
        parallel: int = 4,
    ) -> None:
        self._state = state
        self._containers = LxcWorkshop(
            program=program,
            lean=lean,
            state=state.absolute(),
            agent=agent,
            first_user=first_user,
            parallel=parallel,
        )
        super().__init__(self._containers, parallel)

    async def probe(self) -> Health:
        """Make a sandbox with an empty root and connect to its agent. Never raises."""
        try:
            version = await asyncio.to_thread(self._containers.version)
        except RuntimeMissing as error:
            problem = Problem(summary=error.message, remedy=REMEDY)
            return Health(works=False, problems=(problem,))
        except (OSError, subprocess.SubprocessError) as error:
            version = f"unknown ({error})"
        return await health.probe(self, self._state, version)

    async def time_alone(self, spec: SandboxSpec, argv: Sequence[str], stopwatch: Path) -> int:
        """Nanoseconds that LXC takes to run `argv` in such a sandbox, with no agent in it.

        This is what making a sandbox is compared with; `stopwatch` is the program `floor`.
        """
        loop = asyncio.get_running_loop()
        timing = loop.run_in_executor(
            self._makers, self._containers.time_alone, spec, argv, stopwatch
        )
        return await asyncio.shield(timing)
