"""Control groups of sandboxes that are gone, kept for the next ones: of version 1 alone.

When a memory group is removed, the kernel looks through every file system that is mounted, with a
lock held that making and killing groups need. A sandbox has five such groups and about a dozen
file systems: among a thousand sandboxes, a few leases a second that come and go then keep a
processor busy, and everybody waiting. To make one takes 0.3 ms. A group that is given another name
costs nothing. (Those of version 2 have no other names, and counts that can't be set back.)

Only what is as good as new is kept: without processes, without an out-of-memory kill or a refused
process in its counts, and with next to nothing charged to it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from assay.domain.limits import SandboxLimits
from assay.drivers.linux.cgroups import (
    AGENT,
    LEARNERS,
    get,
    groups_in,
    put,
    quota,
    tree,
)
from assay.drivers.linux.stage import Step

PREFIX: Final = "spare-"
GOING: Final = f"{PREFIX}going-"
"""The same of those that are being removed, or were when whoever did so was killed."""
SPARES_MOST: Final = 256
"""Each costs the kernel some tens of kilobytes."""
SLOTS: Final = ("0.0", "1.0")
"""The groups of executions that every agent makes; others are not worth their while."""
_CHARGED_MOST: Final = 1 << 20
"""When it is used again."""
_CHARGED_AT_THE_END: Final = 8 << 20
"""The kernel frees most of what has just ended by itself, in a moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """Steps for who takes them all at once, in place of `take` or of a removal with `put`."""

    sandbox_id: str
    spare: str
    """What the groups are called while nobody has them."""
    owner: int
    """The first user of the sandbox that has, or had, what is an agent's of them."""
    steps: list[Step]


