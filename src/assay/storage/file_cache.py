"""Files that clients send ahead and name later: on disk, bounded, and gone when nobody wants them.

FOLDER/OWNER/ID, where OWNER is a hash of who sent it: an owner finds nothing of another one,
whatever the id. It is a cache: whoever needs a file that is gone sends it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from assay.domain.errors import InvalidInput
from assay.domain.limits import MIB

MOST_BYTES: Final = 2048 * MIB
"""Of all owners together."""
MOST_OWNER_BYTES: Final = 512 * MIB
UNUSED_SECONDS: Final = 7 * 86_400.0
"""A file that nobody wanted for so long goes."""
_UNFINISHED_SECONDS: Final = 3600.0
"""Nobody writes on one file for so long: its server was killed."""
_ID: Final = re.compile(r"[A-Za-z0-9]{8,128}")
FILE_OVERHEAD: Final = 4096
"""Bytes that any file takes besides its own: so the bounds hold for the number of files, too."""
_Key = tuple[str, str]


class SentFiles(Protocol):
    """Where such files are kept. What it raises beyond InvalidInput is OSError or StorageError."""

    async def put(self, owner: str, file_id: str, content: bytes) -> None:
        """Keep a file, so that it is there before this returns."""
        ...

    async def get(self, owner: str, file_id: str) -> bytes | None:
        """A file's bytes, or None."""
        ...

    async def has(self, owner: str, file_id: str) -> bool:
        """Whether a file is there now; it may be gone when it is wanted."""
        ...


class FileCache:
    """Bytes by owner and id. What it raises beyond InvalidInput is OSError: a disk that is full."""

    def __init__(
        self,
        folder: Path,
        *,
        most_bytes: int = MOST_BYTES,
        most_owner_bytes: int = MOST_OWNER_BYTES,
        unused_seconds: float = UNUSED_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._most, self._most_owner = most_bytes, most_owner_bytes
        self._unused = unused_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._sizes: dict[_Key, int] | None = None
        """Of each file, the one that was used longest ago first; None: nobody has looked yet."""

    async def put(self, owner: str, file_id: str, content: bytes) -> None:
        """Keep a file, whole and on the disk before this returns. Raises InvalidInput, OSError."""
        require_id(file_id)
        if len(content) + FILE_OVERHEAD > self._most_owner:
            raise InvalidInput(f"a file has at most {self._most_owner - FILE_OVERHEAD:,} bytes")
        await asyncio.to_thread(self._put, (folder_of(owner), file_id), content)

    async def get(self, owner: str, file_id: str) -> bytes | None:
        """A file's bytes, or None. Raises InvalidInput, OSError."""
        require_id(file_id)
        return await asyncio.to_thread(self._get, (folder_of(owner), file_id))

    async def has(self, owner: str, file_id: str) -> bool:
        """Whether a file is there now; it may be gone when it is wanted. Raises InvalidInput."""
        require_id(file_id)
        return await asyncio.to_thread(self._has, (folder_of(owner), file_id))

    # --- in a thread ---------------------------------------------------------------------------

    def _path(self, key: _Key) -> Path:
        return self._folder / key[0] / key[1]

    def _put(self, key: _Key, content: bytes) -> None:
        path = self._path(key)
        with self._lock:
            self._known()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # No id has a dot: an unfinished file is nobody's.
        unfinished = path.with_name(f".{secrets.token_hex(8)}")
        try:
            with unfinished.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with self._lock:
                sizes = self._known()
                unfinished.replace(path)
                self._use(path)
                sizes.pop(key, None)
                sizes[key] = len(content) + FILE_OVERHEAD
                self._make_room(sizes)
        finally:
            unfinished.unlink(missing_ok=True)

    def _get(self, key: _Key) -> bytes | None:
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        with self._lock:
            sizes = self._known()
            if sizes.pop(key, None) is not None:
                sizes[key] = len(content) + FILE_OVERHEAD
            with contextlib.suppress(FileNotFoundError):
                self._use(path)
        return content

    def _has(self, key: _Key) -> bool:
        with self._lock:
            self._known()
        return self._path(key).is_file()

    def _use(self, path: Path) -> None:
        """Remember across restarts when somebody wanted it."""
        now = self._clock()
        os.utime(path, (now, now))

    def _known(self) -> dict[_Key, int]:
        if self._sizes is None:
            found = sorted(self._found())
            self._sizes = {key: size for _, key, size in found}
        return self._sizes

    def _found(self) -> Iterator[tuple[float, _Key, int]]:
        """What an earlier server has left, less what is unfinished or too old."""
        if not self._folder.is_dir():
            return
        for owner in self._folder.iterdir():
            for path in owner.iterdir():
                status = path.lstat()
                whole = _ID.fullmatch(path.name) is not None
                if self._clock() - status.st_mtime > (
                    self._unused if whole else _UNFINISHED_SECONDS
                ):
                    path.unlink(missing_ok=True)
                elif whole:
                    yield status.st_mtime, (owner.name, path.name), status.st_size + FILE_OVERHEAD

    def _is_old(self, used_at: float) -> bool:
        return self._clock() - used_at > self._unused

    def _make_room(self, sizes: dict[_Key, int]) -> None:
        """Those used longest ago go: first of whoever has just sent one, then of all."""
        owner = next(reversed(sizes))[0]
        own = [key for key in sizes if key[0] == owner]
        self._remove(sizes, own, self._most_owner)
        self._remove(sizes, list(sizes), self._most)
        for key in list(sizes):
            try:
                old = self._is_old(self._path(key).stat().st_mtime)
            except FileNotFoundError:
                old = True
            if not old:
                break
            self._forget(sizes, key)

    def _remove(self, sizes: dict[_Key, int], candidates: list[_Key], most: int) -> None:
        held = sum(sizes[key] for key in candidates)
        for key in candidates:
            if held <= most:
                return
            held -= sizes[key]
            self._forget(sizes, key)

    def _forget(self, sizes: dict[_Key, int], key: _Key) -> None:
        self._path(key).unlink(missing_ok=True)
        del sizes[key]


def require_id(file_id: str) -> None:
    """Raise InvalidInput unless this may be the id of a file."""
    if not _ID.fullmatch(file_id):
        raise InvalidInput(
            f"{file_id[:80]!r} is no file id: 8 to 128 letters and digits, such as an MD5 in hex"
        )


def folder_of(owner: str) -> str:
    """What an owner's files lie under."""
    return hashlib.sha256(owner.encode()).hexdigest()[:32]
