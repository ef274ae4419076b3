"""The `host` image: the machine's own programs as a root file system, with nothing to download.

/usr is the machine's, read-only; all else is a small folder, the skeleton, that is made once and
shared by every sandbox. It holds no more of /etc than `allow_list` names.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.domain.errors import AssayError, DiskFull, Unavailable
from assay.driver.port import Mount, RootFilesystem
from assay.images.allow_list import (
    MOST_BYTES,
    MOUNTPOINTS,
    Copy,
    Entry,
    Link,
    Survey,
    Text,
    may_be_copied,
    survey,
)

_VERSION = 1
"""Part of the digest: raise it when the same survey is built into something else."""

_IN_WORK = ".in-work"
"""Where a skeleton is before it is whole, and after it was: never under its digest's name."""


def host_image(state_folder: Path, *, machine: Path = Path("/")) -> RootFilesystem:
    """Return the root file system made of this machine's programs; build it when it is missing.

    Skeletons live in `state_folder`/host/DIGEST. The digest changes with the machine's packages
    and with the files of /etc that are in the image. Any number of processes may call this at
    once. `machine` is the folder that holds the system: another one for tests.

    Raises DiskFull, or Unavailable when `state_folder` cannot be written.
    """
    found = survey(machine)
    digest = _digest(found, machine)
    folder = state_folder / "host" / digest
    try:
        _ensure(folder, found, machine)
    except OSError as error:
        raise _own_error(error, state_folder) from error
    mounts = [Mount(source=machine / path[1:], target=path) for path in found.mounted]
    mounts += [Mount(source=folder / "empty", target=path) for path in found.hidden]
    return RootFilesystem(digest=digest, path=folder / "root", mounts=tuple(mounts))


def collect_garbage(state_folder: Path, keep: Collection[str]) -> list[str]:
    """Remove every skeleton whose digest is not in `keep`, and what broken builds left behind.

    Returns the digests removed. `keep` must name the images of all sandboxes that exist or are
    about to.
    """
    home = state_folder / "host"
    if not home.is_dir():
        return []
    with _alone_in(home):
        unwanted = [item for item in sorted(home.iterdir()) if item.name not in keep]
        removed = [item.name for item in unwanted if not item.name.startswith(".")]
        for name in removed:
            _discard(home / name)
    return removed


def _digest(found: Survey, machine: Path) -> str:
    # Frozen values of numbers and texts: their repr says all of them, and always the same way.
    described = repr((_VERSION, os.fspath(machine), MOUNTPOINTS, found))
    return hashlib.sha256(described.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _ensure(folder: Path, found: Survey, machine: Path) -> None:
    if _is_whole(folder, found.entries):
        return
    with _alone_in(folder.parent):
        if not _is_whole(folder, found.entries):  # nobody has built it while we waited
            _build(folder, found, machine)


def _own_error(error: OSError, state_folder: Path) -> AssayError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            f"no room for the host image in {state_folder}: free some, or choose another folder",
            detail=str(error),
        )
    return Unavailable(
        f"the host image cannot be built in {state_folder}: {error.strerror}; "
        "run as the user who owns that folder, or choose another one",
        detail=str(error),
    )


def _is_whole(folder: Path, entries: tuple[Entry, ...]) -> bool:
    """Whether a skeleton is there with every file at its full size.

    A skeleton gets its name once it is whole, but a power cut soon after can leave empty files.
    """
    root = os.fspath(folder / "root")
    try:
        for entry in entries:
            size = os.lstat(f"{root}/{entry.path}").st_size
            match entry:
                case Copy() if size != entry.size:
                    return False
                case Text() if size != len(entry.content):
                    return False
    except OSError:
        return False
    return (folder / "empty").is_dir()


@contextmanager
def _alone_in(home: Path) -> Iterator[None]:
    """Keep other processes from building or removing; remove what a dead one left half done.

    The kernel lets go of the lock when its holder ends, however it ends.
    """
    home.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove(home / _IN_WORK)
        yield
    finally:
        os.close(lock)


def _build(folder: Path, found: Survey, machine: Path) -> None:
    _discard(folder)
    in_work = folder.parent / _IN_WORK
    try:
        _make_folder(in_work)
        for name in ("empty", "root", *(f"root/{name}" for name in MOUNTPOINTS)):
            _make_folder(in_work / name)
        for path in found.mounted:
            _make_folder(in_work / "root" / path[1:])
        for entry in found.entries:
            _make_entry(in_work / "root" / entry.path, entry, machine)
        in_work.rename(folder)
    except BaseException:
        _remove(in_work)
        raise


def _discard(folder: Path) -> None:
    """Take a skeleton out of sight in one step, then remove it: half of one is never seen."""
    if folder.exists():
        in_work = folder.parent / _IN_WORK
        folder.rename(in_work)
        _remove(in_work)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _make_entry(path: Path, entry: Entry, machine: Path) -> None:
    _make_folder(path.parent)
    match entry:
        case Link():
            path.symlink_to(entry.target)
        case Text():
            _write(path, entry.content)
        case Copy():
            _write(path, _read(machine / entry.path))


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir()
        path.chmod(0o755)  # whatever the umask


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)


def _read(file: Path) -> bytes:
    """Read a file of the machine; nothing, if it has become another kind since the survey."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        return opened.read(MOST_BYTES) if may_be_copied(os.fstat(descriptor)) else b""
