"""Makes and removes sandboxes with `lxc-start`, step by step, in the calling thread."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Final

from assay.domain.errors import CreateTimeout
from assay.driver.port import Capabilities, Sandbox, SandboxSpec
from assay.drivers.linux import stage as steps
from assay.drivers.linux.cgroups import make_folder
from assay.drivers.linux.confinement import CONTROL, GROUPS, Bind, agent_command, instead_of_groups
from assay.drivers.linux.dial import ended_at_once, wait_until_listening
from assay.drivers.linux.filter import compiled
from assay.drivers.linux.folder import SandboxFolder
from assay.drivers.linux.launcher import Launcher, hide, limit_network
from assay.drivers.linux.launching import Ended, LaunchingWorkshop
from assay.drivers.linux.performer import stage
from assay.drivers.linux.process import Process, children, kill_and_wait
from assay.drivers.linux.program import call, find
from assay.drivers.linux.stage import STAGE, WRITABLE, Step, keeps_owners, staged
from assay.drivers.lxc.configuration import LXC, Plan, configuration
from assay.drivers.lxc.folder import LxcFolder
from assay.drivers.lxc.hidden import beside, hide_groups

REMEDY: Final = "apt-get install lxc"
_SECONDS_TO_START: Final = 30.0
_SECONDS_TO_END: Final = 5.0
_NOT_ENTERED: Final = 127
_TRIES: Final = 3
"""Another server that ends may have removed a group just now that nobody was in."""
_FILTER: Final = "control/filter"
_ENVIRONMENT: Final = MappingProxyType({"XDG_RUNTIME_DIR": LXC})
"""LXC's own. There it keeps a lock for each container, being no root of the machine's; with a PATH
it would find newuidmap, and have that ask for root's ids."""


