"""The driver: sandboxes by an OCI runtime, without any daemon."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from assay.domain.errors import (
    AssayError,
    CapabilityMissing,
    ConnectionLost,
    RuntimeMissing,
    SandboxGone,
)
from assay.driver.port import (
    ByteStream,
    Capabilities,
    Health,
    Problem,
    Sandbox,
    SandboxSpec,
    SandboxState,
)
from assay.driver.stream import SocketStream
from assay.drivers.linux import health
from assay.drivers.linux.dial import dial
from assay.drivers.linux.folder import is_id, new_id
from assay.drivers.linux.process import Process
from assay.drivers.linux.users import FIRST
from assay.drivers.oci.runtime import Runtime
from assay.drivers.oci.workshop import Workshop

_SECONDS_TO_CONNECT: Final = 5.0


class OciDriver:
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
        self._workshop = Workshop(
            runtime=runtime,
            state=state.absolute(),
            agent=agent,
            first_user=first_user,
            parallel=parallel,
        )
        self._makers = ThreadPoolExecutor(parallel, thread_name_prefix="assay-maker")
        self._removers = ThreadPoolExecutor(8, thread_name_prefix="assay-remover")
        self._being_made: set[str] = set()

    @property
    def name(self) -> str:
        """The runtime's name."""
        return self._runtime.name

    @cached_property
    def capabilities(self) -> Capabilities:
        """What this driver can do on this machine."""
        return self._workshop.capabilities()

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

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox whose agent accepts connections."""
        if spec.network:
            raise CapabilityMissing(f"the driver {self.name} makes sandboxes without network only")
        sandbox_id, abandoned = new_id(), threading.Event()
        self._being_made.add(sandbox_id)
        try:
            work = self._makers.submit(self._workshop.make, sandbox_id, spec, abandoned)
            made = asyncio.wrap_future(work)
            try:
                return await asyncio.shield(made)
            except asyncio.CancelledError:
                abandoned.set()
                await _to_the_end(self._undo(work, made, sandbox_id))
                raise
        finally:
            self._being_made.discard(sandbox_id)

    async def _undo(
        self, work: Future[Sandbox], made: asyncio.Future[Sandbox], sandbox_id: str
    ) -> None:
        """A thread can't be stopped: wait for it, and then remove what it has made."""
        if not work.cancel():
            with contextlib.suppress(AssayError):
                await made
            with contextlib.suppress(AssayError):
                await self.destroy(sandbox_id)

    async def connect(self, sandbox_id: str) -> ByteStream:
        """Open a byte stream to the agent. Raises SandboxGone when there is none."""
        deadline = time.monotonic() + _SECONDS_TO_CONNECT
        while True:
            try:
                return SocketStream(dial(self._agent_of(sandbox_id)))
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConnectionLost("the agent accepts no connections") from None
            except OSError as error:
                raise SandboxGone("the agent no longer listens", detail=str(error)) from error
            await asyncio.sleep(0.005)

    def _agent_of(self, sandbox_id: str) -> Process:
        process = None
        if is_id(sandbox_id):
            process = self._workshop.sandboxes.folder(sandbox_id).process()
        if process is None or not process.runs():
            raise SandboxGone(f"the sandbox {sandbox_id} does not run (any more)")
        return process

    async def list(self) -> Sequence[str]:
        """The ids of all sandboxes of this driver, half-made ones of earlier servers too."""
        return [name for name in self._workshop.sandboxes.ids() if name not in self._being_made]

    async def examine(self, sandbox_id: str) -> SandboxState | None:
        """What the host knows of a sandbox, or None when there is no such sandbox."""
        return self._workshop.examine(sandbox_id)

    async def destroy(self, sandbox_id: str) -> None:
        """End a sandbox and remove all that belongs to it, even if the caller stops waiting."""
        if is_id(sandbox_id):
            loop = asyncio.get_running_loop()
            removal = loop.run_in_executor(self._removers, self._workshop.remove, sandbox_id)
            await asyncio.shield(removal)

    async def time_alone(self, spec: SandboxSpec, argv: Sequence[str], stopwatch: Path) -> int:
        """Nanoseconds that the runtime takes to run `argv` in such a sandbox, with no agent in it.

        This is what making a sandbox is compared with; `stopwatch` is the program `floor`.
        """
        loop = asyncio.get_running_loop()
        timing = loop.run_in_executor(
            self._makers, self._workshop.time_alone, spec, argv, stopwatch
        )
        return await asyncio.shield(timing)

    async def aclose(self) -> None:
        """End the driver's threads. Sandboxes go on."""
        await _to_the_end(asyncio.to_thread(self._close))

    def _close(self) -> None:
        self._makers.shutdown(wait=True)
        self._removers.shutdown(wait=True)
        self._workshop.close()


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await it even while being cancelled again and again; it raises nothing."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
