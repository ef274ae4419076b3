"""Makes and removes sandboxes, step by step, in the calling thread."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import threading
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Final

from assay.domain.errors import (
    CreateTimeout,
    DriverUnavailable,
)
from assay.driver.port import Capabilities, Sandbox, SandboxSpec
from assay.drivers.linux.cgroups import Groups, Start, group_of_kernel
from assay.drivers.linux.confinement import CONTROL, Bind
from assay.drivers.linux.dial import ended_at_once, wait_until_listening
from assay.drivers.linux.launcher import Launcher, close_folder, hide
from assay.drivers.linux.launching import Ended, LaunchingWorkshop
from assay.drivers.linux.performer import stage
from assay.drivers.linux.process import Process, title
from assay.drivers.linux.program import call
from assay.drivers.linux.stage import (
    Staged,
    devices,
    keeps_owners,
    node_binds,
    node_places,
    node_steps,
    staged,
)
from assay.drivers.oci.bundle import Plan, configuration
from assay.drivers.oci.folder import BundleFolder
from assay.drivers.oci.runtime import Runtime

_SECONDS_TO_START: Final = 30.0


class BundleWorkshop(LaunchingWorkshop[BundleFolder]):
    """Makes them with a runtime that is told about each by a bundle."""

    def __init__(
        self, *, runtime: Runtime, state: Path, agent: Path, first_user: int, parallel: int
    ) -> None:
        super().__init__(
            name=runtime.name, state=state, agent=agent, first_user=first_user, kind=BundleFolder
        )
        self._runtime = runtime
        self._parallel = parallel
        self._annotations: dict[str, str] = {}

    @property
    def _options(self) -> Sequence[str]:
        runtime = self._runtime
        return runtime.options if self.groups.start("").group else runtime.options_without_groups

    @cached_property
    def _launcher(self) -> Launcher:
        view = partial(self.groups.view, whole=self._runtime.wants_every_hierarchy)
        return Launcher(view, self._parallel)

    def capabilities(self) -> Capabilities:
        """What can be done here."""
        able = self._runtime.able()
        return able if self._runtime.own_kernel else self._counted(able)

    def make(self, sandbox_id: str, spec: SandboxSpec, abandoned: threading.Event) -> Sandbox:
        """Make a sandbox and wait until its agent listens; on any failure nothing is left."""
        program, groups = self._runtime.find(), self.groups
        with self._undone(sandbox_id), self.sandboxes.making(sandbox_id) as (folder, lock):
            process, owners = self._start(program, groups, folder, lock, spec)
            wait_until_listening(process, folder, abandoned)
            self._protect(process, sandbox_id)
        facts = self._facts(folder, spec, process, folder.range(), owners=owners)
        facts |= {"runtime": self._runtime.name, "group": self._group_of(folder.id)}
        return Sandbox(id=sandbox_id, facts=facts)

    def _start(
        self, program: Path, groups: Groups, folder: BundleFolder, lock: int, spec: SandboxSpec
    ) -> tuple[Process, bool]:
        first_user = self._begin(folder, spec)
        owners = self._launcher.submit(
            lambda: self._launch(program, folder, lock, spec, first_user)
        ).result()
        process = self._find_process(groups, folder)
        if process is None:
            raise ended_at_once(folder)
        try:
            if self._runtime.own_kernel is None:
                groups.place(folder.id, process.pid, first_user)
                groups.limit(folder.id, spec.limits, first_user)
        except ProcessLookupError:
            raise ended_at_once(folder) from None
        folder.note(process=process)
        return process, owners

    def _begin(self, folder: BundleFolder, spec: SandboxSpec) -> int:
        first_user = self._ranges.take(folder.id, owners=spec.root.owners)
        folder.note(image=spec.root.digest, first_user=first_user)
        self._make_groups(folder.id, spec, first_user)
        return first_user

    def _make_groups(self, sandbox_id: str, spec: SandboxSpec, first_user: int) -> None:
        own = self._runtime.own_kernel
        if own is None:
            self.groups.make(sandbox_id, first_user)
        elif self.ids.rootless:
            raise DriverUnavailable(f"the driver {self._runtime.name} needs root; try sudo")
        else:
            self.groups.make_whole(sandbox_id, own.room(spec.limits))

    def _start_of(self, sandbox_id: str) -> Start:
        if self._runtime.own_kernel is None:
            return self.groups.start(sandbox_id)
        return Start(group=self._group_of(sandbox_id), limited=False)

    def _group_of(self, sandbox_id: str) -> str:
        agents = self.groups.group_of(sandbox_id)
        return group_of_kernel(agents) if self._runtime.own_kernel else agents

    def _find_process(self, groups: Groups, folder: BundleFolder) -> Process | None:
        """The process of the host that listens at the agent's socket."""
        own = self._runtime.own_kernel
        if own is None:
            return Process.find(int(folder.pid.read_text()))
        found = (
            Process.find(pid) for pid in groups.members(folder.id) if title(pid) == own.file_server
        )
        return next(found, None)

    def _launch(
        self, program: Path, folder: BundleFolder, lock: int, spec: SandboxSpec, first_user: int
    ) -> bool:
        """In a launcher's thread: what is mounted here is seen by the runtime alone.

        Says whether the owners of the image's files are shown.
        """
        shown = self._staged(spec, first_user)
        with self._stage(shown) as shows_owners:
            plan = self._plan(shown, folder, spec, first_user)
            folder.configuration.write_text(json.dumps(configuration(plan)))
            self._run(program, folder, lock)
        if self._runtime.filter_annotation and not self._annotations and not shown.nodes:
            self._annotations = self._compiled_filter(folder)
        rootless = self.ids.rootless
        return shows_owners and keeps_owners(spec.root, first_user, rootless=rootless)

    def _staged(self, spec: SandboxSpec, first_user: int) -> Staged:
        return staged(spec, self._installed_agent, first_user, rootless=self.ids.rootless)

    def _stage(self, shown: Staged) -> contextlib.AbstractContextManager[bool]:
        steps = node_steps(shown.nodes, node_places(shown.nodes))
        return stage([*devices(rootless=self.ids.rootless), *steps, *shown.steps])

    def _plan(
        self, shown: Staged, folder: BundleFolder, spec: SandboxSpec, first_user: int
    ) -> Plan:
        start = self._start_of(folder.id)
        return Plan(
            root=shown.root,
            binds=[*shown.binds, *node_binds(shown.nodes), *self._shown_groups(folder.id)],
            first_user=first_user,
            group=start.group,
            group_limits=start.limited,
            unheld=None if self.groups.limits else spec.limits,
            own_kernel=self._runtime.own_kernel is not None,
            processes=spec.limits.processes,
            unclaimed_seconds=spec.unclaimed_seconds,
            devices=[(node.major, node.minor) for node in shown.nodes],
            # The filter that was compiled is another one where there are devices.
            annotations={} if shown.nodes else self._annotations,
        )

    def _shown_groups(self, sandbox_id: str) -> list[Bind]:
        return [] if self._runtime.own_kernel else self.groups.binds(sandbox_id)

    def _compiled_filter(self, folder: BundleFolder) -> dict[str, str]:
        """What the first sandbox's runtime made of the profile serves all later ones."""
        try:
            compiled = (folder.runtime / folder.id / self._runtime.filter_file).read_bytes()
        except FileNotFoundError:
            return {}
        return {self._runtime.filter_annotation: base64.b64encode(compiled).decode()}

    def _run(self, program: Path, folder: BundleFolder, lock: int) -> None:
        command: list[str | Path] = [
            program, *self._options, "--root", folder.runtime, "--log", folder.runtime_log,
            "run", "--detach", "--bundle", folder.path, "--pid-file", folder.pid, folder.id,
        ]  # fmt: skip
        # If we are killed, whoever cleans up waits for the lock, and so until the runtime is done.
        status = call(command, output=folder.agent_log, keep=lock, seconds=_SECONDS_TO_START)
        if status is None:
            raise CreateTimeout(
                f"{program.name} did not start a sandbox in {_SECONDS_TO_START:.0f} s",
                detail=folder.log(),
            )
        if status != 0:
            raise self._failed(program, folder.log())

    def _protect(self, process: Process, sandbox_id: str) -> None:
        """The agent has its groups open by now; nobody else in the sandbox, not even its root, may
        reach them, raise a limit there, or leave the group that its execution ends with.

        Nor may anybody put a socket in place of the agent's, where the host could not tell who
        listens: all it sees there is the file server of the sandbox's kernel.
        """
        targets = [Path(bind.target) for bind in self._shown_groups(sandbox_id)]
        if targets:
            self._launcher.submit(lambda: hide(process.pid, targets)).result()
        if self._runtime.own_kernel:
            self._launcher.submit(lambda: close_folder(process.pid, CONTROL)).result()

    def time_alone(self, spec: SandboxSpec, argv: Sequence[str], stopwatch: Path) -> int:
        """Nanoseconds of the runtime's `run`, of a bundle like any other but for its program."""
        program = self._runtime.find()

        def run(folder: BundleFolder, first_user: int) -> Ended:
            shown = self._staged(spec, first_user)
            with self._stage(shown):
                bundle = configuration(self._plan(shown, folder, spec, first_user))
                bundle["process"]["args"] = list(argv)
                folder.configuration.write_text(json.dumps(bundle))
                return subprocess.run(
                    [stopwatch, "1", program, *self._options, "--root", folder.runtime,
                     "--log", folder.runtime_log, "run", "--bundle", folder.path, folder.id],
                    capture_output=True, text=True, timeout=_SECONDS_TO_START, check=False,
                )  # fmt: skip

        return self._timed(program, lambda folder: self._begin(folder, spec), run)

    def _is_gone(self, folder: BundleFolder) -> bool:
        """Somebody had the runtime delete it, which leaves our folder."""
        return not folder.is_known_to_runtime()
