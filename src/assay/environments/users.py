"""Where the user of an image is at home."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final

from assay.driver.port import RootFilesystem
from assay.environments.tools import locate

_MOST_BYTES: Final = 1024 * 1024
_REMEMBERED_MOST: Final = 256
_remembered: dict[object, str] = {}


def home_folder(root: RootFilesystem) -> str:
    """What the image's /etc/passwd says of its user; the working folder if it says nothing.

    Likewise where it names a folder that is not there. An image doesn't change, so this is looked
    up once for each.
    """
    key = (root.digest, root.path, root.mounts, root.user, root.working_folder)
    found = _remembered.get(key)
    if found is None:
        if len(_remembered) >= _REMEMBERED_MOST:
            _remembered.clear()
        found = _remembered[key] = _look_up(root)
    return found


def _look_up(root: RootFilesystem) -> str:
    for name in _homes(locate("/etc/passwd", root), str(root.user)):
        if PurePosixPath(name).is_absolute() and name.isprintable():
            found = locate(name, root)
            if name == root.working_folder or (found is not None and found.is_dir()):
                return name
    return root.working_folder


def _homes(accounts: Path | None, user: str) -> list[str]:
    try:
        if accounts is None or not accounts.is_file() or accounts.stat().st_size > _MOST_BYTES:
            return []
        lines = accounts.read_text(errors="replace").splitlines()
    except OSError:
        return []
    fields = (line.split(":") for line in lines)
    return [each[5] for each in fields if len(each) > 5 and each[2] == user][:1]
