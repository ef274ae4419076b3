"""A layer of a stranger's: whatever is in it, it is unpacked beneath its root or refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from assay.domain.errors import AssayError
from assay.images.beneath import open_in
from assay.images.blobs import Blobs
from assay.images.image import ImageConfiguration
from assay.images.manifest import Configuration, Descriptor, Manifest
from assay.images.pool import Pool
from assay.images.unpack import Unpacking, unpack


def fuzz(data: bytes) -> None:
    """Unpack the same bytes as two layers, one over the other."""
    data = mended(data)
    place = Path(tempfile.mkdtemp(prefix="assay-fuzz-", dir="/dev/shm"))
    try:
        outside = place / "outside"
        outside.mkdir()
        (outside / "file").write_text("mine")
        before = outside.stat(), (outside / "file").stat()
        with suppress(AssayError, PermissionError):  # not root: owners can't be set
            unpack(work(data, place), place / "root")
        assert (outside.stat(), (outside / "file").stat()) == before
        assert sorted(item.name for item in place.iterdir()) <= [
            "blobs", "drafts", "files", "outside", "root",
        ]  # fmt: skip
    finally:
        shutil.rmtree(place)


def stays_inside() -> bool:
    """Whether a look-up can't get out: if it could, this would be no place to try layers."""
    place = tempfile.mkdtemp()
    root = os.open(place, os.O_RDONLY)
    try:
        os.close(open_in(root, b"/usr", os.O_PATH))
    except FileNotFoundError:
        return True
    finally:
        os.close(root)
        Path(place).rmdir()
    return False


assert stays_inside()


def mended(data: bytes) -> bytes:
    """Make the sums of headers right: otherwise hardly anything would get past them."""
    mended = bytearray(data)
    for start in range(0, len(data) - 511, 512):
        header = data[start : start + 512]
        if header[257:262] == b"ustar":
            total = sum(header[:148]) + 8 * 32 + sum(header[156:])
            mended[start + 148 : start + 156] = b"%06o\0 " % total
    return bytes(mended)


def work(data: bytes, place: Path) -> Unpacking:
    for name in ("blobs/sha256", "drafts", "files"):
        (place / name).mkdir(parents=True)
    name = hashlib.sha256(data).hexdigest()
    (place / "blobs/sha256" / name).write_bytes(data)
    layer = Descriptor(media_type="", digest=f"sha256:{name}", size=len(data))
    return Unpacking(
        manifest=Manifest(configuration=layer, layers=(layer, layer)),
        configuration=Configuration(
            image=ImageConfiguration(user="app", working_folder="/work/here"),
            layers=(layer.digest, layer.digest),
        ),
        blobs=Blobs(place / "blobs"),
        pool=Pool(place / "files", place / "drafts"),
        owner_offset=0,
        where="fuzz",
        on_progress=lambda progress: None,
    )
