"""The driver: one pod of Kubernetes' for each sandbox."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

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
    Secret,
)
from assay.drivers.kubernetes.api import Kubernetes
from assay.drivers.kubernetes.departures import Departures, stays_away
from assay.drivers.kubernetes.found import Pod, pod_found
from assay.drivers.kubernetes.kind import able
from assay.drivers.kubernetes.options import Options
from assay.drivers.kubernetes.pod import CONTAINER, Wanted, pod, pod_name, sandbox_of
from assay.drivers.kubernetes.pods import Pods
from assay.drivers.kubernetes.speech import KubernetesSpeech
from assay.drivers.linux import health
from assay.drivers.linux.confinement import AGENT_FOLDER, SECRET, machine
from assay.drivers.linux.container import FILTER, Place, bridge, writable
from assay.drivers.linux.copy import Copy
from assay.drivers.linux.filter import compiled
from assay.drivers.linux.finish import to_the_end
from assay.drivers.linux.folder import is_id, mark_of, new_id
from assay.drivers.linux.sessions import Sessions, join
from assay.drivers.linux.stage import require_folders
from assay.drivers.orchestrated.registry import Registry
from assay.drivers.orchestrated.stream import ExecStream

_SECONDS_TO_END: Final = 15.0
"""For a node to end a pod. One that is cut off does so when it is back."""
_BLIND: Final = Problem(
    summary="idle sandboxes stay on nodes that are drained: this account may not list nodes",
    remedy="give it the ClusterRole of deploy/kubernetes/access.yaml",
)


class KubernetesDriver:
    """Makes sandboxes as pods of a Kubernetes cluster.

    `state` is a folder of its own on this machine; `agent` becomes process 1. The nodes have the
    processors of this machine's kind.
    """

    def __init__(self, *, options: Options, state: Path, agent: Path) -> None:
        self.name = "kubernetes"
        self.capabilities: Capabilities = able(options)
        self._options = options
        self._state = state.absolute()
        self._agent = agent
        self._kubernetes = Kubernetes(options)
        self._pods = Pods(self._kubernetes, lambda: self.mark)
        self._departures = Departures(self._kubernetes, lambda: self.mark)
        self._registry = Registry(options.registry, machine(), table="kubernetes")
        self._sessions = Sessions[ExecStream]()
        self._being_made: set[str] = set()

    @cached_property
    def mark(self) -> str:
        """In a label of all pods of this driver and state folder, and of nobody else's."""
        return mark_of(self._state / "kubernetes", self.name)

    @cached_property
    def _programs(self) -> tuple[tuple[str, bytes, int], ...]:
        return (
            (f"{AGENT_FOLDER}/agent", self._agent.read_bytes(), 0o755),
            (FILTER, compiled(), 0o444),
        )

    async def probe(self) -> Health:
        """Ask Kubernetes, make a sandbox and connect to its agent. Never raises."""
        version = ""
        try:
            version = await self._kubernetes.version()
            if denied := await self._kubernetes.denied():
                raise DriverUnavailable(
                    f"in the namespace {self._options.namespace} this account may not"
                    f" {', '.join(denied)}; give it the Role of deploy/kubernetes/access.yaml"
                )
            sees_nodes = await self._kubernetes.may_see_nodes()
            await health.attempt(self, self._state)
        except (AssayError, OSError) as error:
            return Health(works=False, version=version, problems=(health.problem(error),))
        return Health(works=True, version=version, problems=() if sees_nodes else (_BLIND,))

    def leaving(self) -> Collection[str]:
        """Sandboxes of nodes that are cordoned, which others should take the place of."""
        return self._departures.known() if stays_away(self._options) else ()

    # --- making -----------------------------------------------------------------------------------

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox whose agent accepts connections."""
        if spec.network:
            raise CapabilityMissing(f"the driver {self.name} makes sandboxes without network only")
        require_devices(spec.devices, self.name, self.capabilities)
        image = await asyncio.to_thread(self.image_of, spec)
        sandbox_id = new_id()
        wanted = Wanted(sandbox_id=sandbox_id, image=image, spec=spec, places=writable(spec))
        self._being_made.add(sandbox_id)
        try:
            found = await self._make(wanted)
            stream = await self._join(sandbox_id, spec.secret)
        except BaseException:
            await to_the_end(self.destroy(sandbox_id))
            raise
        finally:
            self._being_made.discard(sandbox_id)
        self._sessions.keep(sandbox_id, stream)
        return Sandbox(id=sandbox_id, facts={"pod": found.name, "node": found.node})

    async def _make(self, wanted: Wanted) -> Pod:
        body = pod(self._options, self.mark, wanted)
        accepted = pod_found(await self._kubernetes.create(body))
        if self._options.user_namespaces and accepted.host_users:
            raise DriverUnavailable(
                "this Kubernetes gives pods no users of their own (hostUsers); it takes release"
                " 1.33, or user_namespaces = false in [kubernetes], without a limit of processes"
            )
        found = await self._pods.wait(accepted.name, _begun)
        if found is None or found.leaving:
            raise RuntimeFailed("somebody has deleted a pod while it was made")
        if found.failure is not None:
            raise found.failure
        return found

    def image_of(self, spec: SandboxSpec) -> str:
        """The name of a sandbox's image, which is in the registry then. Takes its time.

        Raises what the registry does, RuntimeFailed where the root can't be read.
        """
        try:
            require_folders(spec.root.path)
            folders = [_folder(each) for each in writable(spec)]
            copy = Copy(root=spec.root, folders=tuple(folders), programs=self._programs)
            return self._registry.image(copy)
        except OSError as error:
            raise RuntimeFailed(f"{spec.root.path} can't be read", detail=str(error)) from error

    async def _join(self, sandbox_id: str, secret: Secret | None = None) -> ExecStream:
        command = bridge(pipe=SECRET if secret is not None else "")

        async def start() -> ExecStream:
            socket = await self._kubernetes.run(pod_name(sandbox_id), CONTAINER, command)
            return ExecStream(socket, KubernetesSpeech(socket.protocol))

        return await join(start, secret)

    # --- using and removing -----------------------------------------------------------------------

    async def connect(self, sandbox_id: str) -> ByteStream:
        """Open a byte stream to the agent. Raises SandboxGone when there is none."""
        if (kept := await self._sessions.take(sandbox_id)) is not None:
            return kept
        if not is_id(sandbox_id):
            raise _gone(sandbox_id)
        try:
            return await self._join(sandbox_id)
        except RuntimeFailed as error:
            raise _gone(sandbox_id, error.detail) from error

    async def list(self) -> Sequence[str]:
        """The ids of all sandboxes of this driver and state folder. Raises what requests do."""
        found = [sandbox_of(each.name) for each in await self._pods.all() if not each.leaving]
        return sorted(each for each in found if each and each not in self._being_made)

    async def examine(self, sandbox_id: str) -> SandboxState | None:
        """What Kubernetes knows of a sandbox, or None when there is no such sandbox."""
        found = await self._pods.look(pod_name(sandbox_id)) if is_id(sandbox_id) else None
        if found is None or found.leaving:
            return None
        # While it runs, only its own agent has seen who was killed.
        killed = None if found.runs else int(found.out_of_memory)
        return SandboxState(running=found.runs, oom_kills=killed)

    async def destroy(self, sandbox_id: str) -> None:
        """End a sandbox and remove all that belongs to it. An unknown id is no error."""
        if is_id(sandbox_id):
            await self._sessions.forget(sandbox_id)
            await asyncio.shield(asyncio.ensure_future(self._remove(pod_name(sandbox_id))))

    async def _remove(self, name: str) -> None:
        """An order to the pod's node, which holds for one that is cut off as well."""
        await self._kubernetes.delete(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS_TO_END):
                await self._pods.wait(name, lambda found: found is None)

    async def aclose(self) -> None:
        """Let go of the way to Kubernetes. Sandboxes go on."""
        await self._sessions.aclose()
        await self._departures.aclose()
        await self._pods.aclose()
        await self._kubernetes.aclose()


def _begun(found: Pod | None) -> bool:
    return found is None or found.runs or found.leaving or found.failure is not None


def _folder(place: Place) -> tuple[str, int, int, int]:
    return place.target, place.mode, place.user, place.group


def _gone(sandbox_id: str, detail: str = "") -> SandboxGone:
    return SandboxGone(f"the sandbox {sandbox_id} does not run (any more)", detail=detail)
