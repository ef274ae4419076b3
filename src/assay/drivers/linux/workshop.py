"""The blocking half of a local driver: removes sandboxes, and mostly makes them, in its thread."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final, Generic

from assay.domain.errors import AssayError, DiskFull, DriverUnavailable, RuntimeFailed
from assay.driver.port import Capabilities, Sandbox, SandboxSpec, SandboxState
from assay.drivers.linux import kernel
from assay.drivers.linux.cgroups import Groups
from assay.drivers.linux.folder import AnyFolder, Sandboxes, SandboxFolder, is_id, new_id
from assay.drivers.linux.layout import choose_groups, read_layout
from assay.drivers.linux.process import Process
from assay.drivers.linux.stage import install_agent
from assay.drivers.linux.users import WIDTH, Ids, UserRanges, read_ids

_LEAST_ROOM: Final = 1024 * 1024
_LEAST_INODES: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What this process knows of a sandbox that it has made, and need not read again."""

    process: Process
    """Its process 1, with a hold on it."""
    first_user: int


class Workshop(ABC, Generic[AnyFolder]):
    """What all have in common: users, control groups, the folder of sandboxes, and their end."""

    def __init__(
        self, *, name: str, state: Path, agent: Path, first_user: int, kind: type[AnyFolder]
    ) -> None:
        self.name = name
        self.sandboxes = Sandboxes(state / name / "sandboxes", kind)
        self._state = state
        self._agent = agent
        self._first_user = first_user
        self._made: dict[str, Made] = {}

    @cached_property
    def ids(self) -> Ids:
        """Who we are, and which user ids we may give away."""
        return read_ids()

    @cached_property
    def groups(self) -> Groups:
        """Control groups, the way this host has them. Raises DriverUnavailable."""
        return choose_groups(read_layout(), self.ids)

    @cached_property
    def _ranges(self) -> UserRanges:
        folder, ids = self._state / "users", self.ids
        if not ids.rootless:
            return UserRanges(folder, first=self._first_user)
        if not ids.enough:
            raise DriverUnavailable(
                f"this user namespace has {ids.count} ids; sandboxes need {WIDTH} besides 0"
            )
        return UserRanges(folder, first=1, last=1 + WIDTH, shared=True)

    @cached_property
    def _installed_agent(self) -> Path:
        return install_agent(self._agent, self._state / "agents")

    def _counted(self, able: Capabilities) -> Capabilities:
        """What can be done here. Without groups, nothing is counted for a sandbox as a whole."""
        try:
            groups = self.groups
        except DriverUnavailable:
            return able
        limits = groups.limits
        return replace(
            able,
            cleanup=groups.cleanup,
            oom_facts=limits,
            memory_limit=limits,
            process_limit=limits or kernel.is_at_least(5, 14),
            cpu_limit=limits,
            whole_cpu_time=limits,
            own_devices=not self.ids.rootless,
        )

    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What can be done here."""

    def reserve(self) -> str:
        """The id of the sandbox that is to be made next."""
        return new_id()

    def examine(self, sandbox_id: str) -> SandboxState | None:
        """What the host knows of a sandbox, or None when there is none."""
        folder = self.sandboxes.folder(sandbox_id)
        if not is_id(sandbox_id) or not folder.path.is_dir():
            return None
        process = folder.process()
        running = process is not None and process.runs()
        if process is not None and not running and self._is_gone(folder):
            return None
        usage = self.groups.usage(sandbox_id)
        if usage is None:
            return SandboxState(running=running)
        return SandboxState(
            running=running,
            oom_kills=usage.oom_kills,
            cpu_ns=usage.cpu_ns,
            memory_bytes=usage.memory_bytes,
            processes_refused=usage.processes_refused,
        )

    def _is_gone(self, folder: AnyFolder) -> bool:
        """Whether somebody else has removed a sandbox whose process 1 has ended."""
        return False

    def remove(self, sandbox_id: str) -> None:
        """Remove all that belongs to a sandbox, whatever there is of it; the folder goes last."""
        with self.sandboxes.locked(sandbox_id) as folder:
            if folder is not None:
                self._remove(folder)
            self._let_go(sandbox_id)

    def _remove(self, folder: SandboxFolder) -> None:
        made = self._made.get(folder.id)
        process = folder.process() if made is None else made.process
        self.groups.remove(folder.id, process or folder.half_made())
        self._ranges.free(folder.id, folder.range())
        folder.remove()

    def _let_go(self, sandbox_id: str) -> None:
        if (made := self._made.pop(sandbox_id, None)) is not None:
            made.process.let_go()

    def process_of(self, sandbox_id: str) -> Process | None:
        """Process 1 of a sandbox, running or not; None: there is none (yet)."""
        made = self._made.get(sandbox_id)
        return self.sandboxes.folder(sandbox_id).process() if made is None else made.process

    def close(self) -> None:
        """Let go of everything but the sandboxes."""
        for sandbox_id in list(self._made):
            self._let_go(sandbox_id)
        if "groups" in self.__dict__:
            self.groups.tidy()

    @contextlib.contextmanager
    def _undone(self, sandbox_id: str) -> Iterator[None]:
        """Whatever was made of a sandbox is removed again when making it fails."""
        try:
            yield
        except BaseException as error:
            # What can't be removed now stays in the list of sandboxes, for somebody to try again.
            with contextlib.suppress(AssayError, OSError):
                self.remove(sandbox_id)
            if isinstance(error, OSError):
                raise self._explained(error) from error
            raise

    def _facts(
        self,
        folder: SandboxFolder,
        spec: SandboxSpec,
        process: Process,
        first_user: int | None,
        *,
        owners: bool,
    ) -> dict[str, str]:
        seen = {"owners": "shown" if owners else "hidden"} if spec.root.owners else {}
        return {
            **seen,
            "process": str(process.pid),
            "folder": str(folder.path),
            "group": self.groups.group_of(folder.id),
            "first_user": str(first_user),
        }

    def _explained(self, error: OSError) -> DiskFull | RuntimeFailed:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and not self._has_room():
            return self._disk_full(str(error))
        if error.errno in (errno.EPERM, errno.EACCES) and os.geteuid() != 0:
            return RuntimeFailed(
                "only root makes sandboxes, if only in a user namespace; see `assay doctor`",
                detail=str(error),
            )
        return RuntimeFailed(
            "the host could not make a sandbox; `assay doctor` looks for the cause",
            detail=str(error),
        )

    def _failed(self, program: Path, log: str) -> DiskFull | RuntimeFailed:
        """What it means that a program made no sandbox, which had that to say."""
        if "No space left" in log and not self._has_room():
            return self._disk_full(log)
        return RuntimeFailed(
            f"{program.name} could not make a sandbox; `assay doctor` looks for the cause",
            detail=log,
        )

    def _disk_full(self, detail: str) -> DiskFull:
        return DiskFull(f"the disk is full; free some room for {self._state}", detail=detail)

    def _has_room(self) -> bool:
        """Kernel limits say "no space" too, and mean their own."""
        room = os.statvfs(self._state)
        inodes = room.f_favail > _LEAST_INODES or room.f_files == 0  # 0: not counted
        return inodes and room.f_bavail * room.f_frsize > _LEAST_ROOM


class MakingWorkshop(Workshop[AnyFolder]):
    """One that makes sandboxes in the calling thread, too."""

    @abstractmethod
    def make(self, sandbox_id: str, spec: SandboxSpec, abandoned: threading.Event) -> Sandbox:
        """Make a sandbox whose agent accepts connections; on any failure nothing is left."""
