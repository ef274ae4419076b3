"""Get what an image consists of from where it is. The network and other formats are skopeo's work.

What skopeo brings is not taken on trust: manifests are hashed here, layers when they are unpacked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import ImageUnavailable, InvalidImage
from assay.images.blobs import Blobs, configuration_of, follow, read_layout
from assay.images.image import OnProgress, Progress
from assay.images.manifest import (
    MOST_IMAGE_BYTES,
    Descriptor,
    Manifest,
    choose,
    digest_of,
    most_of,
    read_manifest,
)
from assay.images.program import Ended, Patience, run
from assay.images.reference import FromArchive, FromLayout, FromRegistry
from assay.images.words import explain

_SLACK_BYTES: Final = 1024 * 1024
_MOST_INDEXES: Final = 4
_TO_LAYOUT: Final = ("--quiet", "--dest-oci-accept-uncompressed-layers", "--dest-shared-blob-dir")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An image whose blobs are on this machine."""

    manifest: Manifest
    digest: str
    blobs: Blobs


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetching:
    """Where to put what is fetched: `blobs` is kept, `draft` goes."""

    blobs: Path
    draft: Path
    patience: Patience
    on_progress: OnProgress

    def skopeo(
        self,
        what: str,
        arguments: Iterable[str],
        *,
        on_tick: Callable[[], int] = int,
        within: Iterable[str] = (),
    ) -> bytes:
        """Run skopeo. Returns what it wrote; raises what it meant by an error."""
        ended = run(
            [*within, "skopeo", *arguments],
            package="skopeo",
            patience=self.patience,
            variables={"TMPDIR": str(self.draft)},
            on_tick=on_tick,
        )
        check(ended, what)
        return ended.output


def check(ended: Ended, what: str) -> None:
    """Raise what a program meant, unless it went well."""
    if ended.status is None:
        raise ImageUnavailable(
            f"{what}: too slow, or nothing came any more; try again", detail=ended.words[-4000:]
        )
    if ended.status != 0:
        raise explain(what, ended.words)


def from_layout(source: FromLayout) -> Found:
    """Use a layout where it is. Raises ImageUnavailable or InvalidImage."""
    found, blobs = read_layout(source.folder, source.tag, source.text)
    chosen, manifest = follow(found, blobs, source.text)
    return Found(manifest=manifest, digest=chosen.digest, blobs=blobs)


def from_archive(source: FromArchive, fetching: Fetching) -> Found:
    """Have skopeo make a layout of an archive. Raises ImageUnavailable, InvalidImage, DiskFull.

    It uncompresses what is in there, so that has limits like those of a layer.
    """
    size = 0
    with suppress(OSError):  # skopeo says what is wrong with it
        size = source.file.stat().st_size
    most = min(MOST_IMAGE_BYTES, most_of(size))
    return copy_to_layout(source.text, source.text, fetching, most=most)


def copy_to_layout(
    name: str,
    what: str,
    fetching: Fetching,
    *,
    within: Iterable[str] = (),
    most: int = MOST_IMAGE_BYTES,
) -> Found:
    """Have skopeo copy something of this machine. Raises ImageUnavailable, InvalidImage, …"""
    layout = fetching.draft / "layout"
    seen: dict[str, int] = {}
    too_large = InvalidImage(f"{what}: it holds more bytes than are taken")

    def on_tick() -> int:
        seen.update(_sizes(fetching.draft) | _sizes(layout))
        done = sum(seen.values())
        if done > most:
            raise too_large
        fetching.on_progress(Progress(step=f"copying {what}", done=done))
        return done

    arguments = ("copy", *_TO_LAYOUT, str(fetching.blobs), name, f"oci:{layout}")
    fetching.skopeo(what, arguments, on_tick=on_tick, within=within)
    found, _ = read_layout(layout, None, what)
    blobs = Blobs(fetching.blobs)
    chosen, manifest = follow(found, blobs, what)
    if manifest.size > most:
        raise too_large
    return Found(manifest=manifest, digest=chosen.digest, blobs=blobs)


