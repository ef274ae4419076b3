"""Entries: how the agent's own programs describe files and folders, with or without content."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from assay.agent import protocol as wire
from assay.domain.command import LEARNER_UID
from assay.domain.errors import FileError, InvalidInput

_HEADER: Final = struct.Struct("<cBHHHIIIQqI")
_END: Final = b"."
_AT_ONCE: Final = 256
_MOST_NAME: Final = 4096
END_OF_ENTRIES: Final = _HEADER.pack(_END, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


class EntryKind(StrEnum):
    """What an entry is; the letters are those of `ls -l`."""

    FILE = "-"
    FOLDER = "d"
    LINK = "l"
    PIPE = "p"
    SOCKET = "s"
    CHARACTER_DEVICE = "c"
    BLOCK_DEVICE = "b"


_KINDS: Final = {kind.value.encode(): kind for kind in EntryKind}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file, folder or other thing in a sandbox.

    `name` is relative to the root that was asked for and stays beneath it; bytes in it that are
    not UTF-8 are surrogates, as in the names that Python's `os` gives. `size` is in bytes.
    """

    name: str
    kind: EntryKind = EntryKind.FILE
    mode: int = 0o644
    uid: int = LEARNER_UID
    gid: int = LEARNER_UID
    size: int = 0
    modified_ns: int = 0
    link: str | None = None
    content: bytes | None = None


def entry_header(entry: Entry) -> bytes:
    """Encode an entry up to its content, of which `size` bytes must follow if it is a file."""
    name = _encode(entry.name)
    link = _encode(entry.link or "")
    if not name or max(len(name), len(link)) > _MOST_NAME or not 0 <= entry.size < 2**63:
        raise InvalidInput(f"{entry.name!r} cannot be the name of a file in a sandbox")
    header = _HEADER.pack(
        entry.kind.value.encode(),
        entry.kind is EntryKind.FILE and entry.content is not None,
        len(name),
        len(link),
        0,
        entry.mode & 0o7777,
        entry.uid,
        entry.gid,
        entry.size,
        entry.modified_ns,
        0,
    )
    return header + name + link


def _encode(name: str) -> bytes:
    try:
        encoded = name.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{name!r} is not valid text") from error
    if b"\0" in encoded:
        raise InvalidInput("the name of a file holds no NUL")
    return encoded


class EntryReader:
    """Cuts a stream of bytes into entries; holds no more than a chunk and a header.

    `source` yields bytes in pieces of any size. Raises ProtocolViolation when they are not a
    stream of entries, or end before its end, and FileError (E2BIG) beyond `most` entries or
    `most_bytes` bytes of them, content not counted.
    """

    def __init__(
        self, source: AsyncIterator[bytes], *, most: int = 2**62, most_bytes: int = 2**62
    ) -> None:
        self._source = source
        self._most = most
        self._most_bytes = most_bytes
        self._count = 0
        self._bytes = 0
        self._have = b""
        self._content_left = 0
        self._ended = False

    async def next(self) -> tuple[Entry, bool] | None:
        """Return the next entry and whether content follows; None behind the last one.

        Content of the entry before that was not read is skipped.
        """
        async for _ in self.content():
            pass
        if self._ended:
            return None
        header = _HEADER.unpack(await self._exactly(_HEADER.size))
        kind, follows, name_length, link_length, zero, *numbers, zero_too = header
        if zero or zero_too or follows > 1 or max(name_length, link_length) > _MOST_NAME:
            raise wire.violation("an entry that does not parse")
        if kind == _END:
            self._ended = True
            return None
        await self._count_one(_HEADER.size + name_length + link_length)
        name = await self._exactly(name_length)
        link = await self._exactly(link_length)
        entry = _entry(kind, name, link, numbers)
        if follows:
            self._content_left = entry.size
        return entry, bool(follows)

    async def content(self) -> AsyncIterator[bytes]:
        """Yield what is left of the content of the entry that `next` returned."""
        while self._content_left:
            if not self._have:
                self._have = await self._more()
            piece = self._have[: self._content_left]
            self._have = self._have[len(piece) :]
            self._content_left -= len(piece)
            yield piece

    async def _count_one(self, size: int) -> None:
        self._count += 1
        self._bytes += size
        if self._count > self._most:
            raise FileError(f"more than {self._most:,} files", reason="E2BIG")
        if self._bytes > self._most_bytes:
            message = f"the list of files has more than {self._most_bytes:,} bytes"
            raise FileError(message, reason="E2BIG")
        if self._count % _AT_ONCE == 0:
            # Entries that have all come already must not keep the event loop from others.
            await asyncio.sleep(0)

    async def _exactly(self, count: int) -> bytes:
        while len(self._have) < count:
            self._have += await self._more()
        piece, self._have = self._have[:count], self._have[count:]
        return piece

    async def _more(self) -> bytes:
        async for piece in self._source:
            return piece
        raise wire.violation("the stream of entries was cut")


def _entry(kind: bytes, name: bytes, link: bytes, numbers: list[int]) -> Entry:
    mode, uid, gid, size, modified_ns = numbers
    if kind not in _KINDS or mode > 0o7777 or size >= 2**63:
        raise wire.violation("an entry that makes no sense")
    if not name or b"\0" in name + link or name.startswith(b"/") or b".." in name.split(b"/"):
        raise wire.violation("an entry whose name leads out of its root")
    return Entry(
        name=name.decode("utf-8", errors="surrogateescape"),
        kind=_KINDS[kind],
        mode=mode,
        uid=uid,
        gid=gid,
        size=size,
        modified_ns=modified_ns,
        link=link.decode("utf-8", errors="surrogateescape") if kind == b"l" else None,
    )
