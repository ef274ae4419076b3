"""The driver: one allocation of Nomad's for each sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from assay.domain.errors import (
    AssayError,
    CapabilityMissing,
    RuntimeFailed,
    SandboxGone,
)
from assay.driver.guard import require_devices
from assay.driver.port import (
    ByteStream,
    Capabilities,
    Health,
    Installation,
    Sandbox,
    SandboxSpec,
    SandboxState,
    Secret,
)
from assay.drivers.linux import health
from assay.drivers.linux.confinement import AGENT_FOLDER, SECRET, machine
from assay.drivers.linux.container import (
    FILTER,
    RUN,
    TERMINALS,
    Place,
    bridge,
    writable,
)
from assay.drivers.linux.copy import Copy
from assay.drivers.linux.filter import compiled
from assay.drivers.linux.finish import to_the_end
from assay.drivers.linux.folder import is_id, mark_of
from assay.drivers.linux.sessions import Sessions, join
from assay.drivers.linux.stage import require_folders
from assay.drivers.nomad.allocation import Allocation, allocation
from assay.drivers.nomad.api import Nomad
from assay.drivers.nomad.batches import Batches
from assay.drivers.nomad.job import TASK, batch_of, job_name, prefix
from assay.drivers.nomad.kind import ABLE
from assay.drivers.nomad.options import PODMAN, Options
from assay.drivers.nomad.speech import SPEECH
from assay.drivers.orchestrated.registry import Registry
from assay.drivers.orchestrated.stream import ExecStream


class NomadDriver:
    """Makes sandboxes as allocations of a Nomad cluster, whose clients have them in containers.

    `state` is a folder of its own on this machine; `agent` becomes process 1. The clients have the
    processors of this machine's kind.
    """

    def __init__(self, *, options: Options, state: Path, agent: Path) -> None:
        self.name = "nomad"
        self.capabilities: Capabilities = ABLE[options.task_driver]
        self._with_podman = options.task_driver == PODMAN
        self._state = state.absolute()
        self._agent = agent
        self._installation: Installation | None = None
        self._nomad = Nomad(options)
        self._registry = Registry(options.registry, machine(), table="nomad")
        self._batches = Batches(self._nomad, lambda: self.mark)
        self._being_made: set[str] = set()
        self._sessions = Sessions[ExecStream]()
        self._known: dict[str, str] = {}
        """Allocations by sandbox, as far as they were looked up already."""

    def share(self, installation: Installation) -> None:
        """Have all sandboxes in common with the other servers of an installation."""
        self._installation = installation

    @cached_property
    def mark(self) -> str:
        """In the names of all jobs of this driver and state folder, or of this installation, and of
        nobody else's.
        """
        if self._installation is not None:
            return self._installation.mark(self.name)
        return mark_of(self._state / "nomad", self.name)

    @cached_property
    def _programs(self) -> tuple[tuple[str, bytes, int], ...]:
        return (
            (f"{AGENT_FOLDER}/agent", self._agent.read_bytes(), 0o755),
            (FILTER, compiled(), 0o444),
        )

    async def probe(self) -> Health:
        """Ask Nomad, make a sandbox and connect to its agent. Never raises."""
        version = ""
        try:
            version, clients = await self._nomad.version(), await self._nomad.clients()
            version += f", {clients} client{'' if clients == 1 else 's'}"
            await health.attempt(self, self._state)
        except (AssayError, OSError) as error:
            return Health(works=False, version=version, problems=(health.problem(error),))
        return Health(works=True, version=version)

    # --- making -----------------------------------------------------------------------------------

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox whose agent accepts connections."""
        if spec.network:
            raise CapabilityMissing(f"the driver {self.name} makes sandboxes without network only")
        require_devices(spec.devices, self.name, self.capabilities)
        image = await asyncio.to_thread(self.image_of, spec)
        sandbox_id, promise = self._batches.ask(image, spec, self._places(spec))
        self._being_made.add(sandbox_id)
        try:
            placed = await asyncio.shield(promise)
            self._known[sandbox_id] = placed.id
            stream = await self._join(placed.id, spec.secret)
        except BaseException:
            await to_the_end(self.destroy(sandbox_id))
            raise
        finally:
            self._being_made.discard(sandbox_id)
        self._sessions.keep(sandbox_id, stream)
        facts = {"allocation": placed.id, "client": placed.node}
        return Sandbox(id=sandbox_id, facts=facts)

    def image_of(self, spec: SandboxSpec) -> str:
        """The name of a sandbox's image, which is in the registry then. Takes its time.

        Raises what the registry does, RuntimeFailed where the root can't be read.
        """
        try:
            require_folders(spec.root.path)
            found = self._places(spec)
            copy = Copy(
                root=spec.root,
                folders=tuple((each.target, each.mode, each.user, each.group) for each in found),
                programs=self._programs,
            )
            return self._registry.image(copy)
        except OSError as error:
            raise RuntimeFailed(f"{spec.root.path} can't be read", detail=str(error)) from error

    def _places(self, spec: SandboxSpec) -> Sequence[Place]:
        return [*writable(spec), RUN if self._with_podman else TERMINALS]

    async def _join(self, allocation_id: str, secret: Secret | None = None) -> ExecStream:
        command = bridge(pipe=SECRET if secret is not None else "")

        async def start() -> ExecStream:
            return ExecStream(await self._nomad.run(allocation_id, TASK, command), SPEECH)

        return await join(start, secret)

    # --- using and removing -----------------------------------------------------------------------

    async def connect(self, sandbox_id: str) -> ByteStream:
        """Open a byte stream to the agent. Raises SandboxGone when there is none."""
        if (kept := await self._sessions.take(sandbox_id)) is not None:
            return kept
        allocation_id = self._known.get(sandbox_id)
        if allocation_id is None:
            found = await self._look(sandbox_id)
            if found is None or not found.runs:
                raise SandboxGone(f"the sandbox {sandbox_id} does not run (any more)")
            allocation_id = self._known[sandbox_id] = found.id
        try:
            return await self._join(allocation_id)
        except RuntimeFailed as error:
            raise SandboxGone(
                f"the sandbox {sandbox_id} does not run (any more)", detail=error.detail
            ) from error

    async def _look(self, sandbox_id: str) -> Allocation | None:
        """Its allocation, if it has one, or had."""
        if not is_id(sandbox_id):
            return None
        job = job_name(self.mark, batch_of(sandbox_id))
        found = [each for each in await self._allocations(job) if each.sandbox_id == sandbox_id]
        # Nomad may have put another one elsewhere, when its client was drained: which is nobody's.
        return min(found, key=lambda each: each.index, default=None)

    async def _allocations(self, job: str) -> Sequence[Allocation]:
        return [allocation(each) for each in (await self._nomad.allocations(job)).data]

    async def list(self) -> Sequence[str]:
        """The ids of all sandboxes of this driver and state folder. Raises what Nomad does."""
        jobs = [each for each in await self._nomad.jobs(prefix(self.mark)) if not each.get("Stop")]
        found = await asyncio.gather(*(self._allocations(str(each.get("ID"))) for each in jobs))
        ids = {each.sandbox_id for of_job in found for each in of_job if not each.over}
        return sorted(each for each in ids if is_id(each) and each not in self._being_made)

    async def examine(self, sandbox_id: str) -> SandboxState | None:
        """What Nomad knows of a sandbox, or None when there is no such sandbox."""
        found = await self._look(sandbox_id)
        if found is None or (found.over and not found.wanted):
            return None
        # While it runs, only its own agent has seen who was killed.
        killed = None if found.runs else int(found.out_of_memory)
        return SandboxState(running=found.runs, oom_kills=killed)

    async def destroy(self, sandbox_id: str) -> None:
        """End a sandbox and remove all that belongs to it. An unknown id is no error."""
        if is_id(sandbox_id):
            self._known.pop(sandbox_id, None)
            await self._sessions.forget(sandbox_id)
            await asyncio.shield(self._batches.end(sandbox_id))

    async def aclose(self) -> None:
        """Let go of the way to Nomad. Sandboxes go on."""
        await self._sessions.aclose()
        await self._batches.aclose()
        await self._nomad.aclose()
