"""Files in a sandbox, by the agent's own programs: no shell, nothing parsed, links not followed.

Every path is relative to a root folder in the sandbox and cannot lead out of it. All functions
raise FileError, whose `reason` is the name of an errno, and what the connection raises.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Protocol

from assay.agent.client import NO_LIMITS, Agent
from assay.agent.entries import END_OF_ENTRIES, Entry, EntryKind, EntryReader, entry_header
from assay.agent.execution import Execution
from assay.domain.errors import FileError, InvalidInput
from assay.domain.facts import Facts

ENTRIES_MOST: Final = 10_000
"""Files and folders that `list_files` returns at most, unless told otherwise."""
GOT_MOST: Final = 100_000
"""Files and folders that `get_files` yields at most, unless told otherwise."""
NAMES_MOST: Final = 16 * 1024 * 1024
"""Bytes of names and other facts about files that an answer has at most; content is apart."""
_EVERYTHING: Final = 2**62
_READ_BYTES: Final = 1024 * 1024
_ARGUMENTS_MOST: Final = 40_000
"""Bytes of names in the arguments of one program, of which an agent takes 64 KiB."""
_MESSAGE_BYTES: Final = 8192
_IDLE_MOST: Final = 1024 * 1024
"""Output that belongs to no answer, of which an honest agent sends next to nothing."""
_MESSAGE: Final = re.compile(r"(E[A-Z0-9]{1,20}) (.*)", re.DOTALL)


class Reader(Protocol):
    """What a file that was opened for reading bytes offers."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Received:
    """An entry on its way from the sandbox; read its content before you ask for the next one."""

    entry: Entry
    has_content: bool
    _reader: EntryReader

    def content(self) -> AsyncIterator[bytes]:
        """Yield the file's content in pieces."""
        return self._reader.content()


async def list_files(
    agent: Agent,
    root: str,
    path: str = ".",
    *,
    depth: int = 1,
    most: int = ENTRIES_MOST,
    most_bytes: int = NAMES_MOST,
    privileged: bool = False,
    folder: str | None = None,
) -> list[Entry]:
    """List `path` down to `depth` levels (0: itself only), by a program that is in `folder`.

    E2BIG beyond `most` entries, or when they have more than `most_bytes` bytes in all, whatever
    the sandbox's agent sends.
    """
    program = await _Program.start(
        agent, "list", root, path, str(depth), str(most), privileged=privileged, folder=folder
    )
    async with program:
        entries = []
        reader = EntryReader(program, most=most, most_bytes=most_bytes)
        while (found := await reader.next()) is not None:
            entries.append(found[0])
        await program.finish()
    return entries


async def get_files(
    agent: Agent,
    root: str,
    path: str = ".",
    *,
    most: int,
    most_entries: int = GOT_MOST,
    most_bytes: int = NAMES_MOST,
    privileged: bool = False,
) -> AsyncGenerator[Received, None]:
    """Yield `path` and everything beneath it, with content that streams.

    EFBIG when the content has more than `most` bytes in all; E2BIG beyond `most_entries`
    entries, or when they have more than `most_bytes` bytes besides content. Memory use does not
    depend on sizes. Close the iterator (`contextlib.aclosing`) if you leave before its end.
    """
    program = await _Program.start(agent, "get", root, path, str(most), privileged=privileged)
    async with program:
        reader = EntryReader(program, most=most_entries, most_bytes=most_bytes)
        left = most
        while (found := await reader.next()) is not None:
            entry, follows = found
            left -= entry.size if follows else 0
            if left < 0:
                raise FileError(f"{path}: more than {most:,} bytes", reason="EFBIG")
            yield Received(entry, follows, reader)
        await program.finish()


async def download(
    agent: Agent, root: str, path: str, *, most: int = _EVERYTHING, privileged: bool = False
) -> AsyncIterator[bytes]:
    """Yield the content of one file; EISDIR when it is a folder."""
    # The bound is looked at here, so that "too large" is never said of what a folder holds.
    everything = str(_EVERYTHING)
    program = await _Program.start(agent, "get", root, path, everything, privileged=privileged)
    async with program:
        reader = EntryReader(program)
        found = await reader.next()
        # Of a folder come the files that are in it, or nothing at all.
        if found is None or not found[1] or found[0].name != path.rstrip("/"):
            raise FileError(f"{path}: Is a directory", reason="EISDIR")
        if found[0].size > most:
            raise FileError(f"{path}: more than {most:,} bytes", reason="EFBIG")
        async for piece in reader.content():
            yield piece
        await program.finish()


async def read_file(
    agent: Agent, root: str, path: str, *, most: int, privileged: bool = False
) -> bytes:
    """Return the content of one file; EFBIG when it has more than `most` bytes."""
    pieces = download(agent, root, path, most=most, privileged=privileged)
    return b"".join([piece async for piece in pieces])


async def write_file(
    agent: Agent,
    root: str,
    path: str,
    content: bytes,
    *,
    mode: int = 0o644,
    privileged: bool = False,
) -> None:
    """Write one file, replacing what is there and making the folders that it needs."""
    entry = Entry(name=path, mode=mode, content=content)
    await put_files(agent, root, (entry,), privileged=privileged)