class Spares:
    """Those in one folder of each hierarchy; other processes may take any of them."""

    def __init__(self, trees: Mapping[str, str], *, around: str = "") -> None:
        """`trees`: the folder of all sandboxes, by the hierarchy's name; memory is one of them.

        `around`: that of version 2, where each sandbox has a group around all its processes. Who
        puts groups here has removed that, so that it is enough to look for processes in one
        hierarchy.
        """
        self._around = around
        self.trees = trees
        self._memory = trees["memory"]
        # Of controllers that are mounted together the folder is the same.
        self._others = [each for each in dict.fromkeys(trees.values()) if each != self._memory]
        self.limits: dict[str, SandboxLimits] = {}
        """Of groups by their names, if this process has set them."""
        self._owners: dict[str, int] = {}
        """The same, of those that are still a sandbox's who has left."""
        self.usual: SandboxLimits | None = None
        """Those that the last sandbox had."""
        self._names: deque[str] = deque()
        with contextlib.suppress(OSError):
            self._names.extend(sorted(filter(_is_there, os.listdir(self._memory))))

    def take(self, sandbox_id: str) -> bool:
        """Give spare groups the sandbox's name; False when some are still to be made."""
        while self._names:
            with contextlib.suppress(IndexError, OSError):
                name = self._names.popleft()
                _empty(f"{self._memory}/{name}", _CHARGED_MOST)
                # Whoever has renamed the first has them all.
                os.rename(f"{self._memory}/{name}", f"{self._memory}/{sandbox_id}")
                self._rename_limits(name, sandbox_id)
                self._owners.pop(name, None)
                return self._take_others(name, sandbox_id)
        return False

    def _take_others(self, name: str, sandbox_id: str) -> bool:
        whole = True
        for folder in self._others:
            try:
                os.rename(f"{folder}/{name}", f"{folder}/{sandbox_id}")
            except OSError:
                whole = False
        return whole

    def put(self, sandbox_id: str) -> bool:
        """Keep a sandbox's groups, and say whether; who called removes what isn't kept."""
        name = PREFIX + secrets.token_hex(8)
        self._rename_limits(sandbox_id, name)
        try:
            if len(self._names) < SPARES_MOST and self._are_as_new(sandbox_id):
                for folder in (*self._others, self._memory):
                    os.rename(f"{folder}/{sandbox_id}", f"{folder}/{name}")
                self._names.append(name)
                return True
        except OSError:
            pass
        self.limits.pop(name, None)
        return False

    # --- the same as steps ---------------------------------------------------------------------

    def taking(self, sandbox_id: str) -> Move | None:
        """How a sandbox has spare groups that have the usual limits, if it has the same users as
        who had them before; None: take them otherwise. Tell `taken` how it went.
        """
        if not self._around:
            return None
        usual = self.usual
        for _ in range(len(self._names) if usual is not None else 0):
            with contextlib.suppress(IndexError):  # another thread was faster
                name = self._names.popleft()
                owner = self._owners.get(name)
                if usual is not None and owner is not None and self.limits.get(name) == usual:
                    steps = [*self._taking(name, sandbox_id, usual)]
                    return Move(sandbox_id=sandbox_id, spare=name, owner=owner, steps=steps)
                self._names.append(name)
        return None

    def _taking(self, name: str, sandbox_id: str, limits: SandboxLimits) -> Iterator[Step]:
        yield "most", f"{self._memory}/{name}/memory.usage_in_bytes", str(_CHARGED_MOST)
        for folder in (self._memory, *self._others):  # whoever has the first has them all
            yield "rename", f"{folder}/{name}", f"{folder}/{sandbox_id}"
        yield self._has_share(sandbox_id, limits)
        yield "directory", f"{self._around}/{sandbox_id}", str(0o755), "0", "0"

    def _has_share(self, group: str, limits: SandboxLimits) -> Step:
        """Its former agent may have changed that."""
        return "line", f"{self.trees['cpu']}/{group}/{LEARNERS}/cpu.cfs_quota_us", quota(limits)

    def taken(self, move: Move, *, done: bool) -> None:
        """Whether those steps were taken."""
        if done:
            self._rename_limits(move.spare, move.sandbox_id)
            self._owners.pop(move.spare, None)
        elif os.path.isdir(f"{self._memory}/{move.spare}"):
            self._names.append(move.spare)
        else:
            self._forget(move.spare)

    def leaving(self, sandbox_id: str, owner: int) -> Move | None:
        """How its groups are kept, if they are as new, once all its processes have ended; None:
        they are to be removed otherwise. Tell `left` how it went.

        They stay `owner`'s, its first user's: to give them to the next sandbox takes a tenth of
        making it, unless that has the same users.
        """
        known = self.limits.get(sandbox_id)
        if not self._around or known is None or len(self._names) >= SPARES_MOST:
            return None
        spare = PREFIX + secrets.token_hex(8)
        steps = [*self._leaving(sandbox_id, spare, owner, known)]
        return Move(sandbox_id=sandbox_id, spare=spare, owner=owner, steps=steps)

    def _leaving(
        self, sandbox_id: str, spare: str, owner: int, limits: SandboxLimits
    ) -> Iterator[Step]:
        around = f"{self._around}/{sandbox_id}"
        yield "line", f"{around}/cgroup.events", "populated 0"
        yield from (("rmdir_if", f"{around}/{slot}") for slot in SLOTS)
        yield "rmdir", around
        for name, folder in self.trees.items():
            yield from _as_new(name, f"{folder}/{sandbox_id}", owner)
        yield self._has_share(sandbox_id, limits)
        for folder in (*self._others, self._memory):
            yield "rename", f"{folder}/{sandbox_id}", f"{folder}/{spare}"

    def left(self, move: Move, *, done: bool) -> None:
        """Whether those steps were taken; if not, or it isn't known, all have their names again."""
        if done:
            self._rename_limits(move.sandbox_id, move.spare)
            self._owners[move.spare] = move.owner
            self._names.append(move.spare)
            return
        for folder in (self._memory, *self._others):
            with contextlib.suppress(OSError):
                os.rename(f"{folder}/{move.spare}", f"{folder}/{move.sandbox_id}")

    def _forget(self, spare: str) -> None:
        self.limits.pop(spare, None)
        self._owners.pop(spare, None)

    def _rename_limits(self, old: str, new: str) -> None:
        if (known := self.limits.pop(old, None)) is not None:
            self.limits[new] = known

    def _are_as_new(self, sandbox_id: str) -> bool:
        groups = {name: f"{folder}/{sandbox_id}" for name, folder in self.trees.items()}
        slots = self._slots(groups)
        if any(_has_others(group) for group in groups.values()):
            return False
        for name, group in groups.items():
            whole = [*(f"{group}/{LEARNERS}/{slot}" for slot in slots), *_main(group)]
            if not self._is_empty(name, whole):
                return False
            if name == "memory" and not _memory_is_as_new(whole):
                return False
            if name == "pids" and any(_was_refused(each) for each in whole):
                return False
            if name == "cpuacct":
                put(f"{group}/{LEARNERS}/cpuacct.usage", "0")
            os.chown(f"{group}/{LEARNERS}", 0, 0)
        return True

    def _is_empty(self, name: str, whole: Sequence[str]) -> bool:
        if self._around and (name != "pids" or get(f"{whole[-1]}/pids.current") == "0\n"):
            return True
        return not any(_has_processes(each) for each in whole)

    def _slots(self, groups: Mapping[str, str]) -> list[str]:
        """The groups of executions, the same in all hierarchies; but for a few they are removed."""
        found = [path.rpartition("/")[2] for path in groups_in(f"{groups['memory']}/{LEARNERS}")]
        for extra in (name for name in found if name not in SLOTS):
            for group in groups.values():
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(f"{group}/{LEARNERS}/{extra}")
        return [name for name in found if name in SLOTS]

    def remove_all(self) -> None:
        """Remove every spare group, whoever laid it aside; not while anybody has sandboxes."""
        for folder in (self._memory, *self._others):
            with contextlib.suppress(OSError):
                groups = groups_in(folder)
                if all(_is_spare(group.rpartition("/")[2]) for group in groups):
                    self._names.clear()
                    self.limits.clear()
                    self._owners.clear()
                    for spare in groups:
                        _remove_spare(spare)


