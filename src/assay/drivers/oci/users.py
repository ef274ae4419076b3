"""One range of user and group ids for each sandbox, so that none owns what is another's."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from assay.domain.errors import CapacityExceeded

WIDTH = 65536
FIRST = 1_879_048_192
"""Above what distributions, systemd and container managers give out, below 2**31."""
LAST = 2_147_352_576


class UserRanges:
    """Ranges that are taken: a symbolic link for each, from its number to its sandbox's id.

    Making the link is the one step that takes a range, so two servers can't take the same, and
    after a crash it still says whose it is.
    """

    def __init__(self, folder: Path, *, first: int = FIRST, last: int = LAST) -> None:
        self._folder = folder
        self._first = first
        self._count = (last - first) // WIDTH

    def take(self, sandbox_id: str) -> int:
        """The first id of a range that is now this sandbox's alone. Raises CapacityExceeded."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        start = secrets.randbelow(self._count)
        for step in range(self._count):
            number = (start + step) % self._count
            try:
                self._link(number).symlink_to(sandbox_id)
            except FileExistsError:
                continue
            return self._first + number * WIDTH
        raise CapacityExceeded(
            f"all {self._count} ranges of user ids are taken by sandboxes; destroy some"
        )

    def free(self, sandbox_id: str, first: int | None) -> None:
        """Give back a sandbox's range; `first` is None when nobody noted which."""
        if first is None:
            links = list(self._folder.glob("*"))
        else:
            links = [self._link((first - self._first) // WIDTH)]
        for link in links:
            with contextlib.suppress(FileNotFoundError):
                if str(link.readlink()) == sandbox_id:
                    link.unlink()

    def _link(self, number: int) -> Path:
        return self._folder / str(number)
