"""The few system calls that Python 3.11 has no name for."""

from __future__ import annotations

import ctypes
import os
from enum import IntFlag
from functools import cache
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8


class MountFlag(IntFlag):
    """Flags of mount(2)."""

    NONE = 0
    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    REMOUNT = 32
    BIND = 4096
    MOVE = 8192
    RECURSIVE = 16384
    SLAVE = 1 << 19


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare_mounts() -> None:
    """Give the calling thread (and no other) a copy of its mount namespace, root and folder."""
    _check(_libc().unshare(_CLONE_NEWNS), "unshare")


def enter_mounts(namespace: int) -> None:
    """Move the calling thread into the mount namespace of this file descriptor."""
    _check(_libc().setns(namespace, _CLONE_NEWNS), "setns")


def mount(
    source: Path | str,
    target: Path,
    kind: str = "",
    flags: MountFlag = MountFlag.NONE,
    options: str = "",
) -> None:
    """Call mount(2)."""
    result = _libc().mount(
        os.fsencode(source), os.fsencode(target), kind.encode(),
        ctypes.c_ulong(flags), options.encode(),
    )  # fmt: skip
    _check(result, str(target))


def detach(target: Path) -> None:
    """Unmount a tree of mounts now, for everybody who comes later."""
    _check(_libc().umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW), str(target))
