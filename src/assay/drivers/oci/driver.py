"""The driver: sandboxes by an OCI runtime, without any daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from assay.domain.errors import RuntimeMissing
from assay.driver.port import Health, Problem, SandboxSpec
from assay.drivers.linux import health
from assay.drivers.linux.driver import ThreadedDriver
from assay.drivers.linux.users import FIRST
from assay.drivers.oci.runtime import Runtime
from assay.drivers.oci.workshop import BundleWorkshop


class OciDriver(ThreadedDriver):
    """Makes sandboxes with crun, runc, runsc, or another program with their command line.

    `state` is a folder of its own on this machine, that several servers may share; `agent` is the
    static program that becomes process 1; `parallel` sandboxes are made at a time, others wait.
    Needs root, if only in a user namespace with 65,536 more ids.
    """

    def __init__(
        self,
        *,
        runtime: Runtime,
        state: Path,
        agent: Path,
        first_user: int = FIRST,
        parallel: int = 4,
    ) -> None:
        self._runtime = runtime
        self._state = state
        self._bundles = BundleWorkshop(
            runtime=runtime,
            state=state.absolute(),
            agent=agent,
            first_user=first_user,
            parallel=parallel,
        )
        super().__init__(self._bundles, parallel)

    async def probe(self) -> Health:
        """Make a sandbox with an empty root and connect to its agent. Never raises."""
        runtime = self._runtime
        try:
            version = await asyncio.to_thread(runtime.version)
        except RuntimeMissing as error:
            problem = Problem(summary=error.message, remedy=runtime.remedy)
            return Health(works=False, problems=(problem,))
        except (OSError, ValueError) as error:
            version = f"unknown ({error})"
        return await health.probe(self, self._state, version)

    async def time_alone(self, spec: SandboxSpec, argv: Sequence[str], stopwatch: Path) -> int:
        """Nanoseconds that the runtime takes to run `argv` in such a sandbox, with no agent in it.

        This is what making a sandbox is compared with; `stopwatch` is the program `floor`.
        """
        loop = asyncio.get_running_loop()
        timing = loop.run_in_executor(self._makers, self._bundles.time_alone, spec, argv, stopwatch)
        return await asyncio.shield(timing)
