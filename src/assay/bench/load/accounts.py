"""What processes and sandboxes take of the machine, from /proc and control groups."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from assay.bench.host import (
    TICK,
    available_bytes,
    machine_seconds,
    processes_of,
    proportional_bytes,
)

_PROC: Final = Path("/proc")


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """Seconds of processor time so far."""

    own: float = 0.0
    """Of the process itself."""
    children: float = 0.0
    """Of those that it started and waited for."""

    def since(self, before: Spent) -> Spent:
        """What came to it."""
        return Spent(own=self.own - before.own, children=self.children - before.children)

    def __add__(self, other: Spent) -> Spent:
        return Spent(own=self.own + other.own, children=self.children + other.children)


def spent_by(pid: int) -> Spent:
    """Of a process; nothing for one that has ended."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return Spent()
    ticks = [int(ticks) for ticks in fields[11:15]]
    return Spent(own=(ticks[0] + ticks[1]) * TICK, children=(ticks[2] + ticks[3]) * TICK)


def resident_bytes(pid: int) -> int:
    """Memory of a process that is not shared with files; 0 for one that has ended."""
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Everything at one time."""

    server: Spent = Spent()
    generator: Spent = Spent()
    sandboxes: float | None = None
    machine: float = 0.0
    server_bytes: int = 0
    generator_bytes: int = 0
    available_bytes: int = field(default_factory=available_bytes)


def look(server: int | None, generator: int, sandboxes: Path | None, spent: Spent) -> Moment:
    """See what there is now. `sandboxes`: their group, if it is known; `spent`: by the server."""
    return Moment(
        server=spent,
        generator=spent_by(generator),
        sandboxes=None if sandboxes is None else group_seconds(sandboxes),
        machine=machine_seconds(),
        server_bytes=0 if server is None else resident_bytes(server),
        generator_bytes=resident_bytes(generator),
    )


def group_of_sandboxes(sandbox_ids: Collection[str]) -> Path | None:
    """The control group above all sandboxes, in the hierarchy that counts processor time."""
    for processes in processes_of(sandbox_ids).values():
        for pid in processes[:1]:
            with contextlib.suppress(OSError):
                return _above_sandboxes(pid, sandbox_ids)
    return None


def _above_sandboxes(pid: int, sandbox_ids: Collection[str]) -> Path | None:
    for line in (_PROC / str(pid) / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        mounted = _mounted(controllers)
        if mounted is None:
            continue
        parts = Path(path.lstrip("/")).parts
        for index, part in enumerate(parts):
            if part in sandbox_ids:
                group = mounted.joinpath(*parts[:index])
                if group_seconds(group) is not None:
                    return group
    return None


def _mounted(controllers: str) -> Path | None:
    """Where a hierarchy is; "" is that of version 2."""
    for line in (_PROC / "self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        place = before.split()[4]
        if controllers == "" and kind == "cgroup2":
            return Path(place)
        if (
            kind == "cgroup"
            and controllers
            and set(controllers.split(",")) <= set(options.split(","))
        ):
            return Path(place)
    return None


def group_seconds(group: Path) -> float | None:
    """Processor time of all in a control group so far; None where that is not known."""
    with contextlib.suppress(OSError, ValueError):
        return int((group / "cpuacct.usage").read_text()) / 1e9
    with contextlib.suppress(OSError, ValueError):
        for line in (group / "cpu.stat").read_text().splitlines():
            if line.startswith("usage_usec "):
                return int(line.split()[1]) / 1e6
    return None


def sandbox_bytes(sandbox_ids: Sequence[str]) -> list[int]:
    """Of each: its processes' memory, what is shared counted in part (PSS)."""
    return [
        sum(proportional_bytes(pid) for pid in processes)
        for processes in processes_of(sandbox_ids).values()
        if processes
    ]
