"""Manifests, indexes and configurations of strangers: read, or refused, and nothing else."""

from __future__ import annotations

from contextlib import suppress

from assay.domain.errors import InvalidImage
from assay.images.manifest import (
    Descriptor,
    Index,
    Manifest,
    choose,
    read_configuration,
    read_manifest,
)

PART = Descriptor(media_type="", digest="sha256:" + "0" * 64, size=1)
OTHER = Manifest(configuration=PART, layers=(PART,))


def fuzz(data: bytes) -> None:
    """Take the bytes for each of the three."""
    with suppress(InvalidImage):
        found = read_manifest(data, "it")
        if isinstance(found, Index):
            choose(found, "it")
    with suppress(InvalidImage):
        read_configuration(data, OTHER, "it")
