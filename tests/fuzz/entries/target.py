"""A listing or an archive that a hostile agent sends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from pathlib import PurePosixPath
from typing import Any, TypeVar

from assay.agent.entries import Entry, EntryReader
from assay.domain.errors import FileError, ProtocolViolation

T = TypeVar("T")

MOST, MOST_BYTES = 50, 4000


def fuzz(data: bytes) -> None:
    """The first byte says how the others are cut; however that is, the entries are the same."""
    if not data:
        return
    size, data = data[0] + 1, data[1:]
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    found = to_its_end(read(pieces))
    assert found == to_its_end(read([data])), "entries depend on how the stream is cut"
    assert sum(len(content) for _, content in found) <= len(data)
    assert len(found) <= MOST
    for entry, content in found:
        check(entry, content)


def check(entry: Entry, content: bytes) -> None:
    path = PurePosixPath("/root") / entry.name
    assert ".." not in path.parts, "a name that leads out"
    assert path.is_relative_to("/root"), "a name that leads out"
    assert "\0" not in entry.name + (entry.link or "")
    assert len(content) <= entry.size


async def read(pieces: list[bytes]) -> list[tuple[Entry, bytes]]:
    async def source() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    stream = source()
    reader = EntryReader(stream, most=MOST, most_bytes=MOST_BYTES)
    found: list[tuple[Entry, bytes]] = []
    try:
        while (received := await reader.next()) is not None:
            entry, follows = received
            content = [piece async for piece in reader.content()]
            assert follows or not content
            found.append((entry, b"".join(content)))
            assert len(found[-1][1]) == (entry.size if follows else 0)
    except (ProtocolViolation, FileError):
        pass
    finally:
        await stream.aclose()
    return found


def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Run what never really waits, without the cost of an event loop for each input."""
    try:
        while True:
            work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
