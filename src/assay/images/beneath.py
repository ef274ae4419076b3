"""Paths that cannot lead out of a folder, whatever links are in it: openat2(2)."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from functools import cache
from typing import Final

_OPENAT2: Final = 437
"""The number is the same on all architectures."""

_NO_MOUNTS: Final = 0x01
_NO_MAGIC_LINKS: Final = 0x02
_IN_ROOT: Final = 0x10
"""`/` and `..` mean the folder and what is in it, as in a chroot, but without races."""

_TRIES: Final = 16


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_in(root: int, path: bytes, flags: int) -> int:
    """Open `path` as a process would for whom the folder `root` is `/`; links are followed so.

    With O_NOFOLLOW the last part is not. Raises OSError: ENOENT, ENOTDIR, ELOOP, …
    """
    how = _How(flags=flags | os.O_CLOEXEC, resolve=_NO_MOUNTS | _NO_MAGIC_LINKS | _IN_ROOT)
    for _ in range(_TRIES):
        result = int(
            _libc().syscall(
                _OPENAT2, root, ctypes.c_char_p(path or b"."), ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
        )  # fmt: skip
        if result >= 0:
            return result
        if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):  # EAGAIN: something was renamed
            break
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), path)


def read_whole(file: int, most: int) -> bytes | None:
    """Read an open file and close it; None unless it is a regular one of at most `most` bytes."""
    try:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > most:
            return None
        parts = []
        while most > 0 and (part := os.read(file, most)):
            parts.append(part)
            most -= len(part)
        return b"".join(parts)
    finally:
        os.close(file)


def flush(folder: int) -> None:
    """Have the file system of a folder write all that it holds in memory: syncfs(2)."""
    if _libc().syncfs(folder) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
