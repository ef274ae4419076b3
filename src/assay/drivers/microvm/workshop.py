"""Makes and removes machines, step by step, in the calling thread."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from assay.domain.errors import AssayError, DriverUnavailable, RuntimeFailed
from assay.driver.port import Capabilities, Cleanup, Sandbox, SandboxSpec
from assay.drivers.linux.cgroups import put
from assay.drivers.linux.process import Process
from assay.drivers.linux.stage import words
from assay.drivers.linux.workshop import MakingWorkshop
from assay.drivers.microvm import plan
from assay.drivers.microvm.disk import Disks
from assay.drivers.microvm.folder import MachineFolder
from assay.drivers.microvm.identity import STARTED, Watch, hear, identity
from assay.drivers.microvm.machine import KERNEL_BYTES, Kept, Monitor, Place, Running, room
from assay.drivers.microvm.template import Templates

TOKEN_BYTES: Final = 32
_SECONDS_TO_START: Final = 30.0


class MachineWorkshop(MakingWorkshop[MachineFolder]):
    """Each sandbox is a kept machine of its image and limits, restored."""

    def __init__(
        self,
        *,
        monitor: Monitor,
        state: Path,
        disks: Path,
        agent: Path,
        guest: Path,
        kernel: str,
        first_user: int,
    ) -> None:
        super().__init__(
            name=monitor.name, state=state, agent=agent, first_user=first_user, kind=MachineFolder
        )
        self.monitor = monitor
        self.templates = Templates(
            monitor=monitor,
            folder=state / monitor.name / "templates",
            disks=Disks(disks),
            kernel=kernel,
            guest=guest,
        )
        self._ours: dict[str, Running] = {}

    def capabilities(self) -> Capabilities:
        """What can be done here."""
        return Capabilities(
            own_kernel=True,
            kernel_memory_bytes=KERNEL_BYTES,
            cleanup=Cleanup.CGROUP_KILL,
            images_in_place=False,
            snapshot=True,
        )

    def close(self) -> None:
        """Let go of everything but the sandboxes."""
        self.templates.close()
        super().close()

    def make(self, sandbox_id: str, spec: SandboxSpec, abandoned: threading.Event) -> Sandbox:
        """Restore a machine and tell it who it is; on any failure nothing is left."""
        if self.ids.rootless:
            raise DriverUnavailable(f"the driver {self.name} needs root; try sudo")
        try:
            with self.sandboxes.making(sandbox_id) as (folder, _):
                process = self._started(folder, spec, abandoned)
        except BaseException as error:
            # What can't be removed now stays in the list of sandboxes, for somebody to try again.
            with contextlib.suppress(AssayError, OSError):
                self.remove(sandbox_id)
            if isinstance(error, OSError):
                raise self._explained(error) from error
            raise
        facts = self._facts(folder, spec, process, folder.range(), owners=spec.root.owners)
        return Sandbox(id=sandbox_id, facts=facts | {"group": self.groups.group_of(sandbox_id)})

    def _started(
        self, folder: MachineFolder, spec: SandboxSpec, abandoned: threading.Event
    ) -> Process:
        user = self._ranges.take(folder.id)
        folder.note(image=spec.root.digest, first_user=user)
        self.groups.make_whole(folder.id, room(spec.limits))
        watch = Watch(abandoned, folder.log)
        agent = self._installed_agent
        kept = self.templates.kept(spec, agent, partial(self._first, folder, user, watch))
        try:
            return self._restored(kept, folder, user, spec, watch)
        except RuntimeFailed:
            self.templates.forget(spec)
            raise

    def _first(self, folder: MachineFolder, user: int, watch: Watch) -> Iterator[Place]:
        """Where a machine is booted that is to be kept."""
        with self._place(folder, user, watch) as place:
            yield place
        folder.clear()

    @contextlib.contextmanager
    def _place(self, folder: MachineFolder, user: int, watch: Watch) -> Iterator[Place]:
        with (
            folder.listening(self.monitor.ports) as ports,
            folder.first(ports) as host,
            folder.agent_log.open("ab") as log,
        ):
            yield Place(
                ports=ports,
                host=host,
                folder=folder,
                log=log,
                user=user,
                enter=partial(self._enter, folder.id),
                watch=watch,
            )

    def _enter(self, sandbox_id: str, pid: int) -> None:
        for group in self.groups.learners(sandbox_id):
            put(f"{group}/cgroup.procs", str(pid))

    def _restored(
        self, kept: Kept, folder: MachineFolder, user: int, spec: SandboxSpec, watch: Watch
    ) -> Process:
        token = secrets.token_bytes(TOKEN_BYTES)
        folder.note_token(token)
        with self._place(folder, user, watch) as place:
            running = self.monitor.restore(kept, place)
            try:
                process = Process.find(running.pid)
                if process is None:
                    raise RuntimeFailed("the monitor ended at once", detail=folder.log())
                folder.note(process=process)
                host = self.monitor.meet(place, running)
                host.setblocking(True)
                host.sendall(identity(token, words(plan.completion(spec))))
                hear(host, STARTED, watch, running.has_ended, _SECONDS_TO_START)
            except BaseException:
                running.end()
                raise
        self._ours[folder.id] = running
        return process

    def remove(self, sandbox_id: str) -> None:
        """Remove all that belongs to it; a monitor that we have started is waited for."""
        running = self._ours.pop(sandbox_id, None)
        if running is not None:
            running.end()
        self._forget_ended()
        super().remove(sandbox_id)

    def _forget_ended(self) -> None:
        """Those that ended by themselves, or by another server's hand."""
        for sandbox_id, running in list(self._ours.items()):
            if running.has_ended():
                self._ours.pop(sandbox_id, None)
