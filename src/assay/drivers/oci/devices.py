"""The stage, and the devices on it: a sandbox's own where root makes them, else the host's.

Who isn't root can make no devices, only bind those that there are. Nobody in a sandbox can change
the host's, but locks on them are seen by all.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from assay.drivers.oci import kernel
from assay.drivers.oci.kernel import MountFlag

_DEVICES: Final = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
    "tty": (5, 0),
}  # fmt: skip


@contextlib.contextmanager
def stage(place: Path, *, rootless: bool) -> Iterator[None]:
    """Cover `place`, which is /dev, with a file system that holds devices alone."""
    with contextlib.ExitStack() as open_files:
        hosts = _open(place, open_files) if rootless else {}
        kernel.mount("stage", place, "tmpfs", MountFlag.NOSUID, "mode=755,size=64k")
        try:
            if rootless:
                _bind(hosts, place)
            else:
                _make(place)
            yield
        finally:
            kernel.detach(place)


def _open(place: Path, open_files: contextlib.ExitStack) -> dict[str, int]:
    found = {}
    for name in _DEVICES:
        found[name] = os.open(place / name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        open_files.callback(os.close, found[name])
    return found


def _bind(hosts: Mapping[str, int], place: Path) -> None:
    for name, descriptor in hosts.items():
        (place / name).touch()
        kernel.mount(f"/proc/self/fd/{descriptor}", place / name, flags=MountFlag.BIND)


def _make(place: Path) -> None:
    for name, (major, minor) in _DEVICES.items():
        os.mknod(place / name, stat.S_IFCHR, os.makedev(major, minor))
        (place / name).chmod(0o666)
