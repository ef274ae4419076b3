"""What the kernel says of this process, of sandboxes and of the machine."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import mmap
import os
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_STILL_BYTES: Final = 1024 * 1024
_SECONDS_TO_SETTLE: Final = 3.0
_SECONDS_BETWEEN_LOOKS: Final = 0.3
TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds, in which the kernel counts processor time."""
_REST: Final = 0.1
"""Of all processors' time: with less than that in use, a machine is at rest."""
_SECONDS_OF_REST: Final = 0.1


def available_bytes() -> int:
    """Memory of the machine that programs could still get."""
    return _kilobytes(_PROC / "meminfo", "MemAvailable")


async def settled_available_bytes() -> int:
    """The same once it stands still, for the kernel frees what has ended seconds later.

    On a machine that never rests: what it is after three seconds.
    """
    available = available_bytes()
    for _ in range(round(_SECONDS_TO_SETTLE / _SECONDS_BETWEEN_LOOKS)):
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        before, available = available, available_bytes()
        if abs(available - before) < _STILL_BYTES:
            break
    return available


def machine_seconds() -> float:
    """Processor time of the whole machine so far: all that was not idle."""
    ticks = [int(word) for word in (_PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) * TICK


async def rest(most_seconds: float) -> None:
    """Wait until the machine is at rest: the kernel still clears away what has ended.

    On one that never rests: for so long.
    """
    enough = _REST * _SECONDS_OF_REST * len(os.sched_getaffinity(0))
    for _ in range(round(most_seconds / _SECONDS_OF_REST)):
        before = machine_seconds()
        await asyncio.sleep(_SECONDS_OF_REST)
        if machine_seconds() - before <= enough:
            break


def own_bytes() -> int:
    """Memory of this process that is not shared with files."""
    return _kilobytes(_PROC / "self/status", "RssAnon")


def give_back_memory() -> None:
    """Return to the kernel what this process has freed, so that what is left is in use."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others keep less anyway
    if trim is not None:
        trim(0)


def own_descriptors() -> int:
    """Open files of this process."""
    return len(list(Path("/proc/self/fd").iterdir())) - 1  # that of the listing itself


def own_threads() -> int:
    """Threads of this process."""
    return len(list(Path("/proc/self/task").iterdir()))


def processes_of(sandbox_ids: Collection[str]) -> dict[str, list[int]]:
    """The host's process ids in sandboxes, by the ids in the names of their control groups.

    The first of each is process 1, the agent; empty where processes are not the host's.
    """
    found: dict[str, list[int]] = {sandbox_id: [] for sandbox_id in sandbox_ids}
    for pid in (int(path.name) for path in _PROC.iterdir() if path.name.isdigit()):
        with contextlib.suppress(OSError):
            groups = (_PROC / str(pid) / "cgroup").read_text()
            for owner in _named(found, groups):
                place = 0 if _is_first(pid) else len(found[owner])
                found[owner].insert(place, pid)
    return found


def processor_seconds(pids: Collection[int]) -> float:
    """What these processes have taken of all processors together; those that are gone, nothing."""
    taken = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in (_PROC / str(pid) / "task").iterdir():
                with contextlib.suppress(OSError):
                    taken += int((task / "schedstat").read_text().split()[0])
    return taken / 1e9


def processes_named(names: Collection[str]) -> list[int]:
    """The host's processes with one of these in their arguments or control groups, but for ours."""
    found = []
    for pid in (int(path.name) for path in _PROC.iterdir() if path.name.isdigit()):
        with contextlib.suppress(OSError):
            folder = _PROC / str(pid)
            text = (folder / "cgroup").read_text() + (folder / "cmdline").read_text(
                errors="replace"
            )
            if pid != os.getpid() and any(_named(names, text)):
                found.append(pid)
    return found


def keepers_of(pids: Collection[int]) -> list[int]:
    """Processes that each have started one of these and no other, such as a container's shim.

    Neither the machine's process 1 nor ours, nor what we have started: those are there for all.
    """
    parents = Counter(parent for pid in pids if (parent := _parent(pid)) > 1)
    ours = os.getpid()
    return [pid for pid, count in parents.items()
            if count == 1 and ours not in (pid, _parent(pid))]  # fmt: skip


def _parent(pid: int) -> int:
    """0 for a process that has ended."""
    with contextlib.suppress(OSError):
        status = (_PROC / str(pid) / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("PPid:"))
    return 0


def _is_first(pid: int) -> bool:
    """Whether it is process 1 of a process namespace."""
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return line.split()[-1] == "1"
    return False


def proportional_bytes(pid: int) -> int:
    """Memory of a process; what it shares counts for each of those who share it in part.

    0 for a process that has ended.
    """
    try:
        return _kilobytes(_PROC / str(pid) / "smaps_rollup", "Pss")
    except (OSError, LookupError):
        return 0


def mounts_of(sandbox_ids: Collection[str]) -> int:
    """The host's mounts that bear the name of a sandbox."""
    table = (_PROC / "self/mountinfo").read_text().splitlines()
    return sum(1 for line in table for _ in _named(sandbox_ids, line))


def mounts_seen_by(pid: int) -> int:
    """Mounts in a process's own mount namespace; 0 for a process that has ended."""
    try:
        return len((_PROC / str(pid) / "mountinfo").read_text().splitlines())
    except OSError:
        return 0


def groups_of(sandbox_ids: Collection[str]) -> int:
    """Control groups of sandboxes, in all hierarchies together."""
    return sum(1 for folder, _, _ in os.walk(_CGROUPS) for _ in _named(sandbox_ids, folder))


def _named(sandbox_ids: Collection[str], text: str) -> Iterator[str]:
    return (sandbox_id for sandbox_id in sandbox_ids if sandbox_id in text)


def _kilobytes(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise LookupError(f"{file} has no {name}")


def cached_bytes(file: Path) -> int:
    """What of a file is in the page cache; asking reads nothing of it."""
    size = file.stat().st_size
    if size == 0:
        return 0
    with file.open("rb") as opened:
        # A copy on write, and none is made: Python tells no address of what is read-only.
        shown = mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_COPY)
    first = ctypes.c_char.from_buffer(shown)
    try:
        pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        mincore = ctypes.CDLL(None, use_errno=True).mincore
        if mincore(ctypes.byref(first), ctypes.c_size_t(size), pages) != 0:
            raise OSError(ctypes.get_errno(), "mincore", str(file))
        return sum(page & 1 for page in pages) * mmap.PAGESIZE
    finally:
        del first
        shown.close()
