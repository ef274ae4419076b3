"""Reads the texts of /proc and /etc: pure functions that take any text for what it may be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class MountPoint:
    """A line of /proc/self/mountinfo."""

    place: str
    kind: str
    options: frozenset[str]
    """Of the mount, such as "ro" and "noexec"."""
    own_options: frozenset[str]
    """Of the file system, such as the controllers of version 1, and "hidepid=2"."""


def mounts(text: str) -> list[MountPoint]:
    """The lines of /proc/self/mountinfo that make sense."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        first, last = before.split(), after.split()
        if len(first) < 6 or len(last) < 3:
            continue
        found.append(
            MountPoint(
                place=_unescaped(first[4]),
                kind=last[0],
                options=frozenset(first[5].split(",")),
                own_options=frozenset(last[2].split(",")),
            )
        )
    return found


def mount_of(path: str, mounted: Iterable[MountPoint]) -> MountPoint | None:
    """The mount that a path is on: the deepest, and of several there the last."""
    over = [
        mount
        for mount in mounted
        if path == mount.place or path.startswith(mount.place.rstrip("/") + "/")
    ]
    # `max` takes the first of equals, so the last one mounted is put first.
    return max(reversed(over), key=lambda mount: len(mount.place), default=None)


def fields(text: str) -> dict[str, str]:
    """Lines of the form "Name: value"."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def number(text: str | None, base: int = 10) -> int | None:
    """The first word as a number, or None."""
    words = (text or "").split()
    try:
        return int(words[0], base) if words else None
    except ValueError:
        return None


def hard_limit(text: str, name: str) -> int | None:
    """A line of /proc/self/limits, such as "Max open files": its hard limit, -1 for none."""
    for line in text.splitlines():
        words = line[len(name) :].split()
        if line.startswith(name) and len(words) >= 2:
            return -1 if words[1] == "unlimited" else number(words[1])
    return None


def own_group(text: str, controller: str = "") -> str | None:
    """The path of this process's group in /proc/self/cgroup: of version 2, or of a controller."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon and controller in controllers.split(","):
            return path
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class IdRange:
    """A line of /etc/subuid."""

    user: str
    first: int
    count: int


def id_ranges(text: str) -> list[IdRange]:
    """The lines of /etc/subuid or /etc/subgid that make sense."""
    found = []
    for line in text.splitlines():
        parts = line.split(":")
        if len(parts) == 3 and parts[1].isdecimal() and parts[2].isdecimal():
            found.append(IdRange(user=parts[0], first=int(parts[1]), count=int(parts[2])))
    return found


def user_name(passwd: str, uid: int) -> str | None:
    """Who has this uid, in the text of /etc/passwd."""
    for line in passwd.splitlines():
        parts = line.split(":")
        if len(parts) > 2 and parts[2] == str(uid):
            return parts[0]
    return None


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
