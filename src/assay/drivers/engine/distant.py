"""The driver of containers whose files and kernel are not this machine's: all by an engine's API.

A sandbox is a container that the engine makes alone, of a copy of the root. Its agent waits at a
pipe for its secret, which the exec session brings that is its first connection, and is reached by
others that run `agent bridge`, too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from assay.domain.errors import (
    AssayError,
    CapabilityMissing,
    DriverUnavailable,
    RuntimeFailed,
    SandboxGone,
)
from assay.driver.guard import require_devices
from assay.driver.port import (
    ByteStream,
    Capabilities,
    Health,
    Problem,
    Sandbox,
    SandboxSpec,
    SandboxState,
)
from assay.drivers.engine.bridge import BridgeStream, start_program
from assay.drivers.engine.container import STATE
from assay.drivers.engine.engine import Engine, NotThere
from assay.drivers.engine.image import REPOSITORY, keep_copy
from assay.drivers.engine.kind import Kind, as_the_engine_says, is_kata
from assay.drivers.engine.whole import Whole, whole
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
from assay.drivers.linux.folder import is_id, mark_of, new_id
from assay.drivers.linux.sessions import Sessions, join, listening
from assay.drivers.linux.stage import require_folders

_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


class DistantDriver:
    """Makes sandboxes with an engine of another machine, or in containers with their own kernels.

    `state` is a folder of its own on this machine; `agents` gives the path of the agent's program
    for the name of an architecture, or raises Unavailable. `parallel` sandboxes are made at a time.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        runtime: str,
        kind: Kind,
        state: Path,
        agents: Callable[[str], Path],
        parallel: int = 8,
    ) -> None:
        self.name = f"{engine.product.name}:{runtime}" if runtime else engine.product.name
        self.engine = engine
        self.runtime = as_the_engine_says(runtime)
        self._kind = kind
        self._state = state.absolute()
        self._agents = agents
        self._copying = threading.Lock()
        self._being_made: set[str] = set()
        self._places = asyncio.Semaphore(parallel)
        self._sessions = Sessions[BridgeStream]()

    @property
    def capabilities(self) -> Capabilities:
        """What can be done there."""
        able = self._kind.capabilities
        return able if self._bounds_terminals else replace(able, own_terminals=False)

    @property
    def _bounds_terminals(self) -> bool:
        # In Podman, opening a terminal of a volume of them was refused now and then.
        return self._kind.own_kernel or self.engine.product.hears_all

    @cached_property
    def mark(self) -> str:
        """The label of all containers of this driver and state folder. Other machines may have a
        folder of that name, and the same engine: so there is a number in it that nobody else has.
        """
        return mark_of(self._state / "engines", self.name)

    @cached_property
    def _machine(self) -> str:
        said = str(self.engine.info().get("Architecture", ""))
        return _MACHINES.get(said, said)

    @cached_property
    def _programs(self) -> tuple[tuple[str, bytes, int], ...]:
        """Files of ours in every image."""
        programs = [(f"{AGENT_FOLDER}/agent", self._agents(self._machine).read_bytes(), 0o755)]
        if not self.engine.product.hears_all:
            if self._machine != machine():
                raise DriverUnavailable(
                    f"{self.engine.product.name} takes no filter of system calls from elsewhere,"
                    f" and none can be made here for {self._machine}; take docker there"
                )
            programs.append((FILTER, compiled(), 0o444))
        return tuple(programs)

    async def probe(self) -> Health:
        """Ask the engine, make a sandbox and connect to its agent. Never raises."""
        product = self.engine.product
        try:
            version = await asyncio.to_thread(self.engine.version)
            known = await asyncio.to_thread(self.engine.runtimes)
        except AssayError as error:
            remedy = product.remedy if self.engine.endpoint.is_here else ""
            return Health(works=False, problems=(Problem(summary=error.message, remedy=remedy),))
        said = str(version.get("Version", "unknown"))[:64]
        problem = product.unknown_runtime(self.runtime, known)
        if problem is None:
            try:
                await health.attempt(self, self._state)
            except (AssayError, OSError) as error:
                problem = self._explained(error)
        problems = () if problem is None else (problem,)
        return Health(works=problem is None, version=said, problems=problems)

    def _explained(self, error: AssayError | OSError) -> Problem:
        problem = health.problem(error)
        if not is_kata(self.runtime):
            return problem
        return Problem(
            summary=f"Kata makes no container here: {problem.summary}",
            remedy="it needs /dev/kvm with hardware virtualisation, containerd-shim-kata-v2 on the"
            " engine's PATH, and Docker 23 or later",
        )

    # --- making ----------------------------------------------------------------------------------

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox whose agent accepts connections."""
        if spec.network:
            raise CapabilityMissing(f"the driver {self.name} makes sandboxes without network only")
        require_devices(spec.devices, self.name, self.capabilities)
        sandbox_id = new_id()
        self._being_made.add(sandbox_id)
        try:
            async with self._places:
                making = asyncio.ensure_future(self._make(sandbox_id, spec))
                try:
                    await asyncio.shield(making)
                except BaseException:
                    await to_the_end(making)
                    # What can't be removed now stays in the list, for somebody to try again.
                    removing = asyncio.ensure_future(self.destroy(sandbox_id))
                    await to_the_end(removing)
                    raise
        finally:
            self._being_made.discard(sandbox_id)
        facts = {"container": sandbox_id, "engine": self.engine.endpoint.place}
        return Sandbox(id=sandbox_id, facts=facts)

    async def _make(self, sandbox_id: str, spec: SandboxSpec) -> None:
        await asyncio.to_thread(self._start, sandbox_id, spec)
        program = bridge(self._kind.socket, pipe=SECRET)
        stream = await listening(
            join(lambda: start_program(self.engine, sandbox_id, program), spec.secret),
            lambda: asyncio.to_thread(self.engine.words, sandbox_id),
        )
        self._sessions.keep(sandbox_id, stream)

    def _start(self, sandbox_id: str, spec: SandboxSpec) -> None:
        of_ours = f"{REPOSITORY}:{self.mark[:8]}-"
        try:
            require_folders(spec.root.path)
            found = self._writable(spec)
            copy = Copy(
                root=spec.root,
                folders=tuple((each.target, each.mode, each.user, each.group) for each in found),
                programs=self._programs,
            )
            image = f"{of_ours}{copy.digest}"
        except OSError as error:
            raise RuntimeFailed(f"{spec.root.path} can't be read", detail=str(error)) from error
        body = self._told(image, spec, self._named(sandbox_id, found))
        try:
            self.engine.create(sandbox_id, body)
        except NotThere:  # somebody has removed the image, or we are the first
            with self._copying:
                if not self.engine.has_image(image):
                    keep_copy(self.engine, copy, image, of_ours)
            self.engine.create(sandbox_id, body)
        self.engine.start(sandbox_id)

    def _writable(self, spec: SandboxSpec) -> list[Place]:
        own = writable(spec)
        if not self.engine.product.hears_all:
            return [*own, RUN]
        return own if self._kind.own_kernel else [*own, TERMINALS]

    def _named(self, sandbox_id: str, wanted: list[Place]) -> list[Place]:
        """The same, made before where the engine has to be told of them one by one."""
        if self.engine.product.hears_all:
            return wanted
        named = [
            replace(place, name=f"{sandbox_id}-{number}") for number, place in enumerate(wanted)
        ]
        for place in named:
            self.engine.create_volume(place.name, place.driver, {STATE: self.mark})
        return named

    def _told(self, image: str, spec: SandboxSpec, wanted: list[Place]) -> Mapping[str, Any]:
        hears = self.engine.product.hears_all
        return whole(
            Whole(
                image=image,
                runtime=self.runtime,
                kind=self._kind,
                spec=spec,
                machine=self._machine,
                places=wanted,
                masks_by_option=not hears,
                agent_filters=not hears,
                labels={STATE: self.mark},
            )
        )

    # --- using and removing ----------------------------------------------------------------------

    async def connect(self, sandbox_id: str) -> ByteStream:
        """Open a byte stream to the agent. Raises SandboxGone when there is none."""
        if not is_id(sandbox_id):
            raise SandboxGone(f"there is no sandbox {sandbox_id}")
        if (kept := await self._sessions.take(sandbox_id)) is not None:
            return kept
        try:
            return await start_program(self.engine, sandbox_id, bridge(self._kind.socket))
        except RuntimeFailed as error:
            raise SandboxGone(
                f"the sandbox {sandbox_id} does not run (any more)", detail=error.detail
            ) from error

    async def list(self) -> Sequence[str]:
        """The ids of all sandboxes of this driver and state folder. Raises what the engine does."""
        names = await asyncio.to_thread(self._names)
        return [name for name in names if is_id(name) and name not in self._being_made]

    def _names(self) -> Iterable[str]:
        names = dict.fromkeys(self.engine.named(STATE, self.mark))
        if not self.engine.product.hears_all:
            volumes = self.engine.volumes(STATE, self.mark)
            names |= dict.fromkeys(volume.partition("-")[0] for volume in volumes)
        return names

    async def examine(self, sandbox_id: str) -> SandboxState | None:
        """What the engine knows of a sandbox, or None when there is no such sandbox."""
        if not is_id(sandbox_id):
            return None
        try:
            found = await asyncio.to_thread(self.engine.inspect, sandbox_id)
        except NotThere:
            return None
        state = found.get("State")
        known = state if isinstance(state, dict) else {}
        running, killed = known.get("Running") is True, known.get("OOMKilled") is True
        # While it runs, only its own agent has seen who was killed.
        unknown = running and not self._kind.own_kernel
        return SandboxState(running=running, oom_kills=None if unknown else int(killed))

    async def destroy(self, sandbox_id: str) -> None:
        """End a sandbox and remove all that belongs to it. An unknown id is no error."""
        if is_id(sandbox_id):
            await asyncio.shield(self._end(sandbox_id))

    async def _end(self, sandbox_id: str) -> None:
        await self._sessions.forget(sandbox_id)
        await asyncio.to_thread(self._remove, sandbox_id)

    def _remove(self, sandbox_id: str) -> None:
        if self.engine.product.outlives_removal:
            self.engine.forgive(sandbox_id)
        self.engine.remove(sandbox_id)
        if not self.engine.product.hears_all:
            for volume in self.engine.volumes(STATE, self.mark):
                if volume.startswith(f"{sandbox_id}-"):
                    self.engine.remove_volume(volume)

    async def aclose(self) -> None:
        """Let go of the way to the engine. Sandboxes go on."""
        await self._sessions.aclose()
        await asyncio.to_thread(self.engine.close)
