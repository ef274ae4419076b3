"""A driver's folder of sandboxes: the truth about which there are, for every later server.

    sandboxes/<id>/
        notes         lines that come one by one, each a name and what is noted:
                      image     its digest, which must not be removed meanwhile
                      range     first user id
                      process   process 1 (or who has its files, see runtime.py), when it started
        agent.log     last words of the agent

One file, for each that is made and removed is a change of the disk's own books.

The folder is made first and removed last. Whoever makes or destroys a sandbox holds a lock on it,
and so does whatever makes it for them: that may outlive a server that was killed.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Generic, TypeVar

from assay.domain.errors import RuntimeFailed
from assay.drivers.linux.process import Process

_ID_LENGTH: Final = 27
_SECONDS_TO_WAIT: Final = 60.0
_NOTES_MOST: Final = 4096


def new_id() -> str:
    """An id that nobody can guess: a letter and 130 random bits, fit for every runtime."""
    return "a" + base64.b32encode(secrets.token_bytes(17)).decode().lower()[: _ID_LENGTH - 1]


def is_id(text: str) -> bool:
    """Whether a text from outside can be an id, and so a part of a path."""
    return len(text) == _ID_LENGTH and text.isascii() and text.isalnum()


def mark_of(folder: Path, name: str) -> str:
    """What tells apart whose something is, elsewhere: the same for all who have this folder.

    Other machines may have one of that name, so there is a number in it that nobody else has.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file, draft = folder / "identity", folder / secrets.token_hex(8)
    draft.write_text(secrets.token_hex(16))
    with contextlib.suppress(FileExistsError):
        file.hardlink_to(draft)
    draft.unlink()
    return hashlib.sha256(f"{file.read_text()}\0{name}".encode()).hexdigest()[:16]


class SandboxFolder:
    """One sandbox on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.agent_log = path / "agent.log"
        self._notes = f"{path}/notes"

    def note(
        self,
        *,
        image: str | None = None,
        first_user: int | None = None,
        process: Process | None = None,
    ) -> None:
        """Remember the digest of its image, which user ids are its own, or process 1.

        With the last of them the sandbox is complete. (`agent/lean.c` notes the last two itself.)
        """
        told = {"image": image, "range": first_user, "process": process}
        lines = "".join(f"{name} {value}\n" for name, value in told.items() if value is not None)
        file = os.open(self._notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, lines.encode())
        finally:
            os.close(file)

    def image(self) -> str:
        """The digest of its image; empty when nobody came as far as noting it."""
        return self._noted("image")

    def range(self) -> int | None:
        """The first of its user ids, if anybody came as far as noting it."""
        text = self._noted("range")
        return int(text) if text.isdecimal() else None

    def process(self) -> Process | None:
        """Process 1, running or not; None for a sandbox that is only half made."""
        return Process.parse(self._noted("process"))

    def _noted(self, wanted: str) -> str:
        try:
            file = os.open(self._notes, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return ""
        try:
            text = os.read(file, _NOTES_MOST).decode(errors="replace")
        finally:
            os.close(file)
        # What comes after the last line's end was not written to its own.
        lines = (line.partition(" ") for line in text.split("\n")[:-1])
        return {name: value for name, _, value in lines}.get(wanted, "")

    def half_made(self) -> Process | None:
        """Process 1 of a server that did not come as far as noting it, by anybody else's note."""
        return None

    def log(self) -> str:
        """What the agent had to say, at most the last 4 KiB."""
        return last_words(self.agent_log)

    def noting_image(self, digest: str) -> tuple[str, ...]:
        """The step that notes the digest of its image."""
        return "append", self._notes, f"image {digest}\n"

    def noting_process(self, first_user: int) -> tuple[str, ...]:
        """The step by which its process 1 notes itself, and which user ids are its own."""
        return "note", self._notes, str(first_user)

    def leaving(self) -> list[tuple[str, ...]]:
        """The steps that remove it, if nothing else is in it."""
        return [
            ("unlink", self._notes), ("unlink", f"{self.agent_log}"), ("rmdir", f"{self.path}"),
        ]  # fmt: skip

    def remove(self) -> None:
        """Remove it, last of all."""
        for file in (self._notes, self.agent_log):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            pass
        except OSError:  # there is more in it
            shutil.rmtree(self.path)


def images_in_use(state: Path) -> set[str]:
    """The digests of the images of all sandboxes in a state folder, of any runtime and server."""
    folders = (SandboxFolder(path) for path in state.glob("*/sandboxes/*"))
    return {image for folder in folders if (image := folder.image())}


AnyFolder = TypeVar("AnyFolder", bound=SandboxFolder)


class Sandboxes(Generic[AnyFolder]):
    """The folder of all of them."""

    def __init__(self, path: Path, kind: type[AnyFolder]) -> None:
        self._path = path
        self._kind = kind

    def folder(self, sandbox_id: str) -> AnyFolder:
        """Where a sandbox is, or would be."""
        return self._kind(self._path / sandbox_id)

    def ids(self) -> list[str]:
        """All that are there, half-made ones too."""
        try:
            return sorted(path.name for path in self._path.iterdir() if is_id(path.name))
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def making(self, sandbox_id: str) -> Iterator[tuple[AnyFolder, int]]:
        """A new folder, and its lock's file descriptor to hand on to the runtime."""
        folder = self.folder(sandbox_id)
        self.open()
        folder.path.mkdir(mode=0o700)
        lock = os.open(folder.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder, lock
        finally:
            os.close(lock)

    def open(self) -> None:
        """Make the folder of all, if there is none."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self, sandbox_id: str) -> Iterator[AnyFolder | None]:
        """A folder that nobody else works on, or None when there is none (any more)."""
        folder = self.folder(sandbox_id)
        try:
            lock = os.open(folder.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        try:
            _wait_for(lock)
            yield folder if folder.path.exists() else None
        finally:
            os.close(lock)

    def lock_now(self, sandbox_id: str) -> int | None:
        """A descriptor with the lock of a folder, to be closed; None when somebody else has it, or
        there is none."""
        path = self.folder(sandbox_id).path
        try:
            lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                return lock
        os.close(lock)
        return None


def _wait_for(lock: int) -> None:
    deadline = time.monotonic() + _SECONDS_TO_WAIT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                raise
        else:
            return
        if time.monotonic() > deadline:
            raise RuntimeFailed(
                "another server, or a runtime that hangs, is still at work on this sandbox"
            )
        time.sleep(0.002)


def noted(file: Path) -> Process | None:
    """The process whose number a program has written to a file, if it still runs."""
    text = read(file)
    process = Process.find(int(text)) if text.isdecimal() else None
    # The number of a process that has ended may be another's by now, but a younger one's.
    with contextlib.suppress(FileNotFoundError):
        if process is not None and process.began() <= file.stat().st_mtime + 1.0:
            return process
    return None


def last_words(log: Path) -> str:
    """The end of a log, without white space around it."""
    return read(log)[-4096:].strip()


def read(file: Path) -> str:
    """The text of a file; empty when there is none."""
    try:
        return file.read_text(errors="replace")
    except FileNotFoundError:
        return ""
