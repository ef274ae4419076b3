"""`ideas`: what each idea for faster sandboxes saves on this machine, one at a time.

They are those of the literature: SOCK (bind mounts for union mounts, groups that are used again, no
needless network namespace), LightVM (prepare whatever does not depend on the request) and SAND (a
second program in the same sandbox).
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from assay.agent.native import program
from assay.agent.session import open_session
from assay.bench.figures import Distribution, Figure, Report, Unit
from assay.bench.subject import ENVIRONMENT, UNLIMITED, Progress, Subject, require_success
from assay.domain.command import Command
from assay.domain.errors import Unavailable

_TRUE: Final = Command(argv=("/usr/bin/true",), environment=ENVIRONMENT, limits=UNLIMITED)
_GROUPS: Final = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
_PAIRS: Final = (
    ("namespaces of every kind, with pivot_root and a program",
     "namespaces", "namespaces-without-network"),
    ("a folder shown by an overlay, with inodes of its own", "overlay", "bind"),
    ("a memory group, made and removed", "group-made-and-removed", "group-named"),
)  # fmt: skip
"""What is done, beside what an idea would do instead: bind mounts, no network, another name."""


async def measure(subjects: Sequence[Subject], *, repeats: int, progress: Progress) -> Report:
    """Time the kernel's part of each idea, and then whole sandboxes with and without it."""
    taken = await asyncio.to_thread(_kernels_part, subjects[0], repeats)
    figures = [
        Figure(
            driver="",
            name=name,
            unit=Unit.SECONDS,
            measured=Distribution.of(taken[done]),
            beside=Distribution.of(taken[instead]),
        )
        for name, done, instead in _PAIRS
        if taken.get(done) and taken.get(instead)
    ]
    for number, subject in enumerate(subjects):
        figures.append(await _again(subject, repeats))
        progress("a program in a fresh sandbox, and again", number + 1, len(subjects))
    return Report(
        name="ideas",
        title="What each idea saves",
        beside="instead",
        figures=tuple(figures),
    )


def _kernels_part(subject: Subject, repeats: int) -> Mapping[str, list[float]]:
    """Seconds of each operation, by the program `floor`'s names of them."""
    root = subject.root
    shown = root.mounts[0]
    group = next((path for path in _GROUPS if os.access(path, os.W_OK)), None)
    command: list[str | Path] = [
        program("floor"), "--ideas", str(repeats), root.path, shown.source,
        shown.target.lstrip("/"), _TRUE.argv[0], *([group] if group else []),
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise Unavailable("the kernel's part can't be measured here", detail=ended.stderr)
    seconds: dict[str, list[float]] = defaultdict(list)
    for line in ended.stdout.splitlines():
        name, nanoseconds = line.split()
        seconds[name].append(int(nanoseconds) / 1e9)
    return seconds


async def _again(subject: Subject, repeats: int) -> Figure:
    """A sandbox with one program in it, from nothing to nothing, beside a second program in it."""
    fresh: list[float] = []
    again: list[float] = []
    for done in range(repeats + 1):
        if done:  # the first finds nothing in the caches, and is before anything is prepared
            await subject.settle(1)
        began = time.perf_counter()
        async with open_session(subject.driver, subject.specification()) as session:
            require_success(await session.run(_TRUE), "true")
            second = time.perf_counter()
            require_success(await session.run(_TRUE), "true")
            ended = time.perf_counter()
        if done:
            again.append(ended - second)
            fresh.append(time.perf_counter() - began - (ended - second))
    return Figure(
        driver=subject.name,
        name="a sandbox for one program, made and destroyed",
        unit=Unit.SECONDS,
        measured=Distribution.of(fresh),
        beside=Distribution.of(again),
    )
