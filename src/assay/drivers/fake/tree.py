"""The files of a fake sandbox: in memory, with owners, modes, links and limits."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from assay.agent.entries import EntryKind
from assay.domain.command import LEARNER_UID, WORKSPACE
from assay.drivers.fake.content import Content

PAGE: Final = 4096
_MOST_LINKS: Final = 40
_READ, _WRITE, _SEARCH = 4, 2, 1


@dataclass(slots=True)
class Node:
    """A file, a folder or a symbolic link."""

    kind: EntryKind
    mode: int
    uid: int
    modified_ns: int
    content: Content = field(default_factory=Content)
    link: str = ""
    children: dict[str, Node] = field(default_factory=dict)
    writable: bool = False
    """Part of the writable layer; the rest is a read-only root."""

    @property
    def size(self) -> int:
        """Bytes, as `ls` shows them."""
        return len(self.link.encode(errors="surrogateescape")) if self.link else len(self.content)


def problem(number: int, path: str) -> OSError:
    """The error of a system call on `path`."""
    return OSError(number, os.strerror(number), path)


class Tree:
    """A file system with one writable layer of so many bytes and inodes.

    Every operation takes the user who asks (0 may do all but write to the read-only root) and
    raises OSError. Paths are absolute unless `beneath` says where they start; then they can't
    lead out of it.
    """

    def __init__(
        self,
        *,
        most_bytes: int,
        most_inodes: int,
        now_ns: Callable[[], int],
        working_folder: str = WORKSPACE,
        folders: tuple[str, ...] = (),
        user: int = LEARNER_UID,
    ) -> None:
        self._most_bytes = most_bytes
        self._most_inodes = most_inodes
        self._now_ns = now_ns
        self.root = Node(EntryKind.FOLDER, 0o755, 0, now_ns())
        self.bytes_used = 0
        self._inodes_used = 0
        for path, mode, uid in (
            (working_folder, 0o755, user),
            *((path, 0o755, user) for path in folders),
            ("/tmp", 0o1777, 0),
            ("/var/tmp", 0o1777, 0),
            ("/dev/shm", 0o1777, 0),
        ):
            folder = self._install(path, Node(EntryKind.FOLDER, mode, uid, now_ns()))
            folder.writable = True

    def install(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Put a file into the read-only root."""
        self._install(path, Node(EntryKind.FILE, mode, 0, self._now_ns(), Content(content)))

    def _install(self, path: str, node: Node) -> Node:
        *folders, name = path.strip("/").split("/")
        at = self.root
        for folder in folders:
            new = Node(EntryKind.FOLDER, 0o755, 0, self._now_ns())
            at = at.children.setdefault(folder, new)
        at.children[name] = node
        return node

    # --- looking up --------------------------------------------------------------------------

    def find(
        self, path: str, uid: int, *, beneath: Node | None = None, follow: bool = True
    ) -> Node:
        """Return what `path` names; the last name too is followed if it is a link."""
        found = self._walk(path, uid, beneath, follow)[-1][1]
        if found is None:
            raise problem(errno.ENOENT, path)
        return found

    def _parent(self, path: str, uid: int, beneath: Node | None) -> tuple[Node, str]:
        """Return the folder that holds, or would hold, the last name of `path`; and that name."""
        trail = self._walk(path, uid, beneath, follow=False)
        if len(trail) < 2:
            raise problem(errno.EINVAL, path)
        parent = trail[-2][1]
        assert parent is not None
        return parent, trail[-1][0]

    def _walk(
        self, path: str, uid: int, beneath: Node | None, follow: bool
    ) -> list[tuple[str, Node | None]]:
        if beneath is not None and (path.startswith("/") or not path):
            raise problem(errno.EXDEV, path)
        trail: list[tuple[str, Node | None]] = [("", beneath or self.root)]
        names = _names(path)
        links = 0
        while names:
            name = names.pop()
            folder = trail[-1][1]
            if folder is None:
                raise problem(errno.ENOENT, path)
            if folder.kind is not EntryKind.FOLDER:
                raise problem(errno.ENOTDIR, path)
            self._require(folder, uid, _SEARCH, path)
            if name == "..":
                if len(trail) > 1:
                    trail.pop()
                elif beneath is not None:
                    raise problem(errno.EXDEV, path)
                continue
            child = folder.children.get(name)
            if child is not None and child.kind is EntryKind.LINK and (follow or names):
                links += 1
                if links > _MOST_LINKS:
                    raise problem(errno.ELOOP, path)
                if child.link.startswith("/"):
                    if beneath is not None:
                        raise problem(errno.EXDEV, path)
                    del trail[1:]
                names += _names(child.link)
                continue
            trail.append((name, child))
        return trail

    def _require(self, node: Node, uid: int, bit: int, path: str) -> None:
        shift = 6 if node.uid == uid else 0
        if uid and not node.mode >> shift & bit:
            raise problem(errno.EACCES, path)

    # --- reading -----------------------------------------------------------------------------

    def read(self, path: str, uid: int, *, beneath: Node | None = None) -> bytes:
        """Return a file's content."""
        node = self.find(path, uid, beneath=beneath)
        self.require_readable(node, uid, path)
        if node.kind is not EntryKind.FILE:
            raise problem(errno.EISDIR if node.kind is EntryKind.FOLDER else errno.EINVAL, path)
        return bytes(node.content)

    def require_readable(self, node: Node, uid: int, path: str) -> None:
        """Raise EACCES unless the user may read it."""
        self._require(node, uid, _READ, path)

    def names(self, folder: Node, uid: int, path: str) -> list[str]:
        """Return the names in a folder."""
        self._require(folder, uid, _READ, path)
        return list(folder.children)

    def executable(self, path: str, uid: int) -> bytes:
        """Return the content of a program that `uid` may execute."""
        node = self.find(path, uid)
        if node.kind is not EntryKind.FILE or not node.mode & 0o111:
            raise problem(errno.EACCES, path)
        self._require(node, uid, _SEARCH, path)
        return bytes(node.content)

    # --- writing -----------------------------------------------------------------------------

    def write(self, path: str, content: bytes, uid: int, *, append: bool = False) -> None:
        """Make a file, or replace what is in it, as a program does that opens it."""
        try:
            node = self.find(path, uid)
        except FileNotFoundError:
            node = self._make(path, uid, None, Node(EntryKind.FILE, 0o644, uid, 0))
        self._require_writable(node, uid, path)
        if node.kind is EntryKind.FOLDER:
            raise problem(errno.EISDIR, path)
        if not append:
            self._empty(node)
        self.append(node, content, path)

    def replace(self, path: str, uid: int, mode: int, *, beneath: Node) -> Node:
        """Put an empty file in the place of whatever file or link is there, as `put` does."""
        self._make_parents(path, uid, beneath)
        parent, name = self._parent(path, uid, beneath)
        there = parent.children.get(name)
        if there is not None and there.kind is EntryKind.FOLDER:
            raise problem(errno.EISDIR, path)
        if there is not None:
            self._require_writable(parent, uid, path)
            self._drop(parent, name)
        return self._make(path, uid, beneath, Node(EntryKind.FILE, mode & 0o777, uid, 0))

    def append(self, node: Node, data: bytes, path: str) -> None:
        """Add to a file that was opened for writing. ENOSPC when nothing more fits."""
        size = len(node.content)
        used = self.bytes_used + _pages(size + len(data)) - _pages(size)
        if used > self._most_bytes:
            raise problem(errno.ENOSPC, path)
        self.bytes_used = used
        node.content.append(data)
        node.modified_ns = self._now_ns()

    def make_folder(self, path: str, uid: int, mode: int, *, beneath: Node | None = None) -> None:
        """Make a folder and its parents; one that is there gets the mode."""
        self._make_parents(path, uid, beneath)
        parent, name = self._parent(path, uid, beneath)
        there = parent.children.get(name)
        if there is None:
            self._make(path, uid, beneath, Node(EntryKind.FOLDER, mode & 0o1777, uid, 0))
        elif there.kind is not EntryKind.FOLDER:
            raise problem(errno.ENOTDIR, path)
        elif uid not in (0, there.uid):
            raise problem(errno.EPERM, path)
        else:
            there.mode = mode & 0o1777

    def make_link(self, path: str, target: str, uid: int) -> None:
        """Make a symbolic link that says `target`."""
        self._make(path, uid, None, Node(EntryKind.LINK, 0o777, uid, 0, link=target))

    def delete(self, path: str, uid: int, *, beneath: Node) -> None:
        """Remove a file, or a folder with all that is in it; a link is not followed."""
        try:
            parent, name = self._parent(path, uid, beneath)
        except (FileNotFoundError, NotADirectoryError):
            return
        if name in parent.children:
            self._require_writable(parent, uid, path)
            self._drop(parent, name)

    def _make_parents(self, path: str, uid: int, beneath: Node | None) -> None:
        folders = path.rstrip("/").split("/")[:-1]
        for depth in range(1, len(folders) + 1):
            above = "/".join(folders[:depth])
            if above.strip("/"):
                self._make_if_missing(above, uid, beneath)

    def _make_if_missing(self, path: str, uid: int, beneath: Node | None) -> None:
        try:
            self.find(path, uid, beneath=beneath)
        except FileNotFoundError:
            self._make(path, uid, beneath, Node(EntryKind.FOLDER, 0o755, uid, 0))

    def _make(self, path: str, uid: int, beneath: Node | None, node: Node) -> Node:
        parent, name = self._parent(path, uid, beneath)
        if name in parent.children:
            raise problem(errno.EEXIST, path)
        if len(name.encode(errors="surrogateescape")) > 255:
            raise problem(errno.ENAMETOOLONG, path)
        self._require_writable(parent, uid, path)
        if self._inodes_used >= self._most_inodes:
            raise problem(errno.ENOSPC, path)
        self._inodes_used += 1
        node.modified_ns = self._now_ns()
        node.writable = True
        parent.children[name] = node
        return node

    def _require_writable(self, node: Node, uid: int, path: str) -> None:
        if not node.writable:
            raise problem(errno.EROFS, path)
        self._require(node, uid, _WRITE, path)

    def _empty(self, node: Node) -> None:
        self.bytes_used -= _pages(len(node.content))
        node.content.clear()

    def _drop(self, parent: Node, name: str) -> None:
        node = parent.children.pop(name)
        for child in list(node.children):
            self._drop(node, child)
        self._empty(node)
        self._inodes_used -= 1


def _names(path: str) -> list[str]:
    """The names of a path, the first one last."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE
