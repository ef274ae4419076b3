"""Where an image's working folder is, and whether a sandbox may have it to write in."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import RuntimeFailed
from assay.drivers.linux import kernel

_OWN: Final = ("/", "/usr", "/usr/local", "/var")
"""Folders that hold what must stay as it is, though others may be made in them."""
_OWN_TREES: Final = (
    "/.assay", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc",
    "/sbin", "/sys", "/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec",
    "/usr/libx32", "/usr/local/bin", "/usr/local/lib", "/usr/local/sbin", "/usr/sbin",
)  # fmt: skip
"""With all that is in them. A privileged program trusts its loader's, so they are no learner's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkingFolder:
    """A place in an image."""

    target: str
    """Its path, without any links."""
    missing: bool = False
    """There is nothing: the folder is to be made, so that something can be mounted on it."""
    empty: bool = True


def find(image: Path, folder: str) -> WorkingFolder:
    """Look it up as a process of the sandbox would. Raises RuntimeFailed when it can't be used."""
    if not folder.startswith("/") or "\0" in folder or ".." in folder.split("/"):
        raise RuntimeFailed(f"{folder!r} is not the absolute path of a working folder")
    there, missing = _tidy(folder), ""
    while True:
        try:
            found = kernel.open_folder_in(image, there)
        except FileNotFoundError:
            if there == "/":
                raise RuntimeFailed(f"the root file system {image} is not there") from None
            there, name = posixpath.split(there)
            missing = posixpath.join(name, missing) if missing else name
        except OSError as error:
            raise _unusable(folder, f"cannot be entered ({error.strerror})") from error
        else:
            break
    try:
        return _found(image, folder, found, missing)
    finally:
        os.close(found)


def _found(image: Path, folder: str, found: int, missing: str) -> WorkingFolder:
    here = Path(f"/proc/self/fd/{found}")
    reached = str(here.readlink()).removeprefix(str(image))
    target = _tidy(f"{reached}/{missing}")
    if target in _OWN or any(f"{target}/".startswith(f"{tree}/") for tree in _OWN_TREES):
        raise _unusable(folder, f"is {target}, which has to stay as it is")
    if not missing:
        return WorkingFolder(target=target, empty=not any(here.iterdir()))
    if os.path.lexists(here / missing.partition("/")[0]):
        raise _unusable(folder, "is a link to nowhere")
    return WorkingFolder(target=target, missing=True)


def _tidy(path: str) -> str:
    """Two slashes in front would be kept."""
    return posixpath.normpath(f"/{path.lstrip('/')}")


def _unusable(folder: str, why: str) -> RuntimeFailed:
    return RuntimeFailed(
        f"the image's working folder {folder} {why}; a Dockerfile of FROM and WORKDIR gives it"
        " another one"
    )
