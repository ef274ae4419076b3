"""Root file systems that others have sent, as archives: what a node makes its sandboxes of.

Each belongs to who has sent it, and nobody else is shown it; files are shared by all, as those of
images are, because their names in the pool are what they hold.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from assay.domain.errors import InvalidImage
from assay.driver.port import RootFilesystem
from assay.images.archive import Entry, Kind, read_entries, show
from assay.images.layer import Laying, parts
from assay.images.manifest import MOST_IMAGE_BYTES
from assay.images.pool import Pool
from assay.images.store import Record, Store, remove
from assay.images.stream import LayerStream, Refused
from assay.images.tree import Tree

MOST: Final = 16
"""Roots of one sender that stay besides those that sandboxes are made of."""


class ReceivedRoots:
    """A folder of them, for one process. Methods block; they raise OSError, too.

    `owner_offset` is added to the number of each owner on disk, as for images.
    """

    def __init__(self, folder: Path, *, owner_offset: int = 0) -> None:
        self._store = Store(folder)
        self._offset = owner_offset

    def find(self, name: str) -> RootFilesystem | None:
        """A root that is whole here, which counts as used just now."""
        place = self._store.place(name)
        if not (place / "image").is_file() or not (place / "root").is_dir():
            return None
        os.utime(place)
        return RootFilesystem(digest=place.name, path=place / "root", owners=True)

    def keep(self, name: str, archive: Path) -> None:
        """Unpack an archive (tar) that is whole. Raises InvalidImage for one that is damaged, or
        holds what would get out of its folder.
        """
        store = self._store
        with store.reading(), store.draft() as draft, store.unpacking(draft) as pool:
            self._unpack(archive, draft / "image/root", pool)
            if self.find(name) is None:
                store.publish(draft / "image", _record(name))

    def _unpack(self, archive: Path, root: Path, pool: Pool) -> None:
        root.mkdir(mode=0o755, parents=True)
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            laying = Laying(Tree(folder), pool, self._offset)
            _lay(archive, laying)
            laying.finish()
        finally:
            os.close(folder)

    def new_archive(self) -> Path:
        """Where to put an archive that is being sent; the caller removes it."""
        folder = self._store.folder / "arriving"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / f"{os.getpid()}-{time.monotonic_ns():x}"

    def sweep(self) -> None:
        """Remove what an earlier process was sent in part."""
        for left in (self._store.folder / "arriving").glob("*"):
            left.unlink(missing_ok=True)

    def forget(self, sender: str, in_use: Collection[str]) -> None:
        """Remove a sender's oldest roots, but for the newest and those (by digest) in use."""
        roots = self._store.folder / "roots"
        found = sorted(roots.glob(f"{sender}*"), key=lambda each: each.stat().st_mtime)
        old = [each for each in found[:-MOST] if each.name not in in_use]
        if not old:
            return
        with self._store.alone(), self._store.draft() as draft:
            for place in old:
                place.rename(draft / place.name)
                remove(draft / place.name)
            Pool(self._store.folder / "files", draft).collect_garbage()


def _lay(archive: Path, laying: Laying) -> None:
    file = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
    entry: Entry | None = None
    try:
        with LayerStream.over(file, most=MOST_IMAGE_BYTES, on_read=lambda _: None) as stream:
            for entry in read_entries(stream):
                if not _is_whiteout(entry):
                    laying.put(entry, stream)
            stream.drain()
    except Refused as refused:
        at = f"{show(entry.name)}: " if entry else ""
        raise InvalidImage(f"the root that was sent can't be taken: {at}{refused}") from refused
    finally:
        os.close(file)


def _is_whiteout(entry: Entry) -> bool:
    """A root is no layer: what is called so hides nothing, and no layer could bring it."""
    found = parts(entry.name)
    return bool(found) and found[-1].startswith(b".wh.") and entry.kind is not Kind.SAME


def _record(name: str) -> Record:
    return Record(
        reference="", digest=name, user=0, group=0, working_folder="", size=0, wanted_user="",
        variables={}, wanted_folder="", entrypoint=(), command=(), architecture="",
    )  # fmt: skip
