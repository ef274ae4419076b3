"""Writes what a machine begins with: an archive of cpio's "newc" format, as Linux unpacks it."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_MAGIC: Final = b"070701"
_END: Final = "TRAILER!!!"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A file, folder or device of it."""

    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder() -> Entry:
    """A folder that anybody may enter."""
    return Entry(mode=stat.S_IFDIR | 0o755)


def file(content: bytes, mode: int = 0o644) -> Entry:
    """A file."""
    return Entry(mode=stat.S_IFREG | mode, content=content)


def device(major: int, minor: int) -> Entry:
    """A character device."""
    return Entry(mode=stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: Mapping[str, Entry]) -> bytes:
    """The archive of these, by their paths without a leading slash; folders go before what is in
    them. The same entries give the same bytes."""
    return b"".join(_parts(entries))


def _parts(entries: Mapping[str, Entry]) -> Iterator[bytes]:
    for number, (path, entry) in enumerate(entries.items(), 1):
        yield from _part(number, path, entry)
    yield from _part(0, _END, Entry(mode=0))


def _part(number: int, path: str, entry: Entry) -> Iterator[bytes]:
    name = path.encode() + b"\0"
    fields = (
        number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, *entry.device, len(name), 0,
    )  # fmt: skip
    yield _padded(_MAGIC + b"".join(b"%08x" % field for field in fields) + name)
    yield _padded(entry.content)


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 4)