def from_registry(source: FromRegistry, fetching: Fetching) -> Found:
    """Ask a registry what a name stands for now, and get what isn't here of it.

    Raises ImageUnavailable, InvalidImage, DiskFull.
    """
    blobs = Blobs(fetching.blobs)
    digest, manifest = _manifest(source, fetching, blobs)
    _drop_damaged((manifest.configuration, *manifest.layers), blobs)
    if not blobs.has(manifest.configuration):
        _fetch_configuration(source, digest, manifest, fetching)
    configuration_of(manifest, blobs, source.text)  # for another machine: before layers are fetched
    if not all(blobs.has(layer) for layer in manifest.layers):
        _copy(source, digest, manifest, fetching)
    return Found(manifest=manifest, digest=digest, blobs=blobs)


def _manifest(source: FromRegistry, fetching: Fetching, blobs: Blobs) -> tuple[str, Manifest]:
    """Ask for the manifest, by way of indexes; keep and check each."""
    wanted = source.digest
    fetching.on_progress(Progress(step=f"asking for {source.text}"))
    for _ in range(_MOST_INDEXES):
        name = f"{source.repository}@{wanted}" if wanted else source.text
        content = fetching.skopeo(
            source.text, ("inspect", "--raw", *_tls(source, ""), f"docker://{name}")
        )
        digest = digest_of(content)
        if wanted and digest != wanted:
            raise InvalidImage(
                f"{source.text}: the registry sent {digest} in the place of {wanted}"
            )
        document = read_manifest(content, source.text)
        blobs.keep(digest, content)
        if isinstance(document, Manifest):
            return digest, document
        wanted = choose(document, source.text).digest
    raise InvalidImage(f"{source.text}: its indexes name one another without end")


def _fetch_configuration(
    source: FromRegistry, digest: str, manifest: Manifest, fetching: Fetching
) -> None:
    """Get it as it is: when skopeo copies Docker's form into a layout, it writes it anew."""
    name = f"docker://{source.repository}@{digest}"
    arguments = ("inspect", "--config", "--raw", *_tls(source, ""), name)
    content = fetching.skopeo(source.text, arguments)
    if digest_of(content) != manifest.configuration.digest:
        raise InvalidImage(f"{source.text}: the registry sent another configuration")
    Blobs(fetching.blobs).keep(manifest.configuration.digest, content)


def _copy(source: FromRegistry, digest: str, manifest: Manifest, fetching: Fetching) -> None:
    layout = fetching.draft / "layout"
    blobs = Blobs(fetching.blobs)

    def on_tick() -> int:
        done = sum(layer.size for layer in manifest.layers if blobs.has(layer)) + sum(
            _sizes(layout).values()
        )
        if done > manifest.size + _SLACK_BYTES:
            raise InvalidImage(
                f"{source.text}: the registry sends more than the {manifest.size} bytes "
                "that the manifest speaks of"
            )
        fetching.on_progress(
            Progress(step=f"pulling {source.text}", done=done, total=manifest.size)
        )
        return done

    name = f"docker://{source.repository}@{digest}"
    arguments = ("copy", *_tls(source, "src-"), *_TO_LAYOUT, str(fetching.blobs), name)
    fetching.skopeo(source.text, (*arguments, f"oci:{layout}"), on_tick=on_tick)


def _tls(source: FromRegistry, prefix: str) -> tuple[str, ...]:
    """Plain HTTP to this machine itself only."""
    return (f"--{prefix}tls-verify=false",) if source.loopback else ()


def _sizes(folder: Path) -> dict[str, int]:
    """The files that skopeo is writing now; those that are whole it puts elsewhere."""
    sizes = {}
    with suppress(OSError):
        for item in folder.iterdir():
            with suppress(OSError):
                if item.is_file():
                    sizes[item.name] = item.stat().st_size
    return sizes


def _drop_damaged(parts: Iterable[Descriptor], blobs: Blobs) -> None:
    """Remove blobs that aren't what they should be: skopeo would take them for good ones."""
    for part in parts:
        with suppress(FileNotFoundError), blobs.path(part.digest).open("rb") as file:
            if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" != part.digest:
                blobs.path(part.digest).unlink()
