"""What a sandbox's process 1 makes of it before anything is known of what it is to hold: as steps
of `agent/plan.c`, for drivers that take them themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from assay.drivers.linux.confinement import CAPABILITIES, CORE_BYTES, HOST_NAME, MOUNTS, READ_ONLY
from assay.drivers.linux.kernel import MountFlag
from assay.drivers.linux.stage import (
    EMPTY,
    NOTHING,
    OWN_DEVICES,
    STAGE,
    Staged,
    Step,
    devices,
    folder,
    own_devices,
    text,
)

NOWHERE: Final = f"{STAGE}/nothing"
"""A file that nothing can be read from, to be shown in another's place."""
PROC: Final = f"{STAGE}/its-proc"
KEPT: Final = str(sum(1 << number for number in CAPABILITIES.values()))
"""Capabilities that the sandbox's root keeps."""
_SEALED: Final = text(MountFlag.RDONLY | MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC)


def prepared(
    *, rootless: bool, root: str, settings: Iterable[Step], masks: Iterable[Step]
) -> Iterator[Step]:
    """Its devices, its /proc, its name, and nothing of a terminal.

    `root` is the number of the sandbox's first group as who mounts /proc counts; `settings` are put
    into that before it is closed, and `masks` then hide what is nobody's business.
    """
    yield ("apart",)
    yield from devices(rootless=rootless, wanted=[Path(NOTHING).name])
    yield from own_devices(rootless=rootless)
    yield from _own_processes(root, settings, masks)
    yield "name", HOST_NAME
    yield ("loopback",)
    yield "core", str(CORE_BYTES)
    yield ("session",)
    yield "input", f"{OWN_DEVICES}/null"


def _own_processes(root: str, settings: Iterable[Step], masks: Iterable[Step]) -> Iterator[Step]:
    proc = next(mount for mount in MOUNTS if mount.target == "/proc")
    options = (f"gid={root}" if each == "gid=0" else each for each in proc.options)
    yield folder(PROC)
    yield "mount", PROC, proc.kind, text(proc.flags), ",".join(options)
    yield from settings
    yield "file", NOWHERE
    yield "show", NOTHING, NOWHERE
    yield "flags", NOWHERE, _SEALED
    yield "cover", EMPTY, _SEALED
    yield from masks
    for path in READ_ONLY:
        yield "cover", within_proc(path), _SEALED


def within_proc(path: str) -> str:
    """Where something of /proc is while the sandbox is made."""
    return f"{PROC}{path.removeprefix('/proc')}"


def in_place(shown: Staged) -> Iterator[Step]:
    """Put all that was made where the sandbox sees it."""
    yield "root", shown.root
    yield "move", PROC, "/proc"
    yield "move", OWN_DEVICES, "/dev"
    for bind in shown.binds:  # which have on the stage the flags that they shall have
        yield "bind", bind.source, bind.target
