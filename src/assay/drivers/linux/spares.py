"""Memory groups of sandboxes that are gone, kept for the next ones.

When a memory group is removed, the kernel looks through every file system that is mounted, with a
lock held that making and killing groups need. A sandbox has five such groups and about a dozen
file systems: among a thousand sandboxes, a few leases a second that come and go then keep a
processor busy, and everybody waiting. A group that is given another name costs nothing.

Only what is as good as new is kept: without processes, without an out-of-memory kill in its
counts, and with next to nothing charged to it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import deque
from pathlib import Path
from typing import Final

PREFIX: Final = "spare-"
SPARES_MOST: Final = 256
"""Each costs the kernel some tens of kilobytes."""
_CHARGED_MOST: Final = 1 << 20
_SLOTS: Final = frozenset({"0.0", "1.0"})
"""The groups of executions that every agent makes; others are not worth their while."""
_UNLIMITED: Final = "-1"


class Spares:
    """Those in one folder of groups of version 1; other processes may take any of them."""

    def __init__(self, folder: Path, *, agent: str, learners: str) -> None:
        self._folder = folder
        self._agent = agent
        self._learners = learners
        self._names: deque[str] = deque()
        with contextlib.suppress(OSError):
            found = (path.name for path in folder.iterdir() if path.name.startswith(PREFIX))
            self._names.extend(sorted(found))

    def take(self, sandbox_id: str, owner: int) -> None:
        """Give a spare group the sandbox's name, and what the agent made in it to its `owner`.

        Where there is none, whoever asks makes new ones.
        """
        while self._names:
            with contextlib.suppress(IndexError, OSError):
                spare = self._folder / self._names.popleft()
                if _charged(spare) > _CHARGED_MOST:
                    _remove(spare)
                    continue
                group = self._folder / sandbox_id
                spare.rename(group)
                _hand_over(group / self._learners, owner)
                return

    def put(self, sandbox_id: str) -> bool:
        """Keep a sandbox's groups, and say whether; who called removes what isn't kept."""
        group = self._folder / sandbox_id
        if len(self._names) >= SPARES_MOST:
            return False
        try:
            if not self._is_as_new(group):
                return False
            name = PREFIX + secrets.token_hex(8)
            group.rename(self._folder / name)
        except OSError:
            return False
        self._names.append(name)
        return True

    def _is_as_new(self, group: Path) -> bool:
        learners, agent = group / self._learners, group / self._agent
        for extra in _groups(learners):
            if extra.name not in _SLOTS:
                extra.rmdir()
        everything = [*_groups(learners), learners, agent, group]
        if {each.name for each in _groups(group)} != {self._learners, self._agent}:
            return False
        if any(_is_used(each) for each in everything):
            return False
        if _charged(group) > _CHARGED_MOST:
            (group / "memory.force_empty").write_text("0")
        os.chown(learners, 0, 0)
        for each in (learners, agent):
            with contextlib.suppress(OSError):  # there is none without swap
                (each / "memory.memsw.limit_in_bytes").write_text(_UNLIMITED)
            (each / "memory.limit_in_bytes").write_text(_UNLIMITED)
        return True

    def remove_all(self) -> None:
        """Remove every spare group, whoever laid it aside; not while anybody has sandboxes."""
        with contextlib.suppress(OSError):
            groups = _groups(self._folder)
            if all(group.name.startswith(PREFIX) for group in groups):
                self._names.clear()
                for spare in groups:
                    _remove(spare)


def _groups(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()]


def _is_used(group: Path) -> bool:
    if (group / "cgroup.procs").read_text():
        return True
    lines = (group / "memory.oom_control").read_text().splitlines()
    return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)


def _charged(group: Path) -> int:
    return int((group / "memory.usage_in_bytes").read_text())


def _hand_over(learners: Path, owner: int) -> None:
    for slot in _groups(learners):
        for file in (slot, *slot.iterdir()):
            os.chown(file, owner, owner)


def _remove(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
