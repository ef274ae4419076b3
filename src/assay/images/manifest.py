"""Manifests, indexes and configurations: bytes from strangers into values, or InvalidImage."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from assay.domain.errors import InvalidImage
from assay.images.image import ImageConfiguration

MOST_BYTES: Final = 4 * 1024 * 1024
"""Of a manifest, an index or a configuration; registries themselves take no larger ones."""

MOST_IMAGE_BYTES: Final = 64 << 30
"""Of all layers together, compressed, and again uncompressed."""

MOST_LAYERS: Final = 256
"""Docker makes at most 127."""

_ALWAYS_BYTES: Final = 1 << 30
_MOST_RATIO: Final = 200
"""What is larger than _ALWAYS_BYTES is at most so many times what it was compressed."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_VARIABLES: Final = 1000
_MOST_VARIABLE_BYTES: Final = 64 * 1024
"""Of all names and values together: each program that starts gets a copy."""

_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_CONFIGURATIONS: Final = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_LAYERS: Final = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
)
_ARCHITECTURES: Final = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
}
"""The kernel's name for a machine: OCI's, where it is another."""

REFERENCE_NAME: Final = "org.opencontainers.image.ref.name"
"""The annotation in a layout's index that holds a tag."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Descriptor:
    """Some bytes, by what they must hash to."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What one image for one architecture consists of; layers from the lowest to the highest."""

    configuration: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def size(self) -> int:
        """Bytes to fetch: all layers, as they are compressed."""
        return sum(layer.size for layer in self.layers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One image of an index, and whom it is for."""

    manifest: Descriptor
    system: str
    architecture: str
    variant: str
    tag: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """Several images, for as many architectures, or with as many tags."""

    variants: tuple[Variant, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """What a configuration says: for the programs, and of the layers when uncompressed."""

    image: ImageConfiguration
    layers: tuple[str, ...]
    """The digest of each layer's tar archive."""


class _Platform(Struct):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class _Descriptor(Struct):
    digest: str
    size: Annotated[int, Meta(ge=0)]
    media_type: str = msgspec.field(name="mediaType", default="")
    urls: list[str] | None = None
    platform: _Platform | None = None
    annotations: dict[str, str] | None = None


class _Document(Struct):
    """A manifest or an index: which of the two is told by what is in it."""

    schema_version: int = msgspec.field(name="schemaVersion", default=2)
    media_type: str = msgspec.field(name="mediaType", default="")
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None


class _Programs(Struct):
    user: str | None = msgspec.field(name="User", default=None)
    env: list[str] | None = msgspec.field(name="Env", default=None)
    entrypoint: list[str] | None = msgspec.field(name="Entrypoint", default=None)
    cmd: list[str] | None = msgspec.field(name="Cmd", default=None)
    working_folder: str | None = msgspec.field(name="WorkingDir", default=None)


class _RootFilesystem(Struct):
    type: str
    diff_ids: list[str]


class _Configuration(Struct):
    rootfs: _RootFilesystem
    architecture: str = ""
    os: str = ""
    config: _Programs | None = None


def digest_of(content: bytes) -> str:
    """The digest by which everything calls these bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def most_of(compressed: int) -> int:
    """How many bytes may come out of so many."""
    return max(_ALWAYS_BYTES, compressed * _MOST_RATIO)


def this_architecture() -> str:
    """This machine's, as OCI names it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def check_digest(digest: str, where: str) -> str:
    """Return a digest of the one kind there is. Raises InvalidImage for any other text."""
    if not _DIGEST.fullmatch(digest):
        raise InvalidImage(f"{where}: {digest[:100]!r} is no sha256 digest")
    return digest


def read_manifest(content: bytes, where: str) -> Manifest | Index:
    """Read a manifest or an index. Raises InvalidImage, which says `where`."""
    document = _decode(content, _Document, where)
    if document.schema_version != 2:
        raise InvalidImage(
            f"{where} has the form of Docker before 2016; push the image again with a newer tool"
        )
    if document.manifests is not None and document.layers is None and document.config is None:
        _expect(document.media_type, ("", *_INDEXES), where)
        return Index(variants=tuple(_variant(item, where) for item in document.manifests))
    if document.manifests is None and document.layers is not None and document.config is not None:
        _expect(document.media_type, ("", *_MANIFESTS), where)
        return _manifest(document.config, document.layers, where)
    raise InvalidImage(f"{where} is neither a manifest nor an index")


def read_configuration(content: bytes, manifest: Manifest, where: str) -> Configuration:
    """Read a configuration, and compare it with its manifest and this machine.

    Raises InvalidImage.
    """
    found = _decode(content, _Configuration, where)
    if found.os != "linux" or found.architecture != this_architecture():
        raise InvalidImage(
            f"{where} is of an image for {_shown(found.os, found.architecture)}; "
            f"this machine is linux/{this_architecture()}"
        )
    if found.rootfs.type != "layers" or len(found.rootfs.diff_ids) != len(manifest.layers):
        raise InvalidImage(
            f"{where} speaks of {len(found.rootfs.diff_ids)} layers, "
            f"the manifest of {len(manifest.layers)}"
        )
    programs = found.config or _Programs()
    image = ImageConfiguration(
        user=_plain(programs.user or "", "USER", where),
        variables=MappingProxyType(_variables(programs.env or [], where)),
        working_folder=_plain(programs.working_folder or "", "WORKDIR", where),
        entrypoint=_texts(programs.entrypoint, "ENTRYPOINT", where),
        command=_texts(programs.cmd, "CMD", where),
        architecture=found.architecture,
    )
    layers = tuple(check_digest(digest, where) for digest in found.rootfs.diff_ids)
    return Configuration(image=image, layers=layers)


def choose(index: Index, where: str, *, tag: str | None = None) -> Descriptor:
    """Pick the image for this machine out of an index. Raises InvalidImage: which there are."""
    tagged = [found for found in index.variants if tag is None or found.tag == tag]
    if not tagged:
        tags = ", ".join(sorted({found.tag for found in index.variants if found.tag})) or "none"
        raise InvalidImage(f"{where} has no tag {tag!r}; tags: {tags[:500]}")
    fitting = [found for found in tagged if _fits(found)]
    if not fitting:
        there = sorted({_shown(found.system, found.architecture) for found in tagged})
        raise InvalidImage(
            f"{where} is for {', '.join(there)[:500]}; this machine is linux/{this_architecture()}"
        )
    if tag is None and len({found.tag for found in fitting}) > 1:
        tags = ", ".join(sorted(found.tag for found in fitting))
        raise InvalidImage(f"{where} holds several images; add one of the tags: {tags[:500]}")
    return fitting[0].manifest


_T = TypeVar("_T")


def _decode(content: bytes, kind: type[_T], where: str) -> _T:
    if len(content) > MOST_BYTES:
        raise InvalidImage(f"{where} is larger than {MOST_BYTES} bytes")
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidImage(f"{where} is damaged: {str(error)[:200]}") from error


def _expect(media_type: str, known: tuple[str, ...], where: str) -> None:
    if media_type not in known:
        raise InvalidImage(f"{where} calls itself {media_type[:100]!r}, which it is not")


def _manifest(config: _Descriptor, layers: list[_Descriptor], where: str) -> Manifest:
    _expect(config.media_type, _CONFIGURATIONS, f"{where}: its configuration")
    if len(layers) > MOST_LAYERS:
        raise InvalidImage(f"{where} has {len(layers)} layers; at most {MOST_LAYERS} are taken")
    for number, layer in enumerate(layers, 1):
        _expect(layer.media_type, _LAYERS, f"{where}: layer {number}")
    manifest = Manifest(
        configuration=_descriptor(config, where),
        layers=tuple(_descriptor(layer, where) for layer in layers),
    )
    if manifest.size > MOST_IMAGE_BYTES:
        raise InvalidImage(f"{where} is larger than {MOST_IMAGE_BYTES >> 30} GiB")
    return manifest


def _descriptor(found: _Descriptor, where: str) -> Descriptor:
    digest = check_digest(found.digest, where)
    if found.urls:  # whoever wrote it would have this machine ask whom they like
        raise InvalidImage(f"{where}: {digest} is kept elsewhere than in the registry")
    return Descriptor(media_type=found.media_type, digest=digest, size=found.size)


def _variant(found: _Descriptor, where: str) -> Variant:
    whom = found.platform or _Platform()
    return Variant(
        manifest=_descriptor(found, where),
        system=whom.os,
        architecture=whom.architecture,
        variant=whom.variant,
        tag=(found.annotations or {}).get(REFERENCE_NAME, ""),
    )


def _fits(found: Variant) -> bool:
    """Whether an image is for this machine, or does not say here for which it is."""
    if found.manifest.media_type not in (*_MANIFESTS, *_INDEXES):
        return False  # a signature, a list of contents, a chart
    if not found.system and not found.architecture:
        return True
    if (found.system, found.architecture) != ("linux", this_architecture()):
        return False
    plain = {"amd64": ("", "v1"), "arm64": ("", "v8"), "arm": ("", "v7", "v6")}
    return found.variant in plain.get(found.architecture, ("",))


def _shown(system: str, architecture: str) -> str:
    return f"{system[:40] or 'no system'}/{architecture[:40] or 'no architecture'}"


def _plain(text: str, what: str, where: str) -> str:
    if "\0" in text or len(text) > 4096:
        raise InvalidImage(f"{where}: its {what} is too long, or holds a NUL")
    return text


def _texts(found: list[str] | None, what: str, where: str) -> tuple[str, ...]:
    texts = tuple(found or ())
    if any("\0" in text for text in texts) or _size(texts) > _MOST_VARIABLE_BYTES:
        raise InvalidImage(f"{where}: its {what} is too long, or holds a NUL")
    return texts


def _size(texts: Iterable[str]) -> int:
    """Bytes, as the kernel counts them: each text has an end."""
    return sum(len(text.encode()) + 1 for text in texts)


def _variables(found: list[str], where: str) -> dict[str, str]:
    if len(found) > _MOST_VARIABLES or _size(found) > _MOST_VARIABLE_BYTES:
        raise InvalidImage(f"{where}: its ENV is larger than programs can be given")
    variables = {}
    for text in found:
        name, equals, value = text.partition("=")
        if not name or not equals or "\0" in text:
            raise InvalidImage(f"{where}: its ENV has {text[:80]!r}, which is no NAME=VALUE")
        variables[name] = value
    return variables
