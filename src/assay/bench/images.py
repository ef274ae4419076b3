"""`images`: sandboxes of images beside those of `host`, and what many images have in common."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from assay.agent.native import program
from assay.agent.session import Session, open_session
from assay.bench import host
from assay.bench.figures import Check, Distribution, Figure, Report, Unit, at_most_times
from assay.bench.sample_images import Item, essential_system, write_layout
from assay.bench.subject import UNLIMITED, Progress, Subject, require_success
from assay.domain.command import Command
from assay.driver.port import RootFilesystem
from assay.images import Images

IMAGES: Final = 20
SANDBOXES: Final = 500
_AT_ONCE: Final = 16
_DATA_BYTES: Final = 1024 * 1024
_OWN_BYTES: Final = 64 * 1024
_MOST_IDLE_BYTES: Final = 1.2e6
_STATIC: Final = "one static program"
_SYSTEM: Final = "a Debian system"


async def measure(
    subjects: Sequence[Subject],
    *,
    repeats: int,
    progress: Progress,
    images: int = IMAGES,
    sandboxes: int = SANDBOXES,
    system: bool = True,
) -> Report:
    """Make images of this machine's own files, of all of its `system` too, and sandboxes of them.

    Sandboxes of each image and of the machine's own programs take turns, `repeats` times; then
    there are `sandboxes` at once, of `images` images that have everything but a file in common.
    """
    with tempfile.TemporaryDirectory(prefix="assay-bench-images-") as folder:
        store = _Store(Path(folder), essential_system() if system else None)
        roots = await asyncio.to_thread(store.different)
        figures = [
            figure
            for subject in subjects
            for figure in await _creation(subject, roots, repeats, progress)
        ]
        kin = await asyncio.to_thread(store.kin, images, progress)
        figures.append(_on_disk(kin))
        for subject in subjects:
            figures += await _many(subject, kin, sandboxes, progress)
    return Report(
        name="images",
        title="Sandboxes of images, and what images have in common",
        beside="host, or one",
        figures=tuple(figures),
    )


class _Store:
    """Images in a folder of their own."""

    def __init__(self, folder: Path, system: Sequence[Item] | None) -> None:
        folder.chmod(0o755)
        self._folder = folder
        self._images = Images(folder / "store")
        self._system = system

    def different(self) -> dict[str, RootFilesystem]:
        """The smallest image that there can be, and (on Debian or Ubuntu) a whole system."""
        made = {_STATIC: self._made(_STATIC, [_program()])}
        if self._system is not None:
            made[_SYSTEM] = self._made(_SYSTEM, self._system)
        return made

    def kin(self, count: int, progress: Progress) -> list[RootFilesystem]:
        """So many images, the same but for one file."""
        data = Item(path="/data", content=os.urandom(_DATA_BYTES), mode=0o644)
        base = [*(self._system or ()), _program(), data]
        made = []
        for number in range(count):
            own = Item(path="/own", content=os.urandom(_OWN_BYTES), mode=0o644)
            made.append(self._made(f"kin {number}", base, [own]))
            progress("images", number + 1, count)
        return made

    def _made(self, name: str, *layers: Sequence[Item]) -> RootFilesystem:
        layout = self._folder / name.replace(" ", "-")
        return self._images.pull(write_layout(layout, layers)).root


def _program() -> Item:
    return Item(path="/probe", content=program("probe").read_bytes())


# --- one by one ----------------------------------------------------------------------------------


async def _creation(
    subject: Subject, roots: Mapping[str, RootFilesystem], repeats: int, progress: Progress
) -> list[Figure]:
    seconds: dict[str, list[float]] = {name: [] for name in ("host", *roots)}
    for done in range(-1, repeats):
        # The first round finds nothing in the caches and does not count.
        for name, root in {"host": subject.root, **roots}.items():
            started = time.perf_counter()
            async with open_session(subject.driver, _of(subject, root).specification()):
                if done >= 0:
                    seconds[name].append(time.perf_counter() - started)
        progress("one by one", done + 1, repeats)
    beside = Distribution.of(seconds["host"])
    return [
        Figure(
            driver=subject.name,
            name=f"create, of {name}",
            unit=Unit.SECONDS,
            measured=(measured := Distribution.of(seconds[name])),
            beside=beside,
            checks=(at_most_times(1.1, measured, beside, beside="host"),),
        )
        for name in roots
    ]


def _of(subject: Subject, root: RootFilesystem) -> Subject:
    return replace(subject, root=root)


# --- what they share -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _File:
    """What makes two names one file."""

    device: int
    inode: int


def _files(root: RootFilesystem) -> Iterator[tuple[_File, Path, os.stat_result]]:
    for folder, _, names in os.walk(root.path):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            facts = path.lstat()
            yield _File(facts.st_dev, facts.st_ino), path, facts


def _disk_bytes(roots: Sequence[RootFilesystem]) -> int:
    """What files and folders take up, each counted once."""
    sizes = {file: facts.st_blocks * 512 for root in roots for file, _, facts in _files(root)}
    return sum(sizes.values())


def _cached_bytes(roots: Sequence[RootFilesystem]) -> int:
    """What is in the page cache of the two files that programs have read, each counted once."""
    files = {}
    for path in (root.path / name for root in roots for name in ("probe", "data")):
        facts = path.stat()
        files[_File(facts.st_dev, facts.st_ino)] = path
    return sum(host.cached_bytes(path) for path in files.values())


def _on_disk(kin: Sequence[RootFilesystem]) -> Figure:
    all_of_them, one = _disk_bytes(kin), _disk_bytes(kin[:1])
    return Figure(
        driver="",
        name=f"{len(kin)} images on disk",
        unit=Unit.BYTES,
        measured=Distribution.of([all_of_them]),
        beside=Distribution.of([one]),
        checks=(
            Check(
                promise=f"≤ 0.1 × {len(kin)} apart",
                value=all_of_them / (one * len(kin)),
                limit=max(0.1, 1.2 / len(kin)),
            ),
        ),
    )


async def _many(
    subject: Subject, kin: Sequence[RootFilesystem], count: int, progress: Progress
) -> list[Figure]:
    before = await host.settled_available_bytes()
    async with _sessions(subject, kin, count, progress) as sessions:
        await _read_all(sessions, progress)
        idle = await host.settled_available_bytes()
        everywhere, one = _cached_bytes(kin), _cached_bytes(kin[:1])
    without = (before + await host.settled_available_bytes()) / 2
    each = Distribution.of([(without - idle) / count])
    return [
        Figure(
            driver=subject.name, name=f"page cache of what {count} sandboxes read",
            unit=Unit.BYTES,
            measured=Distribution.of([everywhere]), beside=Distribution.of([one]),
            checks=(Check(promise="≤ 1.05 × one", value=everywhere / max(one, 1), limit=1.05),),
        ),
        Figure(
            driver=subject.name, name=f"a sandbox that has read it (of {count})",
            unit=Unit.BYTES, measured=each,
            checks=(Check(promise="≤ 1.2 MB in all", value=each.median, limit=_MOST_IDLE_BYTES,
                          unit=Unit.BYTES),),
        ),
    ]  # fmt: skip


@contextlib.asynccontextmanager
async def _sessions(
    subject: Subject, kin: Sequence[RootFilesystem], count: int, progress: Progress
) -> AsyncIterator[list[Session]]:
    stacks: list[contextlib.AsyncExitStack] = []
    limit = asyncio.Semaphore(_AT_ONCE)

    async def enter(number: int) -> Session:
        async with limit:
            stack = contextlib.AsyncExitStack()
            stacks.append(stack)
            wanted = _of(subject, kin[number % len(kin)]).specification()
            session = await stack.enter_async_context(open_session(subject.driver, wanted))
            progress("many at once", len(stacks), count)
            return session

    async def leave(stack: contextlib.AsyncExitStack) -> None:
        async with limit:
            await stack.aclose()

    tasks = [asyncio.ensure_future(enter(number)) for number in range(count)]
    try:
        yield list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*map(leave, stacks))


async def _read_all(sessions: Sequence[Session], progress: Progress) -> None:
    """Every sandbox starts the image's program, which reads the image's data."""
    command = Command(argv=("/probe", "read", "/data"), limits=UNLIMITED)
    for number, session in enumerate(sessions):
        completed = require_success(await session.run(command), "/probe read /data")
        assert len(completed.stdout) >= _DATA_BYTES
        progress("reading", number + 1, len(sessions))
