"""Where in an image what belongs to devices is shown, and what has to be made for that."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from assay.domain.errors import DeviceUnavailable, RuntimeFailed
from assay.driver.port import Mount, RootFilesystem
from assay.drivers.linux import kernel


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Something that an image lacks, for a mount to cover."""

    path: str
    is_folder: bool


def missing_of(mounts: Sequence[Mount], root: RootFilesystem) -> Iterator[Mount]:
    """Those that have to be mounted, where they really are: without links on the way.

    What the image shows already, as `host` shows the machine's own files, needs no mount.
    """
    for mount in mounts:
        target = mount.target
        covering = [each for each in root.mounts if f"{target}/".startswith(f"{each.target}/")]
        if not covering:
            reached, missing = _reach(root.path, target)
            yield replace(mount, target=posixpath.join(reached, missing))
        elif not _is_same(covering[-1], mount):
            if not _in(covering[-1], target).exists():
                raise DeviceUnavailable(
                    f"a device brings {target}, for which this image has no place:"
                    " let its specification name a folder that is there as containerPath"
                )
            yield mount


def to_make(root: RootFilesystem, mounts: Iterable[Mount]) -> list[Place]:
    """What has to be there so that these, which `missing_of` gave, can be mounted; in order."""
    found: dict[str, Place] = {}
    for mount in mounts:
        if not any(f"{mount.target}/".startswith(f"{each.target}/") for each in root.mounts):
            reached, missing = _reach(root.path, mount.target)
            for place in _on_the_way(reached, missing, is_folder=mount.source.is_dir()):
                found.setdefault(place.path, place)
    return list(found.values())


def of_folders(root: RootFilesystem) -> list[Place]:
    """What has to be there for the folders that a sandbox has besides. Raises RuntimeFailed."""
    for path in root.folders:
        name = path.removeprefix("/")
        if not path.startswith("/") or "/" in name or name in ("", ".", ".."):
            raise RuntimeFailed(f"{path!r} is not the name of a folder in the root")
        there = root.path / name
        if there.is_symlink() or (there.exists() and not there.is_dir()):
            raise RuntimeFailed(f"the image has something at {path} that is no folder")
    return [Place(path=path, is_folder=True) for path in root.folders]


def _on_the_way(reached: str, missing: str, *, is_folder: bool) -> Iterator[Place]:
    """The folders of the image, too: a layer of places has to have them as well."""
    if not missing:
        return
    here, names = "", [*reached.strip("/").split("/"), *missing.split("/")]
    names = [name for name in names if name]
    for number, name in enumerate(names, 1):
        here = f"{here}/{name}"
        yield Place(path=here, is_folder=is_folder or number < len(names))


def _reach(image: Path, path: str) -> tuple[str, str]:
    """How much of a path there is in an image, as a process in there would find it, and the rest.

    Raises DeviceUnavailable where a link leads nowhere, or a file is in the way.
    """
    there, missing = posixpath.normpath(path), ""
    while True:
        try:
            found = kernel.open_in(image, there)
        except FileNotFoundError:
            there, name = posixpath.split(there)
            missing = posixpath.join(name, missing) if missing else name
        except OSError as error:
            raise DeviceUnavailable(
                f"a device brings {path}, which the image can't have: {error.strerror}"
            ) from error
        else:
            break
    try:
        here = Path(f"/proc/self/fd/{found}")
        reached = str(here.readlink()).removeprefix(str(image.resolve())) or "/"
        if missing and (not here.is_dir() or os.path.lexists(here / missing.partition("/")[0])):
            raise DeviceUnavailable(f"a device brings {path}, where the image has something else")
        return reached, missing
    finally:
        os.close(found)


def _in(mount: Mount, target: str) -> Path:
    return mount.source / target.removeprefix(mount.target).lstrip("/")


def _is_same(covering: Mount, mount: Mount) -> bool:
    try:
        return _in(covering, mount.target).samefile(mount.source)
    except OSError:
        return False
