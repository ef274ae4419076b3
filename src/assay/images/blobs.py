"""Blobs on disk, by digest: a layout's own, or those that were fetched. None is taken on trust."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from assay.domain.errors import ImageUnavailable, InvalidImage
from assay.images.beneath import read_whole
from assay.images.manifest import (
    MOST_BYTES,
    Configuration,
    Descriptor,
    Index,
    Manifest,
    choose,
    digest_of,
    read_configuration,
    read_manifest,
)

_MOST_INDEXES: Final = 4
"""An index may name indexes; not without end."""


class Blobs:
    """A folder with `sha256/HEX` for each blob."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def open(self, wanted: Descriptor, where: str) -> Iterator[int]:
        """Open a blob of the size that it should have. What is in it is not looked at.

        Raises InvalidImage.
        """
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(self.path(wanted.digest), flags)
        except OSError as error:
            raise InvalidImage(
                f"{where} is not whole: {wanted.digest} can't be read", detail=str(error)
            ) from error
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_size != wanted.size:
                raise InvalidImage(
                    f"{where}: {wanted.digest} should have {wanted.size} bytes, "
                    f"and has {found.st_size}"
                )
            yield file
        finally:
            os.close(file)

    def read(self, wanted: Descriptor, where: str) -> bytes:
        """Read a small blob, and check it. Raises InvalidImage."""
        if wanted.size > MOST_BYTES:
            raise InvalidImage(f"{where}: {wanted.digest} is larger than {MOST_BYTES} bytes")
        with self.open(wanted, where) as file, open(file, "rb", closefd=False) as opened:
            content = opened.read(MOST_BYTES)
        if digest_of(content) != wanted.digest:
            raise InvalidImage(f"{where} is damaged: {wanted.digest} has another content")
        return content

    def has(self, wanted: Descriptor) -> bool:
        """Whether a blob is there, with its full size."""
        try:
            return self.path(wanted.digest).stat(follow_symlinks=False).st_size == wanted.size
        except OSError:
            return False

    def keep(self, digest: str, content: bytes) -> None:
        """Put a small blob here."""
        place = self.path(digest)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = place.with_name(f".{secrets.token_hex(8)}")
        draft.write_bytes(content)
        draft.rename(place)

    def path(self, digest: str) -> Path:
        """Where a blob is, or would be."""
        return self._folder / digest.replace(":", "/")


def read_layout(folder: Path, tag: str | None, where: str) -> tuple[Descriptor, Blobs]:
    """Find the image that a layout's index names. Raises ImageUnavailable or InvalidImage."""
    blobs = Blobs(folder / "blobs")
    try:
        content = _read_small(folder / "index.json")
    except FileNotFoundError:
        raise ImageUnavailable(
            f"{folder} is no OCI layout: it has no index.json; check the path"
        ) from None
    except OSError as error:
        raise ImageUnavailable(f"{folder} can't be read: {error.strerror}") from error
    index = read_manifest(content, f"{where}: its index.json")
    if not isinstance(index, Index):
        raise InvalidImage(f"{where}: its index.json is no index")
    return choose(index, where, tag=tag), blobs


def follow(found: Descriptor, blobs: Blobs, where: str) -> tuple[Descriptor, Manifest]:
    """Go through indexes to the manifest for this machine. Raises InvalidImage."""
    for _ in range(_MOST_INDEXES):
        document = read_manifest(blobs.read(found, where), where)
        if isinstance(document, Manifest):
            return found, document
        found = choose(document, where)
    raise InvalidImage(f"{where}: its indexes name one another without end")


def configuration_of(manifest: Manifest, blobs: Blobs, where: str) -> Configuration:
    """Read the configuration that a manifest names. Raises InvalidImage."""
    content = blobs.read(manifest.configuration, f"the configuration of {where}")
    return read_configuration(content, manifest, f"the configuration of {where}")


def _read_small(file: Path) -> bytes:
    content = read_whole(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), MOST_BYTES)
    if content is None:
        raise InvalidImage(f"{file} is no file of a sensible size")
    return content