async def put_files(
    agent: Agent, root: str, entries: Iterable[Entry], *, privileged: bool = False
) -> None:
    """Write files (their `content`) and folders; iterates as fast as the sandbox takes them."""
    async with await _Program.start(
        agent, "put", root, stdin=True, privileged=privileged
    ) as program:
        for entry in entries:
            size = len(entry.content or b"") if entry.kind is EntryKind.FILE else 0
            content = entry.content or b"" if entry.kind is EntryKind.FILE else None
            await program.write(entry_header(replace(entry, size=size, content=content)))
            await program.write(content or b"")
        await program.end()


async def upload(
    agent: Agent,
    root: str,
    path: str,
    source: Reader | AsyncIterable[bytes],
    size: int,
    *,
    mode: int = 0o644,
    privileged: bool = False,
) -> None:
    """Write one file of `size` bytes from an open file, or from pieces, without holding it.

    Raises InvalidInput when the source has fewer or more bytes than that; then, and when it is
    cancelled, no part of the file stays.
    """
    async with await _Program.start(
        agent, "put", root, stdin=True, privileged=privileged
    ) as program:
        await program.write(entry_header(Entry(name=path, mode=mode, size=size, content=b"")))
        sent = 0
        async for piece in _pieces(source):
            sent += len(piece)
            if sent > size:
                raise _not_as_long_as_said(path, size)
            if program.stopped_reading:
                break
            await program.write(piece)
        if sent != size and not program.stopped_reading:
            raise _not_as_long_as_said(path, size)
        await program.end()


def _not_as_long_as_said(path: str, size: int) -> InvalidInput:
    return InvalidInput(f"the source of {path} does not have {size:,} bytes")


async def delete_files(agent: Agent, root: str, *paths: str, privileged: bool = False) -> None:
    """Delete files, and folders with all that is in them; what isn't there is no error.

    For more names than one program takes there are `batches`. E2BIG when an agent answers more
    than any honest one does.
    """
    async with await _Program.start(
        agent, "delete", root, *paths, privileged=privileged
    ) as program:
        await program.finish()


def batches(names: Iterable[str]) -> Iterator[list[str]]:
    """Names in as many lists as are needed, each of which `delete_files` takes at once."""
    batch: list[str] = []
    length = 0
    for name in names:
        size = len(name.encode("utf-8", errors="surrogateescape")) + 8
        if batch and length + size > _ARGUMENTS_MOST:
            yield batch
            batch, length = [], 0
        batch.append(name)
        length += size
    if batch:
        yield batch


def each_failure(error: FileError) -> list[str]:
    """What failed of one operation with several paths, a message for each (20 at most)."""
    found = [_MESSAGE.fullmatch(line) for line in error.detail.splitlines()]
    return [match[2] for match in found if match is not None] or [error.message]


async def _pieces(source: Reader | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(source, AsyncIterable):
        async for piece in source:
            yield piece
        return
    while piece := await asyncio.to_thread(source.read, _READ_BYTES):
        yield piece


class _Program:
    """One of the agent's own programs that works on files; leaving its block ends it."""

    def __init__(self, execution: Execution, *, has_input: bool) -> None:
        self.execution = execution
        self._has_input = has_input
        self._output = execution.output()
        self._message = b""
        self._idle_bytes = 0

    @classmethod
    async def start(
        cls,
        agent: Agent,
        *argv: str,
        privileged: bool,
        stdin: bool = False,
        folder: str | None = None,
    ) -> _Program:
        for text in argv:
            if "\0" in text:
                raise InvalidInput("the name of a file holds no NUL")
        execution = await agent.start_builtin(
            *argv, privileged=privileged, stdin=stdin, limits=NO_LIMITS, folder=folder
        )
        return cls(execution, has_input=stdin)

    async def __aenter__(self) -> _Program:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            # A `put` that is killed leaves half a file; one whose input ends removes it.
            floods = self._idle_bytes > _IDLE_MOST
            self.execution.abandon(kill=floods or not self._has_input)

    @property
    def stopped_reading(self) -> bool:
        return self.execution.ended or self.execution.input_closed

    async def write(self, data: bytes) -> None:
        await self.execution.write(data)

    async def end(self) -> None:
        await self.execution.write(END_OF_ENTRIES)
        await self.execution.end_input()
        await self.finish()

    def __aiter__(self) -> _Program:
        return self

    async def __anext__(self) -> bytes:
        """Return standard output's next piece. At the end: FileError when the program failed."""
        async for chunk in self._output:
            if chunk.stream == "stdout":
                return chunk.data
            self._message = (self._message + chunk.data)[:_MESSAGE_BYTES]
            self._count_idle(len(chunk.data))
        self._raise_if_failed(await self.execution.wait())
        raise StopAsyncIteration

    async def finish(self) -> None:
        """Wait for the end. Raises FileError when the program failed."""
        async for data in self:
            self._count_idle(len(data))

    def _count_idle(self, count: int) -> None:
        self._idle_bytes += count
        if self._idle_bytes > _IDLE_MOST:
            raise FileError("the sandbox's agent answers without end", reason="E2BIG")

    def _raise_if_failed(self, facts: Facts) -> None:
        if facts.exit_code == 0:
            return
        text = self._message.decode("utf-8", errors="replace").strip()
        found = _MESSAGE.fullmatch(text.splitlines()[0] if text else "")
        if found is None:
            ending = f"exit code {facts.exit_code}, signal {facts.signal}"
            raise FileError(
                "the sandbox's agent could not do this", reason="EIO", detail=f"{ending}: {text}"
            )
        # (One line for each failure: the first one names the error.)
        raise FileError(found[2], reason=found[1], detail=text)
