"""Images of this machine: found, pulled, built, and collected when nobody wants them any more."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from assay.domain.errors import DiskFull, ImageUnavailable, Unavailable
from assay.images.blobs import configuration_of
from assay.images.build import Recipe, build
from assay.images.fetch import Fetching, Found, from_archive, from_layout, from_registry
from assay.images.image import Image, OnProgress, ignore
from assay.images.manifest import Configuration
from assay.images.program import Patience
from assay.images.reference import (
    FromArchive,
    FromDockerfile,
    FromLayout,
    FromRegistry,
    parse,
)
from assay.images.store import Pin, Record, Store, locked_shared
from assay.images.unpack import Unpacked, Unpacking, unpack

PATIENCE: Final = Patience(seconds=3600, silent_seconds=60)
"""With a registry: for all of an image, and for its next byte."""

_NO_ARGUMENTS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """What went when garbage was collected; bytes are those that the disk has again."""

    images: int
    bytes: int


class Images:
    """All images in a folder. Any number of processes may use it at the same time.

    `owner_offset` is added to the number of each owner on disk: 1 for an ordinary user in a user
    namespace, where 0 is that user. Methods block. They raise InvalidInput for what is no
    reference, and DiskFull or Unavailable for what is wrong with the folder.
    """

    def __init__(
        self, folder: Path, *, owner_offset: int = 0, patience: Patience = PATIENCE
    ) -> None:
        self._store = Store(folder)
        self._owner_offset = owner_offset
        self._patience = patience

    def find(self, reference: str) -> Image | None:
        """Return an image that is known and whole here. Asks nobody; takes milliseconds.

        That of a Dockerfile only when neither it, nor the folder that it copies from, has changed.
        """
        source = parse(reference)
        pin = self._store.pin(source.text)
        if pin is None:
            return None
        if isinstance(source, FromDockerfile) and not _is_found_current(pin, source):
            return None
        return self._store.image(pin)

    def get(self, reference: str, *, on_progress: OnProgress = ignore) -> Image:
        """Find an image, or else pull or build it. Raises what those do."""
        source = parse(reference)
        if isinstance(source, FromDockerfile):
            return self.build(source.dockerfile, on_progress=on_progress)
        return self.find(reference) or self.pull(reference, on_progress=on_progress)

    def pull(self, reference: str, *, on_progress: OnProgress = ignore) -> Image:
        """Ask an image's source for it, and pin the reference to what it has now.

        A Dockerfile is built anew, with what its FROM stands for now. Raises ImageUnavailable,
        InvalidImage, BuildFailed.
        """
        match parse(reference):
            case FromDockerfile() as source:
                recipe = _recipe(source.dockerfile, None, _NO_ARGUMENTS)
                return self._build(recipe, on_progress, anew=True)
            case source:
                with self._fetching(on_progress) as fetching:
                    return self._unpack(source.text, _fetch(source, fetching), fetching)

    def build(
        self,
        dockerfile: Path,
        *,
        context: Path | None = None,
        arguments: Mapping[str, str] = _NO_ARGUMENTS,
        on_progress: OnProgress = ignore,
    ) -> Image:
        """Build a Dockerfile, unless neither it nor its context have changed since the last time.

        `context` is the folder that it copies from: its own, unless given. Raises BuildFailed,
        and ImageUnavailable when an image that it is FROM can't be had.
        """
        return self._build(_recipe(dockerfile, context, arguments), on_progress, anew=False)

    def all(self) -> list[Image]:
        """Every image that is whole here, by reference; those without one at the end."""
        found = [self._store.image(pin) for pin in self._store.pins()]
        images = [image for image in found if image]
        known = frozenset(image.digest for image in images)
        return [*images, *self._store.unpinned(known)]

    @contextmanager
    def using(self, image: Image) -> Iterator[None]:
        """Keep an image from being collected, while a sandbox is made of it.

        Raises ImageUnavailable if it has just gone.
        """
        try:
            lock = locked_shared(image.root.path.parent)
            lock.__enter__()
        except FileNotFoundError:
            raise ImageUnavailable(
                f"the image {image.reference} has just been removed; pull it again"
            ) from None
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def collect_garbage(
        self, keep: Callable[[], Collection[str]], *, on_progress: OnProgress = ignore
    ) -> Removed:
        """Remove all images but those whose digests `keep` returns, and those in use.

        It is asked once those who pull or build have ended: what they made may be needed. With them
        go layers that were kept for the next pull or build, and what dead processes left half done.
        """
        if not self._store.folder.exists():
            return Removed(images=0, bytes=0)
        with self._own_errors(), self._store.alone():
            before = _free(self._store.folder)
            images = self._store.remove_all_but(frozenset(keep()), on_progress)
            return Removed(images=images, bytes=max(0, _free(self._store.folder) - before))

    def _build(self, recipe: Recipe, on_progress: OnProgress, *, anew: bool) -> Image:
        pin = self._store.pin(recipe.text)
        if not anew and pin is not None and _is_current(pin, recipe):
            image = self._store.image(pin)
            if image is not None:
                return image
        inputs = {context: recipe.inputs(context=context) for context in (False, True)}
        with self._fetching(on_progress) as fetching, self._store.building() as storage:
            found, uses_context = build(recipe, storage, fetching, anew=anew)
            return self._unpack(recipe.text, found, fetching, inputs=inputs[uses_context])

    @contextmanager
    def _fetching(self, on_progress: OnProgress) -> Iterator[Fetching]:
        with self._own_errors(), self._store.reading(), self._store.draft() as draft:
            yield Fetching(
                blobs=self._store.blobs,
                draft=draft,
                patience=self._patience,
                on_progress=on_progress,
            )

    def _unpack(
        self, reference: str, found: Found, fetching: Fetching, *, inputs: str = ""
    ) -> Image:
        pin = Pin(reference=reference, digest=found.digest, inputs=inputs)
        configuration = configuration_of(found.manifest, found.blobs, reference)
        if self._store.image(pin) is None:
            with self._store.unpacking(fetching.draft) as pool:
                if self._store.image(pin) is None:  # nobody has done it while we waited
                    work = Unpacking(
                        manifest=found.manifest,
                        configuration=configuration,
                        blobs=found.blobs,
                        pool=pool,
                        owner_offset=self._owner_offset,
                        where=reference,
                        on_progress=fetching.on_progress,
                    )
                    unpacked = unpack(work, fetching.draft / "image/root")
                    record = _record(pin, configuration, unpacked)
                    self._store.publish(fetching.draft / "image", record)
        self._store.set_pin(pin, fetching.draft)
        image = self._store.image(pin)
        assert image, "it has just been unpacked, and nobody may remove it yet"
        return image

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(
                    f"no room for images in {self._store.folder}: free some "
                    "(`assay env gc`), or choose another folder",
                    detail=str(error),
                ) from error
            raise Unavailable(
                f"images can't be kept in {self._store.folder}: {error.strerror}; "
                "run as the user who owns that folder, or choose another one",
                detail=str(error),
            ) from error


def _fetch(source: FromRegistry | FromLayout | FromArchive, fetching: Fetching) -> Found:
    match source:
        case FromLayout():
            return from_layout(source)
        case FromArchive():
            return from_archive(source, fetching)
        case FromRegistry():
            return from_registry(source, fetching)


def _recipe(dockerfile: Path, context: Path | None, arguments: Mapping[str, str]) -> Recipe:
    dockerfile = Path(os.path.abspath(dockerfile))
    folder = dockerfile.parent if context is None else Path(os.path.abspath(context))
    return Recipe(dockerfile=dockerfile, context=folder, arguments=arguments)


def _is_found_current(pin: Pin, source: FromDockerfile) -> bool:
    try:
        return _is_current(pin, _recipe(source.dockerfile, None, _NO_ARGUMENTS))
    except ImageUnavailable:
        return False


def _is_current(pin: Pin, recipe: Recipe) -> bool:
    """Whether all that went into an image is as it was: its context only if it took any of it."""
    return pin.inputs == recipe.inputs(context=False) or pin.inputs == recipe.inputs()


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bfree * found.f_frsize


def _record(pin: Pin, configuration: Configuration, unpacked: Unpacked) -> Record:
    wanted = configuration.image
    return Record(
        reference=pin.reference,
        digest=pin.digest,
        user=unpacked.user,
        group=unpacked.group,
        working_folder=unpacked.working_folder,
        size=unpacked.size,
        wanted_user=wanted.user,
        variables=dict(wanted.variables),
        wanted_folder=wanted.working_folder,
        entrypoint=wanted.entrypoint,
        command=wanted.command,
        architecture=wanted.architecture,
    )
