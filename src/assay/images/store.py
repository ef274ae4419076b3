"""Where images are kept on this machine: roots, pins, drafts, and who may touch them when.

    roots/HEX-RULES/root    an image unpacked; it has this name only when it is whole
    roots/HEX-RULES/image   what is known of it
    files/                  the pool: every file of every root
    pins/HEX                one reference, and the digest that it stands for
    blobs/sha256/HEX        layers as they were fetched, so that they aren't fetched again
    drafts/NAME             what somebody is making
    building/               buildah's own storage

A folder in drafts is locked by its maker: one that nobody locks was left by a dead process.
All of these folders are closed to other users: some of them have the ids to which files of an image
belong, what anybody may write in an image would be anybody's here, and who can open a folder can
lock it for ever.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from assay.driver.port import RootFilesystem
from assay.images.beneath import flush
from assay.images.image import Image, ImageConfiguration, OnProgress, Progress
from assay.images.pool import Pool

_RULES: Final = 1
"""Part of a root's name: raise it when the same layers are unpacked into something else."""


_YOUNG_SECONDS: Final = 60

_MARK: Final = "unpacking"
"""There while files of the pool may not have reached the disk; its text is the boot's number."""


class Record(Struct, frozen=True, kw_only=True):
    """What is known of a root; beside it on disk."""

    reference: str
    """Under which it was unpacked first."""
    digest: str
    user: int
    group: int
    working_folder: str
    size: int
    wanted_user: str
    variables: dict[str, str]
    wanted_folder: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    architecture: str


class Pin(Struct, frozen=True, kw_only=True):
    """What a reference stands for until it is pulled again."""

    reference: str
    digest: str
    inputs: str = ""
    """Of a build: the digest of all that went into it."""


