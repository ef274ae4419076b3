"""Whose sandboxes are whose, and removing those whose owner is gone.

A process that makes sandboxes holds a lock on a file in which it notes their ids. The kernel lets
go of the lock when the process ends, however it ends; whoever gets the lock then cleans up:

    owners/<random>        one line a sandbox: DRIVER ID
    owners/suspects.json   dead sandboxes that nobody noted, and since when they are known

A process can be killed between making a sandbox and noting it. Its agent ends such a sandbox soon,
as nobody is connected to it; what is left of it is removed when it was seen dead for a minute. (Not
earlier: another process may be making it.)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Final

from assay.domain.errors import AssayError, DiskFull, Unavailable
from assay.driver.guard import Event, SandboxCreated, SandboxDestroyed
from assay.driver.port import Driver

SUSPECT_SECONDS: Final = 60.0
_SUSPECTS: Final = "suspects.json"

Opened = Callable[[str], AbstractAsyncContextManager[Driver]]


class Ownership:
    """This process's file, from the beginning to the end of a `with` block."""

    def __init__(self, state: Path, driver: str) -> None:
        self._folder = state / "owners"
        self._driver = driver
        self._path = self._folder / secrets.token_hex(8)
        self._file = -1
        self._mine: set[str] = set()

    def __enter__(self) -> Ownership:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Under its final name it is locked: a sweeper never takes it for an abandoned one.
            draft = self._folder / f".{self._path.name}"
            flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_EXCL | os.O_CLOEXEC
            self._file = os.open(draft, flags, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            draft.rename(self._path)
        except OSError as error:
            raise _own_error(error, self._folder.parent) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._mine:
            self._path.unlink(missing_ok=True)
        os.close(self._file)

    def observe(self, event: Event) -> None:
        """Note a sandbox that was made; forget one that was destroyed."""
        if isinstance(event, SandboxCreated):
            self._mine.add(event.sandbox_id)
            # On a full disk the sandbox has an agent all the same, which ends it without us.
            with contextlib.suppress(OSError):
                os.write(self._file, f"{self._driver} {event.sandbox_id}\n".encode())
        elif isinstance(event, SandboxDestroyed):
            self._mine.discard(event.sandbox_id)


async def sweep(state: Path, driver: str, opened: Opened) -> None:
    """Destroy the sandboxes of owners that are gone, and dead ones of `driver` without an owner.

    `opened` opens a driver by its name. Never raises; what fails is tried again next time.
    """
    folder = state / "owners"
    alive: set[str] = set()
    for file in _owner_files(folder):
        with contextlib.suppress(AssayError, OSError):
            alive |= await _settle(file, opened)
    with contextlib.suppress(AssayError, OSError, ValueError):
        async with opened(driver) as found:
            await _remove_suspects(folder / _SUSPECTS, found, alive)


async def _settle(file: Path, opened: Opened) -> set[str]:
    """Return the sandboxes of an owner that lives; destroy those of one that doesn't."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return {sandbox_id for _, sandbox_id in _noted(file)}
        for name, sandbox_id in _noted(file):
            async with opened(name) as driver:
                await driver.destroy(sandbox_id)
        file.unlink(missing_ok=True)
        return set()
    finally:
        os.close(descriptor)


async def _remove_suspects(file: Path, driver: Driver, alive: set[str]) -> None:
    seen: dict[str, dict[str, float]] = json.loads(file.read_text()) if file.exists() else {}
    before, now = seen.get(driver.name, {}), time.monotonic()
    suspects: dict[str, float] = {}
    for sandbox_id in await driver.list():
        if sandbox_id in alive:
            continue
        state = await driver.examine(sandbox_id)
        if state is not None and state.running:
            continue
        since = min(before.get(sandbox_id, now), now)
        if now - since < SUSPECT_SECONDS:
            suspects[sandbox_id] = since
        else:
            await driver.destroy(sandbox_id)
    if suspects != before:
        draft = file.with_name(f".suspects-{os.getpid()}")
        draft.write_text(json.dumps({**seen, driver.name: suspects}))
        await asyncio.to_thread(draft.replace, file)


def _owner_files(folder: Path) -> Iterable[Path]:
    try:
        return [file for file in folder.iterdir() if file.name[0] != "." and not file.suffix]
    except FileNotFoundError:
        return []


def _noted(file: Path) -> list[tuple[str, str]]:
    lines = file.read_text(errors="replace").splitlines()
    return [(name, sandbox_id) for name, _, sandbox_id in (line.partition(" ") for line in lines)]


def _own_error(error: OSError, state: Path) -> AssayError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"the disk is full; free some room for {state}", detail=str(error))
    return Unavailable(
        f"the state folder {state} cannot be written: {error.strerror};"
        " run as its owner (sudo), or choose another one with --state",
        detail=str(error),
    )
