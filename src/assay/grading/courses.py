"""The courses that a server offers: folders, which their teachers may change at any time."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import AssayError, InvalidTask, NotFound
from assay.grading.kinds import Kinds, holds_course
from assay.grading.offered import Offered, OfferedCourse
from assay.grading.versions import Versions

SECONDS_BETWEEN_LOOKS: Final = 2.0
SECONDS_UNTIL_READ_AGAIN: Final = 60.0
"""For a course that could not be read, though its files are as they were."""
_log: Final = logging.getLogger("assay")
_Seen = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Tried:
    """The last time that a folder was read."""

    seen: _Seen
    again_at: float
    """By the monotonic clock: when it is read again even if nothing has changed."""

    @property
    def good(self) -> bool:
        """Whether it could be read."""
        return self.again_at == math.inf


class Courses:
    """Read at the start, and again when anything in their folders has changed."""

    def __init__(
        self, folders: Sequence[Path], versions: Versions, kinds: Kinds | None = None
    ) -> None:
        self.kinds = kinds or Kinds()
        self._folders = folders
        self._versions = versions
        self._known: dict[Path, OfferedCourse] = {}
        self._tried: dict[Path, _Tried] = {}
        self._told: dict[Path, str] = {}

    async def load(self) -> None:
        """Read what is new. Raises InvalidTask for a folder that is no course, and for two that are
        called the same.

        A course that is there and can't be read is offered without any task, until it can be.
        """
        self._tried = {path: each for path, each in self._tried.items() if each.good}
        for folder in self._folders:
            try:
                await self._read(folder)
            except (InvalidTask, OSError) as error:
                if folder in self._known or not await asyncio.to_thread(_is_there, folder, error):
                    raise
                self._require_different(folder, folder.absolute().name)
                self._known[folder] = _broken(folder, error)

    async def _read(self, folder: Path) -> None:
        """Unless nothing has changed. What was seen is kept even if it can't be read."""
        seen = await asyncio.to_thread(_look, folder)
        tried = self._tried.get(folder)
        if tried is not None and tried.seen == seen and time.monotonic() < tried.again_at:
            return
        self._tried[folder] = _Tried(seen, time.monotonic() + SECONDS_UNTIL_READ_AGAIN)
        read = await asyncio.to_thread(self.kinds.course, folder)
        self._require_different(folder, read.id)
        self._known[folder] = read
        self._tried[folder] = _Tried(seen, math.inf)
        self._told.pop(folder, None)

    def _require_different(self, folder: Path, name: str) -> None:
        if any(each != folder and known.id == name for each, known in self._known.items()):
            raise InvalidTask(f"two folders of courses are called {name!r}: rename one")

    async def follow(self) -> None:
        """Look for changes until cancelled. What is wrong then is logged; the old stays."""
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            for folder in self._folders:
                try:
                    await self._read(folder)
                except Exception as error:  # whatever it is: other courses go on changing
                    self._tell(folder, error)

    def _tell(self, folder: Path, error: Exception) -> None:
        """Once for each message."""
        expected = isinstance(error, AssayError)
        text = error.message if isinstance(error, AssayError) else f"{folder}: {error!r}"
        if self._told.get(folder) == text:
            return
        self._told[folder] = text
        shown = text.encode(errors="backslashreplace").decode()
        cause = None if expected else error
        _log.error("a course cannot be read: %s", shown, exc_info=cause)

    def all(self) -> list[OfferedCourse]:
        """All of them, by their ids."""
        return sorted(self._known.values(), key=lambda each: each.id)

    def get(self, course: str) -> OfferedCourse:
        """One of them. Raises NotFound."""
        for each in self.all():
            if each.id == course:
                return each
        raise NotFound(f"there is no course {course[:80]!r}")

    def task(self, course: str, task: str) -> Offered:
        """A task as it is now. Raises NotFound, and InvalidTask where it can't be read."""
        for each in self.get(course).tasks:
            if each.id == task:
                return each
        raise NotFound(f"the course {course} has no task {task[:80]!r}")

    def keep(self, task: Offered) -> None:
        """Have this version from now on, whatever becomes of the folder."""
        for bundle in reversed(task.bundles):  # the one that names the others is the last
            self._versions.keep(bundle)

    def version(self, course: str, task: str, digest: str) -> Offered:
        """A task as it was when it had this digest. Raises GradingLost, InvalidTask."""
        try:
            now = self.task(course, task)
            if now.bundles[0].digest == digest:
                return now
        except NotFound:
            pass
        bundle = self._versions.get(digest)
        return self.kinds.version(bundle, self._versions.get, Path(course) / task)


def _is_there(folder: Path, error: Exception) -> bool:
    """Whether a folder that can't be read is a course all the same."""
    if not folder.absolute().name.isprintable():
        return False
    try:
        return holds_course(folder) or isinstance(error.__cause__, PermissionError)
    except OSError:
        return True


def _broken(folder: Path, error: Exception) -> OfferedCourse:
    """One of which nothing is known but its name."""
    name = folder.absolute().name
    why = error.message if isinstance(error, InvalidTask) else f"{folder}: {error}"
    shown = why.encode(errors="backslashreplace").decode()
    problem = InvalidTask(f"the course can't be read: {shown}")
    return OfferedCourse(id=name, title=name, broken=(problem,))


def _look(folder: Path) -> _Seen:
    """What changes when anything in a folder does. Files that go meanwhile are not there."""
    seen = []
    for path, _, files in os.walk(folder):
        for name in files:
            try:
                found = os.lstat(f"{path}/{name}")
            except OSError:
                continue
            seen.append((f"{path}/{name}", found.st_mtime_ns, found.st_size))
    return tuple(sorted(seen))
