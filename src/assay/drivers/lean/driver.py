"""The driver: sandboxes without a runtime program, by a helper that is always running."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from assay.domain.errors import RuntimeFailed
from assay.driver.port import Health, Sandbox, SandboxSpec
from assay.drivers.lean.workshop import LeanWorkshop
from assay.drivers.linux import health
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.finish import to_the_end
from assay.drivers.linux.users import FIRST


class LeanDriver(LocalDriver):
    """Makes sandboxes by the program `lean`, which does what an OCI runtime does, and little else.

    `state` is a folder of its own on this machine, that several servers may share; `program` is
    `lean`, and `agent` what becomes process 1. `stock` processes are kept ready, in namespaces and
    groups of their own, for the sandboxes to come; `parallel` sandboxes are made at a time, others
    wait. Needs root, if only in a user namespace with 65,536 more ids, and Linux 5.12.
    """

    def __init__(
        self,
        *,
        program: Path,
        state: Path,
        agent: Path,
        first_user: int = FIRST,
        stock: int = 0,
        parallel: int = 4,
    ) -> None:
        self._state = state
        self._lean = LeanWorkshop(
            program=program,
            state=state.absolute(),
            agent=agent,
            first_user=first_user,
            stock=stock,
        )
        self._places = asyncio.Semaphore(parallel)
        self._removals: dict[str, asyncio.Task[None]] = {}
        super().__init__(self._lean)

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox whose agent accepts connections."""
        async with self._places:
            await self._lean.get_ready()
            return await super().create(spec)

    async def _make(self, sandbox_id: str, spec: SandboxSpec) -> Sandbox:
        return await self._lean.make(sandbox_id, spec)

    def _removal(self, sandbox_id: str) -> asyncio.Future[None]:
        # Once for all who ask at the same time: they would only wait for each other.
        removal = self._removals.get(sandbox_id)
        if removal is None:
            removal = asyncio.get_running_loop().create_task(self._lean.clear(sandbox_id))
            self._removals[sandbox_id] = removal
            removal.add_done_callback(lambda _done: self._removals.pop(sandbox_id))
        return removal

    async def aclose(self) -> None:
        """End the helper, and what is prepared. Sandboxes go on."""
        await to_the_end(self._close())

    async def _close(self) -> None:
        if self._removals:
            await asyncio.wait(self._removals.values())
        await self._lean.aclose()

    async def probe(self) -> Health:
        """Make a sandbox with an empty root and connect to its agent. Never raises."""
        return await health.probe(self, self._state, f"Linux {os.uname().release}")

    async def time_alone(self, spec: SandboxSpec, argv: Sequence[str], stopwatch: Path) -> int:
        """Nanoseconds to run `argv` in new namespaces of every kind, with the same root.

        Nothing that isolates so can be faster. `stopwatch` is the program `floor`.
        """
        shown = spec.root.mounts[0]
        ended = await asyncio.create_subprocess_exec(
            stopwatch, "--namespaces", "3", spec.root.path,
            shown.source, shown.target.lstrip("/"), argv[0],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, err = await ended.communicate()
        if ended.returncode != 0:
            raise RuntimeFailed(f"{argv[0]} does not run in namespaces", detail=err.decode())
        return sorted(map(int, out.split()))[1]

    @property
    def helper(self) -> int | None:
        """The process that makes the sandboxes, when there is one."""
        return self._lean.helper.pid

    @property
    def prepared(self) -> int:
        """How many processes are ready for sandboxes to come."""
        return len(self._lean.stock)
