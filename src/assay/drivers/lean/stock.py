"""Sandboxes made ahead of time, but for what they are of: processes in namespaces and groups."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import AssayError, RuntimeFailed
from assay.drivers.lean.helper import Shell
from assay.drivers.linux.finish import to_the_end
from assay.drivers.linux.folder import SandboxFolder, new_id
from assay.drivers.linux.process import Process

_SECONDS_AFTER_FAILURE: Final = 5.0
_SECONDS_BETWEEN_SWEEPS: Final = 5.0
_ATTEMPTS: Final = 20
_SECONDS_BETWEEN_ATTEMPTS: Final = 0.002
PREPARER: Final = "assay-preparer"
"""The task's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """One that waits to hear what it is to be the agent of; `lock` is on its folder."""

    folder: SandboxFolder
    lock: int
    shell: Shell
    first_user: int

    @property
    def id(self) -> str:
        """Of the sandbox that it becomes."""
        return self.folder.id

    @property
    def process(self) -> Process:
        """Its process 1."""
        return self.shell.process


class Stock:
    """Keeps `most` of them, made while nothing else is to be done; they end with this process.

    Each lies in a folder beside the sandboxes', locked for as long as anybody can use it.
    """

    def __init__(
        self,
        path: Path,
        most: int,
        *,
        prepare: Callable[[str], Awaitable[Prepared]],
        give_up: Callable[[Prepared], Awaitable[None]],
        discard: Callable[[SandboxFolder], Awaitable[None]],
    ) -> None:
        """`prepare` makes one of that id, `give_up` ends one; `discard` removes what is left of one
        whose process has ended. All may raise AssayError or OSError."""
        self._path = path
        self._most = most
        self._prepare = prepare
        self._give_up = give_up
        self._discard = discard
        self._ready: deque[Prepared] = deque()
        self._reserved: dict[str, Prepared] = {}
        self._at_work = 0
        self._changed = asyncio.Event()
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._ready)

    def folder(self, sandbox_id: str) -> SandboxFolder:
        """Where one lies."""
        return SandboxFolder(self._path / sandbox_id)

    async def lay(self, sandbox_id: str) -> tuple[SandboxFolder, int]:
        """A new folder for one, and its lock. Raises OSError, RuntimeFailed.

        Until it is locked it looks abandoned, and another server that sweeps may take it away.
        """
        folder = self.folder(sandbox_id)
        for _ in range(_ATTEMPTS):
            if (lock := self._locked(folder.path)) is not None:
                return folder, lock
            await asyncio.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        raise RuntimeFailed(f"others remove what is made in {self._path}, again and again")

    def _locked(self, folder: Path) -> int | None:
        """The lock of a new folder; None when somebody else was quicker."""
        # (pathlib says "exists" of a folder that went while it looked.)
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
            lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(lock, folder):
                    return lock
            os.close(lock)
        return None

    def reserve(self) -> str:
        """The id of one that is ready, or a new one."""
        if not self._ready:
            return new_id()
        prepared = self._ready.popleft()
        self._reserved[prepared.id] = prepared
        return prepared.id

    @contextlib.contextmanager
    def at_work(self, sandbox_id: str) -> Iterator[Prepared | None]:
        """The one with this id, if there is one; while several are made, no others are."""
        self._at_work += 1
        try:
            yield self._reserved.pop(sandbox_id, None)
        finally:
            self._at_work -= 1
            if self._most and self._task is None and not self._closed:
                self._task = asyncio.get_running_loop().create_task(self._keep(), name=PREPARER)
            self._changed.set()

    async def _keep(self) -> None:
        await self._remove_abandoned()
        while True:
            if not self._may_prepare():
                await self._wait_for_change()
                continue
            try:
                prepared = await self._prepare(new_id())
            except (AssayError, OSError):  # who needs one will see, and say, why
                await asyncio.sleep(_SECONDS_AFTER_FAILURE)
                continue
            self._ready.append(prepared)

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(_SECONDS_BETWEEN_SWEEPS):
                await self._changed.wait()
        except TimeoutError:
            await self._remove_abandoned()

    def _may_prepare(self) -> bool:
        """Whoever waits for a sandbox goes first."""
        return self._at_work < 2 and len(self._ready) < self._most

    async def _remove_abandoned(self) -> None:
        """Those of servers that are gone: nobody else looks here. Their processes have the locks
        until they have ended, too, which may be a moment after a server that was killed."""
        with contextlib.suppress(OSError):
            for path in self._path.iterdir():
                with contextlib.suppress(AssayError, OSError):
                    await self._remove_if_abandoned(path)

    async def _remove_if_abandoned(self, path: Path) -> None:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(lock, path):  # and not the next one of this name
                await self._discard(SandboxFolder(path))
        finally:
            os.close(lock)

    async def aclose(self) -> None:
        """End all that are ready."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await to_the_end(self._task)
        while self._ready:
            with contextlib.suppress(AssayError, OSError):
                await self._give_up(self._ready.popleft())
        await self._remove_abandoned()
        with contextlib.suppress(OSError):
            self._path.rmdir()


def _is_at(folder: int, path: Path) -> bool:
    """Whether a folder is still where it was."""
    try:
        return os.path.samestat(os.fstat(folder), path.stat())
    except FileNotFoundError:
        return False
