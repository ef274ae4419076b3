"""Whose sandboxes are whose, and removing those whose owner is gone.

A process that makes sandboxes holds a lock on a file in which it notes their ids. The kernel lets
go of the lock when the process ends, however it ends; whoever gets the lock then cleans up:

    owners/<random>        one line a sandbox: DRIVER ID
    owners/server-<name>   a server's: its sandboxes wait for its next start, or for another server
                           of its database, and are nobody else's business
    owners/suspects.json   dead sandboxes that nobody noted, and since when they are known

A process can be killed between making a sandbox and noting it. Its agent ends such a sandbox soon,
as nobody is connected to it; what is left of it is removed when it was seen dead for a minute. (Not
earlier: another process may be making it.) The same happens to the sandboxes of a server that never
starts again.
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
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Final

from assay.domain.errors import AssayError, DiskFull, InUse, Unavailable
from assay.driver.guard import Event, SandboxCreated, SandboxDestroyed
from assay.driver.port import Driver

SUSPECT_SECONDS: Final = 60.0
_SUSPECTS: Final = "suspects.json"
_SERVER: Final = "server-"
_ATTEMPTS: Final = 20
_SECONDS_BETWEEN: Final = 0.05
_NOTES_MOST: Final = 1000
"""Lines about sandboxes that are gone, before the file is written anew."""

Opened = Callable[[str], AbstractAsyncContextManager[Driver]]


class Ownership:
    """This process's file, from the beginning to the end of a `with` block.

    With `server`, a name that stays the same from one start to the next (letters and digits, a
    hash of where its database is, say), what an earlier process of that name has noted is its own.
    """

    def __init__(self, state: Path, driver: str, *, server: str = "") -> None:
        self._folder = state / "owners"
        self._driver = driver
        self._server = bool(server)
        self._path = self._folder / (f"{_SERVER}{server}" if server else secrets.token_hex(8))
        self._file = -1
        self._notes = 0
        self._mine: dict[str, str] = {}
        self.former: Mapping[str, str] = {}
        """What earlier processes have left: the driver of each sandbox's id."""

    def __enter__(self) -> Ownership:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._server:
                self._succeed()
            self._write()
        except OSError as error:
            self._close()
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
        elif self._server:
            with contextlib.suppress(OSError):  # what is gone does no harm there
                self._write()
        self._close()

    def others(self) -> frozenset[str]:
        """The sandboxes of this driver that other living processes or other servers have noted."""
        files = (file for file in _owner_files(self._folder) if file != self._path)
        noted = (_noted(file) for file in files if _is_server(file) or _is_locked(file))
        return frozenset(
            sandbox_id for lines in noted for name, sandbox_id in lines if name == self._driver
        )

    def alone(self) -> bool:
        """Whether no other process that lives makes sandboxes in this state folder now."""
        return not any(
            _is_locked(file) for file in _owner_files(self._folder) if file != self._path
        )

    def orphans(self, existing: Iterable[str], known: Iterable[str]) -> frozenset[str]:
        """Which of the driver's `existing` sandboxes are this server's, but not `known` to it.

        What nobody has noted is not among them: another process may be making it right now.
        """
        return (frozenset(existing) & frozenset(self._mine)) - frozenset(known)

    def strangers(self, existing: Iterable[str]) -> frozenset[str]:
        """Which of those that existed before this call nobody has noted, nor will: who was making
        them was killed. None while another process lives that may be making them.
        """
        if not self.alone():
            return frozenset()
        return frozenset(existing) - frozenset(self._mine) - self.others()

    def forget_vanished(self, existing: Iterable[str]) -> None:
        """Of what was left by an earlier process, forget what this driver no longer has."""
        there = frozenset(existing)
        for sandbox_id, name in self.former.items():
            if name == self._driver and sandbox_id not in there:
                self._mine.pop(sandbox_id, None)

    def forget(self, sandbox_ids: Iterable[str]) -> None:
        """Of what is noted here, these have become other servers', elsewhere."""
        theirs = frozenset(sandbox_ids)
        self.former = {each: name for each, name in self.former.items() if each not in theirs}
        for sandbox_id in theirs:
            self._mine.pop(sandbox_id, None)

    def adopt(self, sandbox_ids: Iterable[str]) -> None:
        """Note sandboxes that another server has made, and that are this one's now."""
        for sandbox_id in sandbox_ids:
            if sandbox_id not in self._mine:
                self._mine[sandbox_id] = self._driver
                self._note(sandbox_id)

    def inherit(self, server: str) -> frozenset[str] | None:
        """Note here what a server of this name has noted, as left by an earlier process.

        The ids of those sandboxes; None while the file is locked: its process lives, or somebody
        looks whether it does.
        """
        path = self._folder / f"{_SERVER}{server}"
        if path == self._path:
            return frozenset()
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return frozenset()
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            if not _is_at(file, path):  # the same, or somebody else has inherited it
                return None
            left = {sandbox_id: name for name, sandbox_id in _noted(path)}
            self.former = {**self.former, **left}
            self._mine.update(left)
            self._write()
            path.unlink(missing_ok=True)
            return frozenset(left)
        finally:
            os.close(file)

    def renounce(self) -> None:
        """Forget what is noted so far: another server has it, and notes it."""
        self._mine.clear()

    def _succeed(self) -> None:
        """Lock the file of an earlier process of the same name, if any, and read it."""
        while True:
            flags = os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
            if not _locked_soon(self._file):
                self._close()
                raise InUse(
                    f"another server is running with the same state folder {self._folder.parent}"
                )
            if _is_at(self._file, self._path):
                break
            self._close()  # it was replaced while we waited for it
        self._mine = {sandbox_id: name for name, sandbox_id in _noted(self._path)}
        self.former = dict(self._mine)

    def _write(self) -> None:
        """Note what there is in a new file. Under its final name it is locked already.

        So a sweeper never takes it for an abandoned one.
        """
        draft = self._folder / f".{self._path.name}-{os.getpid()}"
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC
        file = os.open(draft, flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines = "".join(f"{name} {sandbox_id}\n" for sandbox_id, name in self._mine.items())
            _write_all(file, lines.encode())
            draft.rename(self._path)
        except BaseException:
            os.close(file)
            draft.unlink(missing_ok=True)
            raise
        self._close()
        self._file, self._notes = file, len(self._mine)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def observe(self, event: Event) -> None:
        """Note a sandbox that was made; forget one that was destroyed."""
        if isinstance(event, SandboxCreated):
            self._mine[event.sandbox_id] = self._driver
            # On a full disk the sandbox has an agent all the same, which ends it without us.
            with contextlib.suppress(OSError):
                self._note(event.sandbox_id)
        elif isinstance(event, SandboxDestroyed):
            self._mine.pop(event.sandbox_id, None)

    def _note(self, sandbox_id: str) -> None:
        self._notes += 1
        # A server runs for months: what is gone must not stay in the file.
        if self._notes > _NOTES_MOST + 2 * len(self._mine):
            self._write()
        else:
            os.write(self._file, f"{self._driver} {sandbox_id}\n".encode())


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
    """Return the sandboxes of an owner that lives; destroy those of one that doesn't.

    Those of a server that doesn't are left to its next start.
    """
    if _is_server(file):
        return {sandbox_id for _, sandbox_id in _noted(file)} if _is_locked(file) else set()
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return {sandbox_id for _, sandbox_id in _noted(file)}
        if not _is_at(descriptor, file):  # its owner lives, and has written it anew meanwhile
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


def _is_server(file: Path) -> bool:
    return file.name.startswith(_SERVER)


def _is_locked(file: Path) -> bool:
    """Whether its process lives."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two who look don't take one another for the owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        # Else it may have been written anew meanwhile, by who lives.
        return not _is_at(descriptor, file) and file.exists()
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _locked_soon(file: int) -> bool:
    """Lock a file, which whoever looks whether its process lives holds for a moment."""
    for _ in range(_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_SECONDS_BETWEEN)
        else:
            return True
    return False


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


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
