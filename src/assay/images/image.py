"""What an image is, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from assay.driver.port import RootFilesystem


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageConfiguration:
    """What an image's author wants to be so when its programs run."""

    user: str = ""
    """As written: "", "app", "1000", "app:staff", "1000:1000"."""
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    working_folder: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    architecture: str = ""
    """As OCI names them: "amd64", "arm64"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image of this machine: unpacked, pinned, ready to be shown to any number of sandboxes."""

    reference: str
    """What was asked for, such as "debian:12"."""
    digest: str
    """Of the manifest, "sha256:…": what the reference is pinned to."""
    configuration: ImageConfiguration
    root: RootFilesystem
    size_bytes: int
    """Of all its files; those that other images have too are on disk once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far something has come, for a bar; `total` is None while nobody knows."""

    step: str
    """What is done, in a few words: "pulling debian:12"."""
    done: int = 0
    total: int | None = None
    unit: str = "bytes"


OnProgress = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """For those who don't want to know how far something has come."""
