"""Sandboxes for graders and students: with folders that their environment does not have."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from assay.domain.limits import MIB
from assay.grading.places import Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What a sandbox is to be like."""

    environment: str
    memory_bytes: int
    """Of its programs. Files that lie in memory come on top, up to what the environment allows."""
    files_bytes: int = 0
    """Of the files that will be put into it."""
    processes: int = 256
    """At most; an environment may allow fewer."""
    working_folder: str = "/task"
    folders: tuple[str, ...] = ()
    """Others that it may write: see `RootFilesystem.folders`."""
    network: bool = False
    """Whether it needs one; only an environment that has one gives it."""
    devices: bool = False
    """Whether it needs devices, likewise."""
    owner: str = ""
    """In whose name it is taken, where others wait as well."""

    @property
    def disk_bytes(self) -> int:
        """Room for the files, as much again, and 16 MiB; 64 MiB at least."""
        return max(64 * MIB, 2 * self.files_bytes + 16 * MIB)


class Rooms(Protocol):
    """Gives rooms for one use each."""

    def room(self, room: Room) -> AbstractAsyncContextManager[Place]:
        """Take a sandbox, destroyed at the end. Raises UnknownEnvironment, and what drivers do."""
        ...
