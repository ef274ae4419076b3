"""Lay one layer over a tree: what each entry of its archive means, and which are refused."""

from __future__ import annotations

import os
import stat
from typing import Final

from assay.images.archive import Entry, Kind, show
from assay.images.pool import Facts, Pool
from assay.images.stream import LayerStream, Refused
from assay.images.tree import Tree, look

MOST_ENTRIES: Final = 500_000
"""Of all layers together."""

PLACES: Final = (b"proc", b"dev", b"sys", b"tmp", b"workspace", b".assay")
"""What drivers mount over: folders, whatever an image says."""

NOBODY: Final = 65534
"""Who owns what belongs to an id that sandboxes don't have."""

_WHITEOUT: Final = b".wh."
_ALL: Final = b".wh..wh..opq"
_OTHERS: Final = b".wh..wh."
"""Names that the old AUFS keeps for itself."""

_FILE_MODE: Final = 0o777
"""No set-user-id, no set-group-id: sandboxes would ignore them."""
_FOLDER_MODE: Final = 0o3777
"""In a folder, set-group-id only says which group new files have."""
_MOST_PARTS: Final = 256
_MOST_NAME_BYTES: Final = 4095
_MOST_PART_BYTES: Final = 255


class Laying:
    """Puts the entries of layers, from the lowest to the highest, into a tree.

    `owner_offset` is added to the ids of owners on disk. Methods raise Refused, or OSError.
    """

    def __init__(self, tree: Tree, pool: Pool, owner_offset: int) -> None:
        self._tree = tree
        self._pool = pool
        self._offset = owner_offset
        self._entries = 0
        self._folder_times: dict[tuple[bytes, ...], int] = {}

    def put(self, entry: Entry, stream: LayerStream) -> None:
        """Do what an entry says; of a file, the content is what comes next in the stream."""
        self._entries += 1
        if self._entries > MOST_ENTRIES:
            raise Refused(f"the image has more than {MOST_ENTRIES} entries")
        path = parts(entry.name)
        if not path:
            if entry.kind is not Kind.FOLDER:
                raise Refused(f"a {entry.kind.value} in the place of the root")
            self._dress_folder((), entry)
        elif path[-1].startswith(_WHITEOUT):
            self._white_out(path)
        elif entry.kind is Kind.PIPE or (entry.kind is Kind.DEVICE and path[0] == b"dev"):
            pass  # a driver makes /dev; a pipe that sandboxes share would be a way between them
        else:
            self._make(path, entry, stream)

    def finish(self) -> None:
        """Set the times of folders, which have changed with each thing that was put in them."""
        for path, modified in self._folder_times.items():
            try:
                with self._tree.folder(path, make=False) as folder:
                    os.utime(folder, ns=(modified, modified))
            except (FileNotFoundError, Refused):
                continue  # a later layer has removed it

    def _make(self, path: tuple[bytes, ...], entry: Entry, stream: LayerStream) -> None:
        name = path[-1]
        with self._tree.folder(path[:-1]) as parent:
            if entry.kind is not Kind.FOLDER and name in PLACES and self._tree.is_root(parent):
                raise Refused(f"a {entry.kind.value} in the place of a folder of the sandbox's")
            match entry.kind:
                case Kind.FOLDER:
                    self._tree.make_folder(parent, name)
                case Kind.FILE:
                    self._tree.clear(parent, name)
                    self._pool.put(stream, entry.size, self._facts(entry), name, parent)
                case Kind.LINK:
                    self._tree.clear(parent, name)
                    self._link(parent, name, entry)
                case Kind.SAME:
                    self._same(parent, name, parts(entry.target))
                case Kind.DEVICE:
                    raise Refused("a device; only those in /dev are passed over")
                case Kind.PIPE:
                    raise AssertionError("passed over above")
            self._tree.note(parent, name)
        if entry.kind is Kind.FOLDER:
            self._dress_folder(path, entry)

    def _dress_folder(self, path: tuple[bytes, ...], entry: Entry) -> None:
        with self._tree.folder(path, make=False) as folder:
            os.chown(folder, self._owner(entry.user), self._owner(entry.group))
            os.chmod(folder, entry.mode & _FOLDER_MODE if path else entry.mode & 0o777 | 0o555)
        self._folder_times[path] = entry.modified_ns

    def _link(self, parent: int, name: bytes, entry: Entry) -> None:
        if not 1 <= len(entry.target) <= _MOST_NAME_BYTES or b"\0" in entry.target:
            raise Refused("a symbolic link to nothing, or to a name that is too long")
        os.symlink(entry.target, name, dir_fd=parent)
        owner, group = self._owner(entry.user), self._owner(entry.group)
        os.chown(name, owner, group, dir_fd=parent, follow_symlinks=False)
        times = (entry.modified_ns, entry.modified_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _same(self, parent: int, name: bytes, target: tuple[bytes, ...]) -> None:
        """Make a hard link to a file, or another symbolic link like the one that is named."""
        if not target:
            raise Refused("a hard link to the root")
        try:
            with self._tree.folder(target[:-1], make=False) as folder:
                self._share(folder, target[-1], parent, name)
        except FileNotFoundError:
            raise Refused(
                f"a hard link to {show(b'/'.join(target))}, which isn't there before it"
            ) from None

    def _share(self, folder: int, target: bytes, parent: int, name: bytes) -> None:
        found = os.stat(target, dir_fd=folder, follow_symlinks=False)
        if (found.st_ino, found.st_dev) == _identity(look(parent, name)):
            return  # the pool knows that they are the same already
        if stat.S_ISLNK(found.st_mode):
            text = os.readlink(target, dir_fd=folder)
            self._tree.clear(parent, name)
            os.symlink(text, name, dir_fd=parent)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=parent, follow_symlinks=False)
            return
        if not stat.S_ISREG(found.st_mode):
            raise Refused("a hard link to something that is no file")
        file = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            self._tree.clear(parent, name)
            self._pool.again(file, name, parent)
        finally:
            os.close(file)

    def _white_out(self, path: tuple[bytes, ...]) -> None:
        hidden = path[-1].removeprefix(_WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise Refused("a whiteout of nothing")
        try:
            with self._tree.folder(path[:-1], make=False) as parent:
                if path[-1] == _ALL:
                    self._tree.white_out_all(parent)
                elif not path[-1].startswith(_OTHERS):
                    self._tree.white_out(parent, hidden)
        except FileNotFoundError:
            pass  # nothing is there to be hidden

    def _facts(self, entry: Entry) -> Facts:
        return Facts(
            mode=entry.mode & _FILE_MODE,
            user=self._owner(entry.user),
            group=self._owner(entry.group),
            modified_ns=entry.modified_ns,
        )

    def _owner(self, number: int) -> int:
        return (number if number <= 65535 else NOBODY) + self._offset


def parts(name: bytes) -> tuple[bytes, ...]:
    """The parts of an entry's name; none for the root. Raises Refused for what leads elsewhere."""
    if name.startswith(b"/"):
        raise Refused("an absolute name")
    if b"\0" in name or len(name) > _MOST_NAME_BYTES:
        raise Refused("a name that is too long, or has a NUL in it")
    found = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in found:
        raise Refused("a name with .. in it")
    if len(found) > _MOST_PARTS or any(len(part) > _MOST_PART_BYTES for part in found):
        raise Refused("a name that is too long")
    return found


def _identity(found: os.stat_result | None) -> tuple[int, int] | None:
    return None if found is None else (found.st_ino, found.st_dev)
