"""The names of an image's users and groups, for those who know numbers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from assay.driver.port import RootFilesystem
from assay.environments.tools import locate

_MOST_BYTES: Final = 1024 * 1024
_REMEMBERED_MOST: Final = 64
_remembered: dict[str, Accounts] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Accounts:
    """What /etc/passwd and /etc/group say."""

    users: Mapping[int, str]
    groups: Mapping[int, str]

    def user(self, number: int) -> str:
        """A name, or the number where there is none."""
        return self.users.get(number) or str(number)

    def group(self, number: int) -> str:
        """A name, or the number where there is none."""
        return self.groups.get(number) or str(number)


def accounts_of(root: RootFilesystem) -> Accounts:
    """Read them, once for each image."""
    found = _remembered.get(root.digest)
    if found is None:
        if len(_remembered) >= _REMEMBERED_MOST:
            _remembered.clear()
        found = Accounts(users=_read(root, "/etc/passwd"), groups=_read(root, "/etc/group"))
        _remembered[root.digest] = found
    return found


def _read(root: RootFilesystem, path: str) -> dict[int, str]:
    names = {0: "root"}
    try:
        file = locate(path, root)
        if file is None or not file.is_file() or file.stat().st_size > _MOST_BYTES:
            return names
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return names
    for line in lines:
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isascii() and fields[2].isdecimal():
            names.setdefault(int(fields[2][:10]), fields[0])
    return names
