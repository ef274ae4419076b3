"""Where root makes sandboxes' groups in a tree of version 2, so that nobody else is in the way.

A group that passes memory on to groups below it may have no processes of its own. Only the very top
of the tree may; inside of a container, what looks like the top is an ordinary group. And of the
groups that systemd makes, only those of units that it has delegated (`Delegate=yes`) are free;
where it starts a service in such a group itself, not in one below, it couldn't do so again
(docs/decisions/0047-hardening-that-sandboxes-survive.md).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePosixPath
from typing import Final

from assay.domain.errors import DriverUnavailable

_MARKS: Final = ("trusted.delegate", "user.delegate")
"""What systemd marks groups with that it has given away."""
_OWN: Final = "server"
"""Where processes go that are in the way, ourselves among them."""
_TRIES: Final = 20


def make_room(mounted: Path, own: str, parent: str) -> str:
    """The group for all sandboxes, from the top of the tree; the one above it can pass all on.

    `own` is the group that we are in, `parent` the wanted name. Raises DriverUnavailable.
    """
    is_top = not (mounted / "cgroup.type").exists()  # the real top has no type
    process = PurePosixPath(own.lstrip("/"))
    unit = _delegated_unit(mounted, process)
    if is_top and unit == process and process.suffix == ".service":
        unit = None
    above = mounted / unit if unit else mounted
    if unit or not is_top:
        _clear(above)
    return str(unit / parent) if unit else parent


def _delegated_unit(mounted: Path, own: PurePosixPath) -> PurePosixPath | None:
    for group in (own, *own.parents):
        if group.parts and _is_ours(mounted / group):
            return group
    return None


def _is_ours(group: Path) -> bool:
    """A user's own units are delegated to that user, and end with their session."""
    for mark in _MARKS:
        with contextlib.suppress(OSError):
            if os.getxattr(group, mark) == b"1":
                return group.stat().st_uid == os.geteuid()
    return False


def _clear(group: Path) -> None:
    """Move all processes of a group (not of those below) into one below it."""
    processes = group / "cgroup.procs"
    for _ in range(_TRIES):  # those that fork meanwhile have children here
        found = processes.read_text().split()
        if not found:
            return
        (group / _OWN).mkdir(exist_ok=True)
        for pid in found:
            with contextlib.suppress(OSError):
                (group / _OWN / "cgroup.procs").write_text(pid)
    raise DriverUnavailable(
        f"processes in the control group {group} leave no room for sandboxes;"
        " start assay in a group of its own (systemd: Delegate=yes)"
    )
