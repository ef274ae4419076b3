"""From verified layers to a root file system."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.command import WORKSPACE
from assay.domain.errors import InvalidImage
from assay.images.accounts import resolve_user
from assay.images.archive import Entry, read_entries, show
from assay.images.blobs import Blobs
from assay.images.image import OnProgress, Progress
from assay.images.layer import PLACES, Laying, parts
from assay.images.manifest import MOST_IMAGE_BYTES, Configuration, Descriptor, Manifest, most_of
from assay.images.pool import Pool
from assay.images.stream import LayerStream, Refused
from assay.images.tree import Tree, look

_HOSTS: Final = b"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
_FOR_ALL: Final = 0o1777
_CLOSED: Final = ("proc", "dev", "sys", ".assay")
"""Where no working folder can be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """What is known of a root once it is there."""

    user: int
    group: int
    working_folder: str
    size: int
    """Bytes of all files; what has several names is counted once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacking:
    """One image, and where its files go. `where` names it in messages."""

    manifest: Manifest
    configuration: Configuration
    blobs: Blobs
    pool: Pool
    owner_offset: int
    where: str
    on_progress: OnProgress


def unpack(work: Unpacking, root: Path) -> Unpacked:
    """Make the folder `root`, and fill it. What is written may still be on its way to the disk.

    Raises InvalidImage, which names the layer and the entry, Unavailable, or OSError. What has
    been made until then is the caller's to remove.
    """
    root.mkdir(mode=0o755, parents=True)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chown(folder, work.owner_offset, work.owner_offset)
        tree = Tree(folder)
        laying = Laying(tree, work.pool, work.owner_offset)
        _lay_all(work, tree, laying)
        working_folder = _furnish(work, tree)
        laying.finish()
        user, group = resolve_user(work.configuration.image.user, folder, work.where)
    finally:
        os.close(folder)
    return Unpacked(
        user=user, group=group, working_folder=working_folder, size=_size(os.fspath(root), set())
    )


def _lay_all(work: Unpacking, tree: Tree, laying: Laying) -> None:
    done, left = 0, MOST_IMAGE_BYTES

    def on_read(count: int) -> None:
        nonlocal done
        done += count
        work.on_progress(
            Progress(step=f"unpacking {work.where}", done=done, total=work.manifest.size)
        )

    layers = zip(work.manifest.layers, work.configuration.layers, strict=True)
    for number, (layer, content) in enumerate(layers, 1):
        where = f"layer {number} of {work.where} ({layer.digest[:19]}…)"
        most = min(left, most_of(layer.size))
        with (
            work.blobs.open(layer, where) as file,
            LayerStream.over(file, most=most, on_read=on_read) as stream,
        ):
            tree.begin_layer()
            _lay(stream, laying, where)
            _verify(stream, layer, content, where)
            left -= stream.position


def _lay(stream: LayerStream, laying: Laying, where: str) -> None:
    entry: Entry | None = None
    entries = read_entries(stream)
    try:
        while entry := next(entries, None):
            laying.put(entry, stream)
            entry = None  # what goes wrong from here on is no longer its fault
        stream.drain()
    except Refused as refused:
        at = f"{where}: {show(entry.name)}" if entry else where
        raise InvalidImage(f"{at}: {refused}") from refused


def _verify(stream: LayerStream, layer: Descriptor, content: str, where: str) -> None:
    if f"sha256:{stream.raw.hexdigest()}" != layer.digest:
        raise InvalidImage(f"{where} is damaged: it has another content than its digest says")
    if f"sha256:{stream.content.hexdigest()}" != content:
        raise InvalidImage(
            f"{where} holds another archive than the image's configuration says ({content[:19]}…)"
        )


def _furnish(work: Unpacking, tree: Tree) -> str:
    """Add what drivers need. Returns the working folder."""
    for name in PLACES:
        tree.make_folder(tree.root, name)
    os.chmod("tmp", _FOR_ALL, dir_fd=tree.root)
    found = look(tree.root, b"var")
    if found and stat.S_ISDIR(found.st_mode):
        with tree.folder((b"var",)) as var:
            tree.make_folder(var, b"tmp")
            os.chmod("tmp", _FOR_ALL, dir_fd=var)
    _add_hosts(tree, work)
    try:
        return _working_folder(tree, work)
    except Refused as refused:
        folder = show(os.fsencode(work.configuration.image.working_folder))
        raise InvalidImage(f"{work.where}: its WORKDIR {folder}: {refused}") from refused


def _add_hosts(tree: Tree, work: Unpacking) -> None:
    """Without it no program finds `localhost`: there is no server of names in a sandbox."""
    try:
        with tree.folder((b"etc",)) as etc:
            found = look(etc, b"hosts")
            if found and (found.st_size or not stat.S_ISREG(found.st_mode)):
                return
            tree.clear(etc, b"hosts")  # builders leave an empty one, which images share
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with open(os.open("hosts", flags, 0o644, dir_fd=etc), "wb") as hosts:
                hosts.write(_HOSTS)
                os.fchmod(hosts.fileno(), 0o644)
                os.fchown(hosts.fileno(), work.owner_offset, work.owner_offset)
    except Refused:
        return  # an image whose /etc is no folder has reasons of its own


def _working_folder(tree: Tree, work: Unpacking) -> str:
    text = work.configuration.image.working_folder
    if not text:
        return WORKSPACE
    if not text.startswith("/"):
        raise Refused("it must begin with /")
    path = parts(os.fsencode(text).lstrip(b"/"))
    with tree.folder(path) as folder:
        real = os.readlink(f"/proc/self/fd/{folder}")
        root = os.readlink(f"/proc/self/fd/{tree.root}")
    inside = real.removeprefix(root).lstrip("/")
    if not inside:
        return WORKSPACE
    if not inside.isprintable():  # by a link: a name that is no text can't be told to anybody
        raise Refused("its real name has characters that can't be shown")
    if inside.split("/")[0] in _CLOSED:
        raise Refused("it is where the sandbox's own things are")
    return f"/{inside}"


def _size(folder: str, seen: set[int]) -> int:
    size = 0
    with os.scandir(folder) as items:
        for item in items:
            if item.is_dir(follow_symlinks=False):
                size += _size(item.path, seen)
            elif item.is_file(follow_symlinks=False) and item.inode() not in seen:
                seen.add(item.inode())
                size += item.stat(follow_symlinks=False).st_size
    return size