def _as_new(hierarchy: str, group: str, owner: int) -> Iterator[Step]:
    """Steps that fail for a group that can serve nobody else, and make it fit for that."""
    learners, agent, top = _main(group)
    yield "among", learners, *SLOTS
    if hierarchy == "memory":
        for slot in SLOTS:
            yield "line_if", f"{learners}/{slot}/memory.oom_control", "oom_kill 0"
        for each in (learners, agent, top):
            yield "line", f"{each}/memory.oom_control", "oom_kill 0"
        yield "most", f"{top}/memory.usage_in_bytes", str(_CHARGED_AT_THE_END)
    elif hierarchy == "pids":
        yield "line_soon", f"{top}/pids.current", "0"
        for each in (learners, agent, top):
            yield "line", f"{each}/pids.events", "max 0"
    elif hierarchy == "cpuacct":
        yield "put", f"{learners}/cpuacct.usage", "0"
    yield "hand", learners, str(0o700), str(owner)


def _is_spare(name: str) -> bool:
    return name.startswith(PREFIX)


def _is_there(name: str) -> bool:
    """Whether it can be taken."""
    return _is_spare(name) and not name.startswith(GOING)


def _main(group: str) -> tuple[str, str, str]:
    return f"{group}/{LEARNERS}", f"{group}/{AGENT}", group


def _has_others(group: str) -> bool:
    """Whether somebody else has made a group there: an engine that was in no hurry to remove that
    of a container."""
    return any(each.rpartition("/")[2] not in (AGENT, LEARNERS) for each in groups_in(group))


def _memory_is_as_new(whole: Sequence[str]) -> bool:
    if any(_oom_killed(each) for each in whole):
        return False
    _empty(whole[-1], _CHARGED_AT_THE_END)
    return True


def _has_processes(group: str) -> bool:
    with contextlib.suppress(FileNotFoundError):  # not all hierarchies have groups of executions
        return bool(get(f"{group}/cgroup.procs"))
    return False


def _oom_killed(group: str) -> bool:
    return "oom_kill 0" not in get(f"{group}/memory.oom_control")


def _was_refused(group: str) -> bool:
    with contextlib.suppress(FileNotFoundError):  # of the top, and before Linux 4.7
        return get(f"{group}/pids.events").strip() != "max 0"
    return False


def _empty(group: str, most: int) -> None:
    """Have what is charged to a group given back, if that is more; it takes 20 ms."""
    if int(get(f"{group}/memory.usage_in_bytes")) > most:
        put(f"{group}/memory.force_empty", "0")


def _remove_spare(group: str) -> None:
    """By another name, which nobody takes: else another server has what is half removed."""
    folder, _, name = group.rpartition("/")
    if _is_there(name):
        name = GOING + name.removeprefix(PREFIX)
        try:
            os.rename(group, f"{folder}/{name}")
        except OSError:  # somebody has it by now
            return
    _remove_tree(f"{folder}/{name}")


def _remove_tree(group: str) -> None:
    for each in tree(group):
        with contextlib.suppress(OSError):
            os.rmdir(each)
