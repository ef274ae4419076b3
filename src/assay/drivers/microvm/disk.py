"""An image as a file system in a file, for machines that share nothing with the host.

It is made once for each image, and kept by its digest. EROFS, uncompressed: to be read by as many
machines as there are, through the host's page cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from assay.domain.errors import RuntimeFailed, RuntimeMissing
from assay.driver.port import RootFilesystem
from assay.drivers.linux import kernel
from assay.drivers.linux.kernel import MountFlag

REMEDY: Final = "apt-get install erofs-utils"
_RULES: Final = 1
"""Part of a disk's name: raise it when the same image is made into something else."""
_NOBODY: Final = 65534
_SECONDS: Final = 1800
_MOST: Final = 8
"""Disks that are kept; those that were used longest ago go first. What runs has its own open."""


class Disks:
    """The folder of all of them, shared by all servers of the machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, root: RootFilesystem) -> Path:
        """The disk of an image, made when it is missing.

        Raises RuntimeMissing, RuntimeFailed, OSError.
        """
        disk = self._folder / f"{_name(root)}.erofs"
        if not disk.is_file():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self._folder):
                if not disk.is_file():  # nobody has made it while we waited
                    self._make(root, disk)
        os.utime(disk)
        return disk

    def _make(self, root: RootFilesystem, disk: Path) -> None:
        self._make_room()
        program = shutil.which("mkfs.erofs", path="/usr/sbin:/usr/bin:/sbin:/bin")
        if program is None:
            raise RuntimeMissing(
                f"the program mkfs.erofs is not on this machine; install it: {REMEDY}"
            )
        draft = disk.with_suffix(".new")
        draft.unlink(missing_ok=True)  # of somebody who was killed
        owners = [] if root.owners else [f"--force-uid={_NOBODY}", f"--force-gid={_NOBODY}"]
        try:
            _pack([program, "--quiet", "-x-1", *owners, str(draft)], root)
            draft.rename(disk)
        finally:
            draft.unlink(missing_ok=True)

    def _make_room(self) -> None:
        disks = sorted(self._folder.glob("*.erofs"), key=lambda each: each.stat().st_mtime)
        for disk in disks[: max(0, len(disks) - _MOST + 1)]:
            disk.unlink(missing_ok=True)


def _name(root: RootFilesystem) -> str:
    mounts = [(str(each.source), each.target) for each in root.mounts]
    said = repr((_RULES, root.digest, root.owners, mounts))
    return hashlib.sha256(said.encode()).hexdigest()[:32]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other servers of this machine out of a folder."""
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _pack(command: list[str], root: RootFilesystem) -> None:
    """Run the program on the image with its mounts, which a thread of its own sees in it."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            _run([*command, str(_assembled(root))])
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, name="assay-packer")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _assembled(root: RootFilesystem) -> Path:
    """The image with its mounts, in the mount namespace of the calling thread alone."""
    kernel.unshare_mounts()
    kernel.mount("none", Path("/"), flags=MountFlag.RECURSIVE | MountFlag.SLAVE)
    for each in root.mounts:
        kernel.mount(each.source, root.path / each.target.lstrip("/"), flags=MountFlag.BIND)
    return root.path


def _run(command: list[str]) -> None:
    made = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
    )
    if made.returncode != 0:
        said = "\n".join((made.stdout, made.stderr)).strip()[-2000:]
        raise RuntimeFailed("an image could not be made into a disk", detail=said)
