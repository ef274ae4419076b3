"""A task's folder as one value: its files, and a hash of all of them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from assay.domain.errors import InvalidTask
from assay.domain.limits import MIB

BYTES_MOST: Final = 64 * MIB
FILES_MOST: Final = 5000
_LEFT_OUT: Final = ("__pycache__", "node_modules")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """All that a folder holds. Two with one hash hold the same."""

    files: Mapping[str, bytes] = field(repr=False)
    executable: frozenset[str] = frozenset()
    """Names of those that may be started."""
    digest: str = ""
    """sha256:…"""

    def beneath(self, folder: str) -> dict[str, bytes]:
        """The files of a folder, by their names in it."""
        start = f"{folder}/"
        return {
            name.removeprefix(start): content
            for name, content in self.files.items()
            if name.startswith(start)
        }


def bundle_of(folder: Path) -> Bundle:
    """Read a folder, hidden files and what editors and interpreters leave aside.

    Raises InvalidTask for links, for what is no file, and beyond 64 MiB or 5,000 files.
    """
    files: dict[str, bytes] = {}
    executable = set()
    left = BYTES_MOST
    for path, mode in _walk(folder):
        name = path.relative_to(folder).as_posix()
        content = _read(path, left)
        left -= len(content)
        files[name] = content
        if mode & stat.S_IXUSR:
            executable.add(name)
        if len(files) > FILES_MOST:
            raise InvalidTask(f"{folder}: a task has at most {FILES_MOST} files")
    return Bundle(
        files=files, executable=frozenset(executable), digest=digest_of(files, executable)
    )


def is_inside(name: str) -> bool:
    """Whether a path is relative, leads nowhere else, and can be a file's everywhere."""
    path = PurePosixPath(name)
    return (
        bool(name)
        and name == str(path)
        and not path.is_absolute()
        and ".." not in path.parts
        and name.isprintable()
        and len(name.encode(errors="surrogatepass")) <= 255
    )


def _walk(folder: Path) -> Iterator[tuple[Path, int]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InvalidTask(f"{folder}: {error.strerror}; a task is a folder") from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name.endswith("~") or entry.name in _LEFT_OUT:
            continue
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            yield from _walk(Path(entry.path))
        elif stat.S_ISREG(mode) and is_inside(entry.name):
            yield Path(entry.path), mode
        else:
            raise InvalidTask(f"{entry.path}: a task holds files and folders only; copy it there")


def _read(path: Path, most: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise InvalidTask(f"{path}: {error.strerror}") from error
    if len(content) > most:
        raise InvalidTask(f"{path}: a task has at most {BYTES_MOST // MIB} MiB")
    return content


def digest_of(files: Mapping[str, bytes], executable: Collection[str]) -> str:
    """Of all names, contents and which may be started."""
    whole = hashlib.sha256()
    for name in sorted(files):
        content = hashlib.sha256(files[name]).hexdigest()
        whole.update(f"{content} {int(name in executable)} {name}\n".encode())
    return f"sha256:{whole.hexdigest()}"