class Store:
    """The folder of all images. Methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs"
        self._building = folder / "building"
        self._roots = folder / "roots"
        self._pins = folder / "pins"
        self._drafts = folder / "drafts"
        self._files = folder / "files"

    def image(self, pin: Pin) -> Image | None:
        """The image that a reference stands for, if it is whole."""
        place = self.place(pin.digest)
        record = _read(place / "image", Record)
        if record is None or not (place / "root").is_dir():
            return None
        return _image(record, pin.reference, place)

    def unpinned(self, known: frozenset[str]) -> Iterator[Image]:
        """Images to which no reference leads any more."""
        for place in sorted(_items(self._roots)):
            record = _read(place / "image", Record)
            if record is not None and record.digest not in known:
                yield _image(record, record.reference, place)

    def pin(self, reference: str) -> Pin | None:
        """What a reference stands for; None: nobody has pulled it."""
        return _read(self._pin(reference), Pin)

    def pins(self) -> list[Pin]:
        """All of them, sorted by reference."""
        found = (_read(item, Pin) for item in _items(self._pins))
        return sorted((pin for pin in found if pin), key=lambda pin: pin.reference)

    def set_pin(self, pin: Pin, draft: Path) -> None:
        """Have a reference stand for a digest, from now on and after a power cut."""
        if self.pin(pin.reference) == pin:
            return
        _make(self._pins)
        _write(draft / "pin", msgspec.json.encode(pin))
        (draft / "pin").rename(self._pin(pin.reference))

    def remove_all_but(self, keep: frozenset[str], on_progress: OnProgress) -> int:
        """For one who is alone: remove images that nobody uses, and all that isn't theirs.

        `keep` has digests. Returns how many images went.
        """
        self.sweep(older_than=-1)
        removed = 0
        kept = {self.place(digest).name for digest in keep}
        places = sorted(_items(self._roots))
        with self.draft() as draft:
            for number, place in enumerate(places):
                on_progress(
                    Progress(step="removing images", done=number, total=len(places), unit="images")
                )
                if place.name not in kept and self._discard(place, draft):
                    removed += 1
            remove(self.blobs)
            remove(self._building)
            _make(self._files)
            Pool(self._files, draft).collect_garbage()
            _flush(self.folder)
            (self.folder / _MARK).unlink(missing_ok=True)
        for pin in self.pins():
            if not self.place(pin.digest).exists():
                self._pin(pin.reference).unlink()
        return removed

    def _discard(self, place: Path, draft: Path) -> bool:
        """Take an image out of sight in one step, then remove it; not while somebody uses it."""
        with try_lock(place) as free:
            if free:
                place.rename(draft / place.name)
                remove(draft / place.name)
            return free

    def place(self, digest: str) -> Path:
        """The folder of an image, whether it is there or not."""
        return self._roots / f"{digest.removeprefix('sha256:')}-{_RULES}"

    def publish(self, draft: Path, record: Record) -> None:
        """Give a root, `draft`/root, its name, once all of it has reached the disk."""
        (draft / "image").write_bytes(msgspec.json.encode(record))
        _flush(draft)
        _make(self._roots)
        place = self.place(record.digest)
        if place.exists():  # without a record that can be read: nobody can have been shown it
            place.rename(draft.with_name("damaged"))
        draft.rename(place)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep garbage from being collected, while something is fetched or made."""
        _make(self._drafts)
        with _locked(self._drafts, fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nothing is fetched or made, and keep it so."""
        _make(self._drafts)
        with _locked(self._drafts, fcntl.LOCK_EX):
            yield

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A new folder that goes at the end, or when a later process finds it left behind."""
        _make(self._drafts)
        self.sweep(older_than=_YOUNG_SECONDS)
        folder = self._drafts / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        try:
            with _locked(folder, fcntl.LOCK_EX):
                yield folder
        finally:
            remove(folder)

    def sweep(self, *, older_than: float) -> None:
        """Remove the drafts of dead processes.

        One that is younger may be about to be locked by its maker, unless we are alone.
        """
        for item in _items(self._drafts):
            with suppress(FileNotFoundError), try_lock(item) as free:
                if free and time.time() - item.stat().st_ctime > older_than:
                    remove(item)

    @contextmanager
    def unpacking(self, draft: Path) -> Iterator[Pool]:
        """Be the only one that adds to the pool. Files that a power cut may have cost are left out.

        A file written since the last flush of the file system can be empty after one; a mark with
        the number of this boot tells that one came in between.
        """
        _make(self._files)
        with _locked(self._files, fcntl.LOCK_EX):
            pool = Pool(self._files, draft)
            mark = self.folder / _MARK
            boot = Path("/proc/sys/kernel/random/boot_id").read_text()
            if mark.exists() and mark.read_text() != boot:
                pool.forget_since(mark.stat().st_mtime_ns)
            if not mark.exists() or mark.read_text() != boot:
                _write(mark, boot.encode())
            yield pool
            mark.unlink()

    @contextmanager
    def building(self) -> Iterator[Path]:
        """The storage of builds, for one build at a time."""
        _make(self._building)
        with _locked(self._building, fcntl.LOCK_EX):
            yield self._building

    def _pin(self, reference: str) -> Path:
        return self._pins / hashlib.sha256(reference.encode()).hexdigest()


def _image(record: Record, reference: str, place: Path) -> Image:
    configuration = ImageConfiguration(
        user=record.wanted_user,
        variables=MappingProxyType(record.variables),
        working_folder=record.wanted_folder,
        entrypoint=record.entrypoint,
        command=record.command,
        architecture=record.architecture,
    )
    root = RootFilesystem(
        digest=place.name,
        path=place / "root",
        environment=configuration.variables,
        user=record.user,
        group=record.group,
        working_folder=record.working_folder,
        owners=True,
    )
    return Image(
        reference=reference,
        digest=record.digest,
        configuration=configuration,
        root=root,
        size_bytes=record.size,
    )


def _make(folder: Path) -> None:
    """Have a folder that nobody else may enter."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def remove(path: Path) -> None:
    """Remove a folder with all that is in it, or nothing."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


@contextmanager
def try_lock(folder: Path) -> Iterator[bool]:
    """Say whether nobody holds a lock on a folder, and hold it meanwhile if so."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except BlockingIOError:
        free = False
    try:
        yield free
    finally:
        os.close(descriptor)


@contextmanager
def locked_shared(folder: Path) -> Iterator[None]:
    """Hold a folder together with others who use it. Raises FileNotFoundError."""
    with _locked(folder, fcntl.LOCK_SH) as descriptor:
        if not os.path.samestat(folder.stat(), os.fstat(descriptor)):
            raise FileNotFoundError(folder)
        yield


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[int]:
    """The kernel lets go of the lock when its holder ends, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield descriptor
    finally:
        os.close(descriptor)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flush(descriptor)
    finally:
        os.close(descriptor)


def _write(file: Path, content: bytes) -> None:
    """Write a file, and have it on disk."""
    with file.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def _items(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


_T = TypeVar("_T")


def _read(file: Path, kind: type[_T]) -> _T | None:
    """A small file of our own; None if it isn't there, or isn't whole."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None
