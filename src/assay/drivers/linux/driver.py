"""What all local drivers do alike: a socket to each agent, and threads that make and remove."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, Final

from assay.domain.errors import AssayError, CapabilityMissing, ConnectionLost, SandboxGone
from assay.driver.guard import require_devices
from assay.driver.port import ByteStream, Capabilities, Sandbox, SandboxSpec, SandboxState
from assay.driver.stream import SocketStream
from assay.drivers.linux.dial import dial
from assay.drivers.linux.finish import to_the_end
from assay.drivers.linux.folder import is_id
from assay.drivers.linux.process import Process
from assay.drivers.linux.workshop import MakingWorkshop, Workshop

_SECONDS_TO_CONNECT: Final = 5.0


class LocalDriver(ABC):
    """A driver without its technology: that is the workshop's."""

    def __init__(self, workshop: Workshop[Any]) -> None:
        self._workshop = workshop
        self._being_made: set[str] = set()

    @property
    def name(self) -> str:
        """The technology's name."""
        return self._workshop.name

    @cached_property
    def capabilities(self) -> Capabilities:
        """What this driver can do on this machine."""
        return self._workshop.capabilities()

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox whose agent accepts connections."""
        if spec.network:
            raise CapabilityMissing(f"the driver {self.name} makes sandboxes without network only")
        require_devices(spec.devices, self.name, self.capabilities)
        sandbox_id = self._workshop.reserve()
        self._being_made.add(sandbox_id)
        try:
            return await self._make(sandbox_id, spec)
        finally:
            self._being_made.discard(sandbox_id)

    @abstractmethod
    async def _make(self, sandbox_id: str, spec: SandboxSpec) -> Sandbox:
        """Make it; nothing is left of it on any failure, nor when this is cancelled."""

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
        process: Process | None = None
        if is_id(sandbox_id):
            process = self._workshop.process_of(sandbox_id)
        if process is None:
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
            await asyncio.shield(self._removal(sandbox_id))

    @abstractmethod
    def _removal(self, sandbox_id: str) -> asyncio.Future[None]:
        """Begin with it."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of everything but the sandboxes, which go on."""


class ThreadedDriver(LocalDriver):
    """One whose workshop does its work in threads, up to `parallel` sandboxes at a time."""

    def __init__(self, workshop: MakingWorkshop[Any], parallel: int) -> None:
        super().__init__(workshop)
        self._maker = workshop
        self._makers = ThreadPoolExecutor(parallel, thread_name_prefix="assay-maker")
        self._removers = ThreadPoolExecutor(8, thread_name_prefix="assay-remover")

    async def _make(self, sandbox_id: str, spec: SandboxSpec) -> Sandbox:
        abandoned = threading.Event()
        work = self._makers.submit(self._maker.make, sandbox_id, spec, abandoned)
        made = asyncio.wrap_future(work)
        try:
            return await asyncio.shield(made)
        except asyncio.CancelledError:
            abandoned.set()
            await to_the_end(self._undo(work, made, sandbox_id))
            raise

    async def _undo(
        self, work: Future[Sandbox], made: asyncio.Future[Sandbox], sandbox_id: str
    ) -> None:
        """A thread can't be stopped: wait for it, and then remove what it has made."""
        if not work.cancel():
            with contextlib.suppress(AssayError):
                await made
            with contextlib.suppress(AssayError):
                await self.destroy(sandbox_id)

    def _removal(self, sandbox_id: str) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._removers, self._workshop.remove, sandbox_id)

    async def aclose(self) -> None:
        """End the driver's threads. Sandboxes go on."""
        await to_the_end(asyncio.to_thread(self._close))

    def _close(self) -> None:
        self._makers.shutdown(wait=True)
        self._removers.shutdown(wait=True)
        self._workshop.close()
