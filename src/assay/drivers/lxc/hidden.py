"""Keeps control groups from LXC, which would make others of its own in every hierarchy.

A launcher's thread has nothing at the place where LXC looks for them but a folder, in which we
find what was there before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from assay.drivers.linux import kernel
from assay.drivers.linux.kernel import MountFlag

_USUAL: Final = Path("/sys/fs/cgroup")
_SCAFFOLD: Final = Path("/dev/shm")
_BESIDE: Final = "of-the-host"
_FLAGS: Final = MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC


def hide_groups() -> None:
    """Cover the usual place, in a launcher's own mount namespace."""
    kernel.mount("cgroup", _SCAFFOLD, "tmpfs", _FLAGS, "mode=755,size=64k")
    (_SCAFFOLD / _BESIDE).mkdir()
    kernel.mount(_USUAL, _SCAFFOLD / _BESIDE, flags=MountFlag.BIND | MountFlag.RECURSIVE)
    kernel.mount(_SCAFFOLD, _USUAL, flags=MountFlag.MOVE)


def beside(path: str) -> str:
    """Where a file of a group on the host is then."""
    usual = f"{_USUAL}/"
    return f"{usual}{_BESIDE}/{path.removeprefix(usual)}" if path.startswith(usual) else path
