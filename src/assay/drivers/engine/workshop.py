"""Makes and removes sandboxes by an engine of this machine, step by step, in the calling thread."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

from assay.domain.errors import AssayError, DriverUnavailable, RuntimeFailed
from assay.driver.port import Capabilities, Sandbox, SandboxSpec
from assay.drivers.engine.container import STATE, Plan, configuration
from assay.drivers.engine.engine import Engine, NotThere
from assay.drivers.engine.interior import (
    USERS,
    furnish,
    groups_seen_by,
    open_gate,
    plan,
    wait_for_top,
)
from assay.drivers.engine.seed import Seed, seed
from assay.drivers.linux import kernel
from assay.drivers.linux.cgroups import PARENT, put
from assay.drivers.linux.confinement import AGENT_FOLDER, GROUPS, Bind, agent_command
from assay.drivers.linux.devices import look_up
from assay.drivers.linux.dial import wait_until_listening
from assay.drivers.linux.folder import SandboxFolder, is_id
from assay.drivers.linux.launcher import Launcher, hide
from assay.drivers.linux.launching import LaunchingWorkshop
from assay.drivers.linux.performer import stage
from assay.drivers.linux.process import Process
from assay.drivers.linux.stage import (
    WRITABLE,
    devices,
    node_binds,
    node_places,
    node_steps,
    staged,
)
from assay.drivers.linux.users import FIRST, WIDTH


class EngineWorkshop(LaunchingWorkshop[SandboxFolder]):
    """The engine makes a container; what is in it, its users and groups, we do."""

    def __init__(
        self, *, name: str, engine: Engine, runtime: str, state: Path, agent: Path, lean: Path
    ) -> None:
        super().__init__(name=name, state=state, agent=agent, first_user=FIRST, kind=SandboxFolder)
        self._lean = lean
        self.engine = engine
        self.runtime = runtime
        self.mark = hashlib.sha256(f"{state}\0{name}".encode()).hexdigest()[:16]
        """Of all containers of this driver and state folder."""
        self._seeding = threading.Lock()

    @cached_property
    def _launcher(self) -> Launcher:
        # One thread will do: the engine takes a hundred times as long as this.
        return Launcher(partial(self.groups.view, whole=True), 1)

    @cached_property
    def _seed(self) -> Seed:
        return seed(self._lean)

    @cached_property
    def _enters(self) -> bool:
        """Whether process 1 enters groups itself (version 2), or stays where the engine puts it."""
        return not self.groups.start("").limited

    @cached_property
    def _parent(self) -> str:
        """Above a container's group, where the engine makes groups itself, as we do.

        One that has systemd make them wants a slice's name there, and is left to its own.
        """
        if self._enters or not self.engine.product.keeps_to_group:
            return ""
        info = self.engine.ask("GET", "/info")
        driver = info.get("CgroupDriver") if isinstance(info, dict) else None
        return f"/{PARENT}" if driver == "cgroupfs" else ""

    def capabilities(self) -> Capabilities:
        """What can be done here."""
        return self._counted(Capabilities(devices=True))

    # --- making ----------------------------------------------------------------------------------

    def make(self, sandbox_id: str, spec: SandboxSpec, abandoned: threading.Event) -> Sandbox:
        """Make a sandbox whose agent accepts connections; on any failure nothing is left."""
        if self.ids.rootless:
            raise DriverUnavailable(f"the driver {self.name} needs root; try sudo")
        with (
            self._undone(sandbox_id),
            self.sandboxes.making(sandbox_id) as (folder, _),
            self._with_its_words(sandbox_id),
        ):
            first_user = self._ranges.take(sandbox_id, owners=spec.root.owners)
            folder.note(first_user=first_user)
            process = self._start(folder, spec, first_user)
            owners = self._open(process, folder, spec, first_user)
            wait_until_listening(process, folder, abandoned)
            self._protect(process, sandbox_id)
        facts = self._facts(folder, spec, process, first_user, owners=owners)
        return Sandbox(id=sandbox_id, facts=facts | {"container": sandbox_id})

    @contextlib.contextmanager
    def _with_its_words(self, sandbox_id: str) -> Iterator[None]:
        """What the agent had to say belongs to an error's detail."""
        try:
            yield
        except RuntimeFailed as error:
            words = self.engine.words(sandbox_id)
            raise RuntimeFailed(error.message, detail=f"{error.detail}\n{words}".strip()) from error

    def _start(self, folder: SandboxFolder, spec: SandboxSpec, first_user: int) -> Process:
        folder.note(image=spec.root.digest)
        self.groups.make(folder.id, first_user)
        body = configuration(self._plan(folder.id, spec))
        try:
            self.engine.create(folder.id, body)
        except NotThere:  # somebody has removed the image meanwhile, or we are the first
            self._plant()
            self.engine.create(folder.id, body)
        self.engine.start(folder.id)
        process = self._process_of(folder.id)
        folder.note(process=process)
        return process

    def _plan(self, sandbox_id: str, spec: SandboxSpec) -> Plan:
        return Plan(
            image=self._seed.name,
            runtime=self.runtime,
            parent=f"{self._parent}/{sandbox_id}" if self._parent else "",
            devices=look_up(spec.devices, rootless=False).nodes,
            labels={STATE: self.mark},
        )

    def _plant(self) -> None:
        with self._seeding:
            if not self.engine.has_image(self._seed.name):
                self.engine.import_image(self._seed.name, self._seed.archive)

    def _process_of(self, sandbox_id: str) -> Process:
        """Process 1, if it is what the engine says: on this machine, alone in a namespace."""
        state = self.engine.inspect(sandbox_id).get("State")
        pid = state.get("Pid") if isinstance(state, dict) else None
        process = Process.find(pid) if isinstance(pid, int) and pid > 1 else None
        if process is None:
            raise RuntimeFailed("the agent ended as soon as it was started")
        if not _is_first_of_its_own(process.pid):
            raise RuntimeFailed(
                "the container's process is none of this machine's kernel; this driver needs an"
                " engine here, and a runtime that uses this kernel (runc, crun)"
            )
        return process

    def _open(
        self, process: Process, folder: SandboxFolder, spec: SandboxSpec, first_user: int
    ) -> bool:
        """Let process 1 become the agent. Says whether it is seen whose the image's files are."""
        command = agent_command(spec.unclaimed_seconds, "--cgroup", GROUPS)
        try:
            with (
                open_gate(process) as gate,
                self._in_groups(process, folder.id, spec, first_user),
            ):
                owners = self._launcher.submit(
                    lambda: self._furnish(process, folder, spec, first_user)
                ).result()
                gate.write(plan(command, top=self._enters, devices=bool(spec.devices)))
                gate.close()  # that was all
        except ProcessLookupError:
            raise RuntimeFailed("the agent ended before it began") from None
        return owners

    @contextlib.contextmanager
    def _in_groups(
        self, process: Process, sandbox_id: str, spec: SandboxSpec, first_user: int
    ) -> Iterator[None]:
        """Put process 1 into its groups, before or around its becoming the agent.

        On version 2 it must first be in the sandbox's group, and see that as the highest, since
        nobody may move processes across what they see; and groups are limited when it has left for
        the agent's. The agent waits for that.
        """
        groups = self.groups
        if not self._enters:
            groups.limit(sandbox_id, spec.limits, first_user)
            groups.place(sandbox_id, process.pid, first_user)
            yield
            return
        for file in groups.entrances(sandbox_id):
            put(file, str(process.pid))
        before = groups_seen_by(process)
        yield
        wait_for_top(process, before)
        groups.place(sandbox_id, process.pid, first_user, entered=True)
        groups.limit(sandbox_id, spec.limits, first_user)

    def _furnish(
        self, process: Process, folder: SandboxFolder, spec: SandboxSpec, first_user: int
    ) -> bool:
        shown = staged(spec, self._installed_agent, first_user, rootless=False)
        nodes = node_steps(shown.nodes, node_places(shown.nodes))
        users = kernel.user_namespace(first_user, WIDTH)
        try:
            place = ("file", f"{WRITABLE}/{USERS.removeprefix(AGENT_FOLDER)}")
            with stage([*devices(rootless=False), *nodes, *shown.steps, place]) as shows_owners:
                binds = [*shown.binds, *node_binds(shown.nodes), *self.groups.binds(folder.id)]
                binds.append(Bind(source=f"/proc/self/fd/{users}", target=USERS))
                furnish(process, Path(shown.root), binds, first_user)
        finally:
            os.close(users)
        return shows_owners and spec.root.owners

    def _protect(self, process: Process, sandbox_id: str) -> None:
        """The agent has its groups open by now; nobody else in the sandbox may reach them."""
        targets = [Path(bind.target) for bind in self.groups.binds(sandbox_id)]
        self._launcher.submit(lambda: hide(process.pid, [Path(USERS), *targets])).result()

    # --- removing --------------------------------------------------------------------------------

    def strays(self) -> list[str]:
        """The engine's containers of this driver, with a folder or (of a create that was given up,
        and done by the engine later) without. None of them where it doesn't answer.
        """
        with contextlib.suppress(AssayError):
            return [name for name in self.engine.named(STATE, self.mark) if is_id(name)]
        return []

    def remove(self, sandbox_id: str) -> None:
        """Remove all that belongs to a sandbox, whatever there is of it; the folder goes last."""
        with self.sandboxes.locked(sandbox_id) as folder:
            if folder is not None:
                self._remove(folder)
            else:
                self.engine.remove(sandbox_id)

    def _remove(self, folder: SandboxFolder) -> None:
        try:
            self.engine.remove(folder.id)
        finally:
            # Even where the engine is gone or hangs, nothing of the sandbox goes on.
            self.groups.remove(folder.id, folder.process())
        self._ranges.free(folder.id, folder.range())
        folder.remove()


def _is_first_of_its_own(pid: int) -> bool:
    """Whether a process is number 1 of another namespace of processes, and has mounts of its own.

    An engine that is elsewhere tells numbers that are somebody else's here.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        own = Path("/proc/self/ns/mnt").readlink() != Path(f"/proc/{pid}/ns/mnt").readlink()
    except OSError:
        return False
    numbers = next(
        (line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), []
    )
    return own and len(numbers) > 1 and numbers[-1] == "1"
