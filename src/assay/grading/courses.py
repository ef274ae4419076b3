"""The courses that a server offers: folders, which their teachers may change at any time."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import InvalidTask, NotFound
from assay.grading.kinds import Kinds
from assay.grading.offered import Offered, OfferedCourse
from assay.grading.versions import Versions

SECONDS_BETWEEN_LOOKS: Final = 2.0
_log: Final = logging.getLogger("assay")
_Seen = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Known:
    course: OfferedCourse
    seen: _Seen


class Courses:
    """Read at the start, and again when anything in their folders has changed."""

    def __init__(
        self, folders: Sequence[Path], versions: Versions, kinds: Kinds | None = None
    ) -> None:
        self.kinds = kinds or Kinds()
        self._folders = folders
        self._versions = versions
        self._known: dict[Path, _Known] = {}
        self._told: dict[Path, str] = {}

    async def load(self) -> None:
        """Read what is new. Raises InvalidTask for a folder that is no course."""
        for folder in self._folders:
            seen = await asyncio.to_thread(_look, folder)
            known = self._known.get(folder)
            if known is None or known.seen != seen:
                read = await asyncio.to_thread(self.kinds.course, folder)
                self._known[folder] = _Known(read, seen)
        self._require_different()

    def _require_different(self) -> None:
        names = [known.course.id for known in self._known.values()]
        for name in names:
            if names.count(name) > 1:
                raise InvalidTask(f"two folders of courses are called {name!r}: rename one")

    async def follow(self) -> None:
        """Look for changes until cancelled. What is wrong then is logged; the old stays."""
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            try:
                await self.load()
            except InvalidTask as error:
                _log.error("a course cannot be read any more: %s", error.message)

    def all(self) -> list[OfferedCourse]:
        """All of them, by their ids."""
        return sorted((known.course for known in self._known.values()), key=lambda each: each.id)

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
