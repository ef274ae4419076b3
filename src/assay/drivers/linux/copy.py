"""A root file system as an archive for those who can't see this disk, with the agent in it."""

from __future__ import annotations

import hashlib
import os
import tarfile
import threading
from collections.abc import Generator
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from assay.domain.errors import RuntimeFailed
from assay.driver.port import RootFilesystem
from assay.drivers.linux.confinement import AGENT_FOLDER

_RULES: Final = "3"
"""Part of an image's name: raise it when the same root is made into something else."""
_NOBODY: Final = 65534
_BYTES_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """A root, and what is put into it."""

    root: RootFilesystem
    folders: tuple[tuple[str, int, int, int], ...]
    """Where something is mounted: path, mode, user, group. Podman gives a volume those."""
    programs: tuple[tuple[str, bytes, int], ...]
    """Files of ours: path, content, mode."""

    @property
    def digest(self) -> str:
        """Another one when the root or a program is. Raises OSError."""
        root = self.root
        found = root.path.stat()
        mounts = [(str(each.source), each.target) for each in root.mounts]
        told = (
            _RULES, root.digest, str(root.path), found.st_ino, root.owners,
            self.folders, mounts,
            [(path, hashlib.sha256(content).hexdigest()) for path, content, _ in self.programs],
        )  # fmt: skip
        return hashlib.sha256(repr(told).encode()).hexdigest()[:32]


def pieces(copy: Copy) -> Generator[bytes, None, None]:
    """The archive (tar, not compressed), as it is read: it is nowhere as a whole.

    Raises RuntimeFailed at its end where the root can't be read.
    """
    from_here, to_there = os.pipe2(os.O_CLOEXEC)
    failures: list[RuntimeFailed] = []

    def pack() -> None:
        try:
            with (
                os.fdopen(to_there, "wb") as file,
                tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive,
            ):
                _fill(archive, copy)
        except OSError as error:
            failures.append(
                RuntimeFailed(f"the image {copy.root.path} can't be read", detail=str(error))
            )

    packing = threading.Thread(target=pack, name="assay-packer")
    packing.start()
    try:
        with os.fdopen(from_here, "rb") as file:  # closed, it ends the other thread
            yield from iter(lambda: file.read(_BYTES_AT_ONCE), b"")
            packing.join()
            if failures:  # a half is not to become an image
                raise failures[0]
    finally:
        packing.join()


def _fill(archive: tarfile.TarFile, copy: Copy) -> None:
    """No path twice, which not every engine takes: first what hides others."""
    root = copy.root
    folders = {path: others for path, *others in copy.folders}
    hidden = {AGENT_FOLDER}

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        path = f"/{entry.name.removeprefix('.').strip('/')}"
        if path in hidden:
            return None
        if not root.owners:
            entry.uid = entry.gid = _NOBODY
        if path in folders:
            entry.mode, entry.uid, entry.gid = folders.pop(path)
        entry.uname = entry.gname = ""
        return entry

    archive.addfile(_entry(AGENT_FOLDER, tarfile.DIRTYPE, 0o755))
    for path, content, mode in copy.programs:
        program = _entry(path, tarfile.REGTYPE, mode)
        program.size = len(content)
        archive.addfile(program, BytesIO(content))
    for mount in reversed(root.mounts):
        archive.add(mount.source, arcname=f".{mount.target}", filter=kept)
        hidden.add(mount.target)
    archive.add(root.path, arcname=".", filter=kept)
    for path, (mode, user, group) in folders.items():  # what the root lacks
        entry = _entry(path, tarfile.DIRTYPE, mode)
        entry.uid, entry.gid = user, group
        archive.addfile(entry)


def _entry(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(f".{path}")
    entry.type, entry.mode = kind, mode
    return entry
