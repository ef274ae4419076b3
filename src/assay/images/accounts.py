"""Who an image's programs run as: its USER, by its own /etc/passwd and /etc/group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from assay.domain.command import LEARNER_UID
from assay.domain.errors import InvalidImage
from assay.images.beneath import open_in, read_whole

_MOST_BYTES: Final = 1024 * 1024
_LARGEST: Final = 65533
"""The last id that can be a learner's: 65534 is nobody, what isn't known is shown as."""


def resolve_user(user: str, root: int, where: str) -> tuple[int, int]:
    """The numbers of the user and the group for USER as it is written; `root` is open.

    Nobody in particular, root and nobody (65534) are the learner. A group that is root's, or
    isn't said, has the user's own number. Raises InvalidImage.
    """
    name, _, group = user.partition(":")
    number, own_group = _user(name, root, where)
    if number in (0, 65534):
        return LEARNER_UID, LEARNER_UID
    if not 1 <= number <= _LARGEST:
        raise InvalidImage(f"{where}: its USER {user[:80]!r} is {number}; the last is {_LARGEST}")
    found = _group(group, root, where) if group else own_group
    return number, found if 1 <= found <= _LARGEST else number


def _user(name: str, root: int, where: str) -> tuple[int, int]:
    if not name:
        return 0, 0
    for found, number, group in _accounts(root, "etc/passwd", where):
        if found == name or (name.isdecimal() and str(number) == name):
            return number, group
    if _is_number(name):
        return int(name), 0
    raise InvalidImage(f"{where}: its USER {name[:80]!r} is not in its /etc/passwd")


def _group(name: str, root: int, where: str) -> int:
    if _is_number(name):
        return int(name)
    for found, number, _ in _accounts(root, "etc/group", where):
        if found == name:
            return number
    raise InvalidImage(f"{where}: the group {name[:80]!r} of its USER is not in its /etc/group")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10


def _accounts(root: int, path: str, where: str) -> Iterator[tuple[str, int, int]]:
    """Each line that makes sense: the name, its number, and what comes after (a user's group)."""
    for line in _read(root, path, where).decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if len(fields) < 3 or not _is_number(fields[2]):
            continue
        group = fields[3] if len(fields) > 3 and _is_number(fields[3]) else "0"
        yield fields[0], int(fields[2]), int(group)


def _read(root: int, path: str, where: str) -> bytes:
    try:
        file = open_in(root, os.fsencode(path), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    content = read_whole(file, _MOST_BYTES)
    if content is None:
        raise InvalidImage(f"{where}: its /{path} is no file of a sensible size")
    return content
