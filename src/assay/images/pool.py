"""The files of all images: each content with its rights, owner and time is on disk once.

A file in the pool is never opened for writing again; roots have hard links to it. So images with
a common base share it on disk and in the page cache, whatever their layers are.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.images.stream import CHUNK, LayerStream, Refused

_IN_MEMORY: Final = 1024 * 1024
"""Smaller files are hashed before anything is written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What makes two files with the same content one and the same file."""

    mode: int
    user: int
    group: int
    modified_ns: int


class Pool:
    """Files by what they hold. Methods raise OSError: ENOSPC and others.

    `drafts` is a folder on the same file system, for files that are being written.
    """

    def __init__(self, folder: Path, drafts: Path) -> None:
        self._folder = os.fspath(folder)
        self._draft = os.fspath(drafts / "file")

    def put(self, stream: LayerStream, size: int, facts: Facts, name: bytes, parent: int) -> None:
        """Take `size` bytes of a stream, and have them as `name` in the folder `parent`."""
        if size <= _IN_MEMORY:
            content = stream.read(size)
            if len(content) < size:
                raise Refused("it ends in the middle of a file")
            place = self._place(hashlib.sha256(content).hexdigest(), facts)
            if not _link(place, name, parent):
                self._write(content)
                self._adopt(place, facts, name, parent)
        else:
            digest = self._copy(stream, size)
            place = self._place(digest, facts)
            if not _link(place, name, parent):
                self._adopt(place, facts, name, parent)
            else:
                Path(self._draft).unlink()

    def again(self, file: int, name: bytes, parent: int) -> None:
        """Have a file of a root, open for reading, as `name` in the folder `parent` too."""
        try:
            os.link(f"/proc/self/fd/{file}", name, dst_dir_fd=parent, follow_symlinks=True)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            self._copy_again(file, name, parent)

    def collect_garbage(self) -> int:
        """Remove what no root has; return how many bytes that were."""
        freed = 0
        for folder in os.scandir(self._folder):
            for item in os.scandir(folder.path):
                facts = item.stat(follow_symlinks=False)
                if facts.st_nlink == 1:
                    Path(item.path).unlink()
                    freed += facts.st_blocks * 512
            with suppress(OSError):
                Path(folder.path).rmdir()
        return freed

    def forget_since(self, changed_ns: int) -> None:
        """Share no more what was written or shared since then: the disk may not have it."""
        for folder in os.scandir(self._folder):
            for item in os.scandir(folder.path):
                if item.stat(follow_symlinks=False).st_ctime_ns >= changed_ns:
                    Path(item.path).unlink()

    def _place(self, digest: str, facts: Facts) -> str:
        """The name says all by which files are told apart."""
        return (
            f"{self._folder}/{digest[:2]}/"
            f"{digest}-{facts.mode:o}-{facts.user}-{facts.group}-{facts.modified_ns}"
        )

    def _write(self, content: bytes) -> None:
        with open(self._draft, "wb", buffering=0) as draft:
            written = 0
            while written < len(content):
                written += draft.write(memoryview(content)[written:])

    def _copy(self, stream: LayerStream, size: int) -> str:
        digest = hashlib.sha256()
        with open(self._draft, "wb") as draft:
            while size:
                part = stream.some(min(size, CHUNK))
                if not part:
                    raise Refused("it ends in the middle of a file")
                digest.update(part)
                draft.write(part)
                size -= len(part)
        return digest.hexdigest()

    def _adopt(self, place: str, facts: Facts, name: bytes, parent: int) -> None:
        """Make the draft a file of the pool, in the place of one that takes no more links."""
        os.chown(self._draft, facts.user, facts.group)
        os.chmod(self._draft, facts.mode)
        os.utime(self._draft, ns=(facts.modified_ns, facts.modified_ns))
        try:
            os.rename(self._draft, place)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            os.rename(self._draft, place)
        os.link(place, name, dst_dir_fd=parent)

    def _copy_again(self, file: int, name: bytes, parent: int) -> None:
        digest = hashlib.sha256()
        found = os.fstat(file)
        with open(self._draft, "wb") as draft:
            while part := os.read(file, CHUNK):
                digest.update(part)
                draft.write(part)
        facts = Facts(
            mode=found.st_mode & 0o7777,
            user=found.st_uid,
            group=found.st_gid,
            modified_ns=found.st_mtime_ns,
        )
        self._adopt(self._place(digest.hexdigest(), facts), facts, name, parent)


def _link(place: str, name: bytes, parent: int) -> bool:
    """Link a file of the pool, unless it isn't there or has as many links as a file can have."""
    try:
        os.link(place, name, dst_dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EMLINK):
            return False
        raise
    return True
