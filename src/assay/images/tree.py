"""The folders of a root file system that is being made, and what a layer may do to them.

Whatever a layer says, nothing outside of the root is reached: the root is held open, and every
path is looked up beneath it by the kernel.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from assay.images.beneath import open_in
from assay.images.stream import Refused

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY
_MOST_DEPTH: Final = 128
"""Folders within folders; whoever removes them holds one descriptor for each."""


class Tree:
    """Folders beneath an open one. Raises Refused for what no sane layer does."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._depth = {os.fstat(root).st_ino: 0}
        self._made: set[tuple[int, bytes]] = set()
        self._opaque: set[int] = set()

    def begin_layer(self) -> None:
        """From here on, whiteouts spare what is made."""
        self._made = set()
        self._opaque = set()

    def is_root(self, folder: int) -> bool:
        """Whether this open folder is the root, by whatever way it was reached."""
        return os.path.sameopenfile(self.root, folder)

    @contextmanager
    def folder(self, path: tuple[bytes, ...], *, make: bool = True) -> Iterator[int]:
        """Open a folder, by way of links within the root; make what is missing.

        Raises FileNotFoundError if it isn't there and isn't to be made.
        """
        descriptor = self._open(path, make=make)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def make_folder(self, parent: int, name: bytes) -> None:
        """Have a folder there; what else was there goes."""
        found = look(parent, name)
        if found is None or not stat.S_ISDIR(found.st_mode):
            self.clear(parent, name)
            depth = self._depth[os.fstat(parent).st_ino] + 1
            if depth > _MOST_DEPTH:
                raise Refused(f"its folders are more than {_MOST_DEPTH} deep")
            os.mkdir(name, 0o755, dir_fd=parent)
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            self._depth[found.st_ino] = depth
            self._opaque.discard(found.st_ino)  # the number of one that has gone
        self.note(parent, name)

    def note(self, parent: int, name: bytes) -> None:
        """Remember that this layer made it."""
        self._made.add((os.fstat(parent).st_ino, name))

    def clear(self, parent: int, name: bytes) -> None:
        """Remove whatever has this name, with all that is in it."""
        self._remove(parent, name, lower_only=False)

    def white_out(self, parent: int, name: bytes) -> None:
        """Remove what lower layers have of this name; what this layer made stays."""
        self._remove(parent, name, lower_only=True)

    def white_out_all(self, parent: int) -> None:
        """Remove all that lower layers have in a folder; once, however often a layer says so."""
        number = os.fstat(parent).st_ino
        if number in self._opaque:
            return
        self._opaque.add(number)
        for name in os.listdir(parent):
            self._remove(parent, os.fsencode(name), lower_only=True)

    def _remove(self, parent: int, name: bytes, *, lower_only: bool) -> None:
        found = look(parent, name)
        if found is None:
            return
        kept = lower_only and (os.fstat(parent).st_ino, name) in self._made
        if not stat.S_ISDIR(found.st_mode):
            if not kept:
                os.unlink(name, dir_fd=parent)
            return
        folder = os.open(name, _FOLDER | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            for item in os.listdir(folder):
                self._remove(folder, os.fsencode(item), lower_only=lower_only)
            empty = not os.listdir(folder)
        finally:
            os.close(folder)
        if empty and not kept:
            os.rmdir(name, dir_fd=parent)

    def _open(self, path: tuple[bytes, ...], *, make: bool) -> int:
        try:
            return open_in(self.root, b"/".join(path), _FOLDER)
        except FileNotFoundError:
            if not make or not path:
                raise
        except OSError as error:
            raise _own(error, path) from error
        with self.folder(path[:-1]) as parent:
            if look(parent, path[-1]) is not None:
                raise Refused("it is beneath a link that leads nowhere")
            self.make_folder(parent, path[-1])
            return os.open(path[-1], _FOLDER | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def look(parent: int, name: bytes) -> os.stat_result | None:
    """What has this name in a folder, links not followed; None: nothing."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _own(error: OSError, path: tuple[bytes, ...]) -> Exception:
    match error.errno:
        case errno.ENOTDIR:
            return Refused("it is beneath something that is no folder")
        case errno.ELOOP:
            return Refused("it is beneath links that lead in a circle")
        case errno.ENAMETOOLONG:
            return Refused("its name is too long")
        case _:
            return error
