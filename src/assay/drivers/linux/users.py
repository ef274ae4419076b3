"""User and group ids: which we may give to sandboxes, and which each of them has.

Root gives every sandbox a range of its own, so that none owns what is another's. An ordinary user
has just one: what /etc/subuid and /etc/subgid give them, seen from a user namespace in which they
are root. All their sandboxes have that one, but each begins somewhere else in it and goes round at
its end: user 10001 of one is another's 12321, whom nobody uses. What the kernel counts for a user
(pipes, files in flight, epoll) is then a sandbox's own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import CapacityExceeded

WIDTH = 65536
FIRST = 1_879_048_192
"""Above what distributions, systemd and container managers give out, below 2**31."""
LAST = 2_147_352_576


APART: Final = WIDTH + 1
"""Between the beginnings of two ranges of root's. The kernel finds users by a sum of a number's
lowest bits and the next ones; were they the same in all sandboxes, all learners would be in one
list, and each change of user would look through it."""
STEP: Final = 16
"""Between the beginnings of two sandboxes in the one range of an ordinary user. The users of a
sandbox that do anything (0, 10001, 65534) are no multiple of it apart, so none is another's."""
EVERY_ID: Final = 4_294_967_295


@dataclass(frozen=True, kw_only=True, slots=True)
class Ids:
    """The ids that this process may use: those of its user namespace."""

    user: int
    """Our user id, as the machine knows us."""
    rootless: bool
    """We are not the machine's root, whatever we are called in our user namespace."""
    count: int
    """How many ids there are from 1 on, without a gap, of users and of groups."""

    @property
    def enough(self) -> bool:
        """Whether a sandbox can have all the ids that it may know of."""
        return not self.rootless or self.count >= WIDTH


def read_ids() -> Ids:
    """Those of this process."""
    users, groups = (Path("/proc/self", name).read_text() for name in ("uid_map", "gid_map"))
    return parse_ids(users, groups, os.geteuid())


def parse_ids(users: str, groups: str, user: int) -> Ids:
    """From the texts of /proc/self/uid_map and gid_map; `user` as we are called ourselves."""
    extents = _extents(users)
    everything = [(0, 0, EVERY_ID)]
    outside = [there + user - here for here, there, count in extents if here <= user < here + count]
    return Ids(
        user=outside[0] if outside else user,
        rootless=user != 0 or extents != everything,
        count=min(_from_one_on(extents), _from_one_on(_extents(groups))),
    )


def _extents(text: str) -> list[tuple[int, int, int]]:
    """Lines of the first id here, the first id outside, and how many there are."""
    lines = (tuple(map(int, line.split())) for line in text.splitlines())
    return sorted((here, there, count) for here, there, count in lines)


def _from_one_on(extents: Sequence[tuple[int, int, int]]) -> int:
    end = 1
    for here, _, count in extents:
        if here <= end:
            end = max(end, here + count)
    return end - 1


def host_id(first: int, user: int) -> int:
    """Who the user of a sandbox is for us, where the sandbox's root is `first`."""
    if first == 0 or first > WIDTH:  # 0: there is no user namespace
        return first + user
    return 1 + (first - 1 + user) % WIDTH


def extents(first: int) -> list[tuple[int, int, int]]:
    """The same for all: the first id in the sandbox, who that is for us, and how many follow."""
    if first == 1 or first > WIDTH:
        return [(0, first, WIDTH)]
    until_the_end = WIDTH - first + 1
    return [(0, first, until_the_end), (until_the_end, 1, WIDTH - until_the_end)]


class UserRanges:
    """Ranges that are taken: a symbolic link for each, from its number to its sandbox's id.

    Making the link is the one step that takes a range, so two servers can't take the same, and
    after a crash it still says whose it is.

    With `shared` they overlap, `step` apart, in the one range of an ordinary user. The first is
    everybody's who finds no other, and of those whose image has files that belong to its ids.
    """

    def __init__(
        self, folder: Path, *, first: int = FIRST, last: int = LAST, shared: bool = False
    ) -> None:
        self._folder = folder
        self._first = first
        self._step = STEP if shared else APART
        self._count = (last - first) // self._step
        self._own = range(1 if shared else 0, self._count)
        self._shared = shared

    def take(self, sandbox_id: str, *, owners: bool = False) -> int:
        """The first id of a range that is now this sandbox's. Raises CapacityExceeded."""
        if self._shared and owners:
            return self._first
        start = secrets.randbelow(len(self._own))
        for step in range(len(self._own)):
            number = self._own[(start + step) % len(self._own)]
            if self._linked(number, sandbox_id):
                return self._first + number * self._step
        if self._shared:
            return self._first
        raise CapacityExceeded(
            f"all {self._count} ranges of user ids are taken by sandboxes; destroy some"
        )

    def free(self, sandbox_id: str, first: int | None) -> None:
        """Give back a sandbox's range; `first` is None when nobody noted which."""
        if first is None:
            links = [f"{link}" for link in self._folder.glob("*")]
        else:
            links = [self._link((first - self._first) // self._step)]
        for link in links:
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(link) == sandbox_id:
                    os.unlink(link)

    def taking(self, sandbox_id: str, first: int) -> list[tuple[str, ...]]:
        """The step that takes a certain range; it fails if that is another's."""
        return [("link", self._link((first - self._first) // self._step), sandbox_id)]

    def leaving(self, sandbox_id: str, first: int) -> list[tuple[str, ...]]:
        """The steps that free a range, which fail if it is another's; see stage.py."""
        link = self._link((first - self._first) // self._step)
        return [("points", link, sandbox_id), ("unlink", link)]

    def _linked(self, number: int, sandbox_id: str) -> bool:
        """Whether a range that was nobody's is this sandbox's now."""
        link = self._link(number)
        for _ in range(2):
            try:
                os.symlink(sandbox_id, link)
            except FileExistsError:
                return False
            except FileNotFoundError:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            else:
                return True
        return False

    def _link(self, number: int) -> str:
        return f"{self._folder}/{number}"