class LxcWorkshop(LaunchingWorkshop[LxcFolder]):
    """Makes each with a `lxc-start` of its own, and ends LXC's monitor as soon as it runs.

    It stays where no groups say which processes are a sandbox's: then the kernel ends that with it.
    """

    def __init__(
        self, *, program: str, lean: Path, state: Path, agent: Path, first_user: int, parallel: int
    ) -> None:
        super().__init__(
            name="lxc", state=state, agent=agent, first_user=first_user, kind=LxcFolder
        )
        self._program = program
        self._lean = lean
        self._parallel = parallel

    @cached_property
    def _launcher(self) -> Launcher:
        return Launcher(hide_groups, self._parallel)

    def version(self) -> str:
        """LXC's, such as "5.0.2". Raises RuntimeMissing, OSError or SubprocessError."""
        program = find(self._program, REMEDY)
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
        return answer.stdout.strip()

    def capabilities(self) -> Capabilities:
        """What can be done here."""
        return self._counted(Capabilities(devices=True))

    def make(self, sandbox_id: str, spec: SandboxSpec, abandoned: threading.Event) -> Sandbox:
        """Make a sandbox and wait until its agent listens; on any failure nothing is left."""
        program = find(self._program, REMEDY)
        with self._undone(sandbox_id), self.sandboxes.making(sandbox_id) as (folder, lock):
            first_user = self._begin(folder, spec)
            owners = self._launcher.submit(
                lambda: self._launch(program, folder, lock, spec, first_user)
            ).result()
            process = self._found(folder, spec, first_user)
            wait_until_listening(process, folder, abandoned)
            self._protect(process, sandbox_id)
        return Sandbox(
            id=sandbox_id, facts=self._facts(folder, spec, process, first_user, owners=owners)
        )

    def _begin(self, folder: LxcFolder, spec: SandboxSpec) -> int:
        first_user = self._ranges.take(folder.id, owners=spec.root.owners)
        folder.note(image=spec.root.digest, first_user=first_user)
        self.groups.make(folder.id, first_user)
        return first_user

    def _launch(
        self, program: Path, folder: LxcFolder, lock: int, spec: SandboxSpec, first_user: int
    ) -> bool:
        """In a launcher's thread: what is mounted here is seen by LXC alone.

        Says whether the owners of the image's files are shown.
        """
        with self._stage(folder, spec, first_user) as shows_owners:
            self._start(program, folder, lock)
        rootless = self.ids.rootless
        return shows_owners and keeps_owners(spec.root, first_user, rootless=rootless)

    @contextlib.contextmanager
    def _stage(
        self, folder: LxcFolder, spec: SandboxSpec, first_user: int, argv: Sequence[str] = ()
    ) -> Iterator[bool]:
        rootless = self.ids.rootless
        shown = staged(spec, self._installed_agent, first_user, rootless=rootless)
        groups, binds = self._shown_groups(folder.id)
        calls = compiled(devices=bool(shown.nodes)).hex()
        filter_of_calls = ("secret", f"{WRITABLE}/{_FILTER}", str(first_user), calls)
        plan = Plan(
            root=shown.root,
            binds=[*shown.binds, *steps.node_binds(shown.nodes), *binds],
            first_user=first_user,
            command=argv or self._agent_of(spec),
            monitored=not self.groups.limits,
        )
        folder.configuration.write_text(configuration(plan))
        nodes = steps.node_steps(shown.nodes, steps.node_places(shown.nodes))
        ours = (steps.folder(LXC), *groups, *shown.steps, filter_of_calls, *nodes)
        with stage([*steps.devices(rootless=rootless), *ours]) as shows_owners:
            yield shows_owners

    def _agent_of(self, spec: SandboxSpec) -> Sequence[str]:
        held = () if self.groups.limits else instead_of_groups(spec.limits)
        places = ("--cgroup", GROUPS, "--filter", f"{CONTROL}/{Path(_FILTER).name}")
        return agent_command(spec.unclaimed_seconds, *places, *held)

    def _shown_groups(self, sandbox_id: str) -> tuple[list[Step], list[Bind]]:
        """What the agent is given of its groups, on the stage: elsewhere LXC can't see any."""
        taken: list[Step] = []
        binds = []
        there = zip(self.groups.binds(sandbox_id), self.groups.learners(sandbox_id), strict=True)
        for number, (bind, group) in enumerate(there):
            place = f"{STAGE}/group-{number}"
            taken += [steps.folder(place), ("show", beside(group), place)]
            binds.append(replace(bind, source=place))
        return taken, binds

    def _start(self, program: Path, folder: LxcFolder, lock: int) -> None:
        command = [program, "-d", *self._named(folder), "-p", folder.monitor]
        for _ in range(_TRIES):
            # If we are killed, whoever cleans up waits for the lock, and so until it is started.
            status = call(
                self._in_groups(folder, command), output=folder.lxc_log, keep=lock,
                seconds=_SECONDS_TO_START, environment=_ENVIRONMENT,
            )  # fmt: skip
            if status != _NOT_ENTERED:
                break
        if status is None:
            raise CreateTimeout(
                f"{program.name} did not start a sandbox in {_SECONDS_TO_START:.0f} s",
                detail=folder.log(),
            )
        if status != 0:
            raise self._failed(program, folder.log())

    def _in_groups(self, folder: LxcFolder, command: Sequence[str | Path]) -> list[str | Path]:
        """LXC, and so all that it starts, is in the sandbox's groups from the first."""
        exits = [beside(file) for file in self.groups.exits()]
        for file in exits:
            make_folder(Path(file).parent)
        entrances = map(beside, self.groups.entrances(folder.id))
        return [self._lean, "enter", *entrances, *exits, "--", *command]

    def _named(self, folder: LxcFolder) -> list[str | Path]:
        return [
            "-P", LXC, "-n", folder.id, "-f", folder.configuration,
            "-q", "-o", folder.lxc_log, "-l", "ERROR",
        ]  # fmt: skip

    def _found(self, folder: LxcFolder, spec: SandboxSpec, first_user: int) -> Process:
        """Process 1, the only one that the monitor has started, in its place and limited."""
        monitor = folder.half_made()
        process = next(children(monitor), None) if monitor is not None else None
        if monitor is None or process is None:
            raise ended_at_once(folder)
        try:
            self.groups.place(folder.id, process.pid, first_user, entered=True)
            self.groups.limit(folder.id, spec.limits, first_user)
        except ProcessLookupError:
            raise ended_at_once(folder) from None
        folder.note(process=process)
        if self.groups.limits:
            _end(monitor)
        return process

    def _protect(self, process: Process, sandbox_id: str) -> None:
        """The agent has its groups open by now; nobody else in the sandbox, not even its root, may
        reach them, raise a limit there, or leave the group that its execution ends with."""
        targets = [Path(bind.target) for bind in self.groups.binds(sandbox_id)]
        self._launcher.submit(lambda: hide(process.pid, targets)).result()
        limit_network(process.pid)

    def _remove(self, folder: SandboxFolder) -> None:
        if (monitor := folder.half_made()) is not None:
            _end(monitor)
        super()._remove(folder)

    def time_alone(self, spec: SandboxSpec, argv: Sequence[str], stopwatch: Path) -> int:
        """Nanoseconds of `lxc-start` in the foreground, of a sandbox like any other but for its
        program."""
        program = find(self._program, REMEDY)

        def run(folder: LxcFolder, first_user: int) -> Ended:
            with self._stage(folder, spec, first_user, argv):
                return subprocess.run(
                    self._in_groups(folder, [stopwatch, "1", program, "-F", *self._named(folder)]),
                    env=_ENVIRONMENT, capture_output=True, text=True, timeout=_SECONDS_TO_START,
                    check=False,
                )  # fmt: skip

        return self._timed(program, lambda folder: self._begin(folder, spec), run)


def _end(monitor: Process) -> None:
    soon = time.monotonic() + _SECONDS_TO_END
    kill_and_wait(lambda: [monitor.pid] if monitor.runs() else [], soon)
