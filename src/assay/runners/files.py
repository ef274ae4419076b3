"""Files of a runner, as its clients name them: in the working folder, or anywhere else.

Everything is done by the agent's own programs, with the rights of the learner, or of the sandbox's
root. No path leads out of the sandbox, whatever the learner has put there.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Final

from assay.agent import files as agent_files
from assay.agent.client import Agent
from assay.agent.entries import Entry, EntryKind
from assay.domain.errors import FileError, InvalidInput
from assay.runners.values import FileToWrite

FILE_MODE: Final = 0o744
FOLDER_MODE: Final = 0o1777
"""In a sticky folder learners can make files, and can't take away those of others."""
LISTED_MOST: Final = 10_000
_DELETED_MOST: Final = 1_000_000
EVERYTHING_SHOWN: Final = "./*"
_MISLEADING: Final = ("ELOOP", "EXDEV", "ENOENT", "EACCES")
"""What a link that leads nowhere, or nowhere that may be gone to, looks like."""


async def list_files(
    agent: Agent, folder: str, path: str, *, depth: int, privileged: bool
) -> list[Entry]:
    """List `path` down to `depth` levels, names relative to it; what is no folder comes alone."""
    within = _within(folder, path)
    name = PurePosixPath(within).name
    try:
        entries = await agent_files.list_files(
            agent, "/", within, depth=depth, most=LISTED_MOST, privileged=privileged, folder=folder
        )
    except FileError as error:
        if error.reason not in _MISLEADING or not name:
            raise
        return [await _link(agent, folder, within, privileged=privileged, error=error)]
    prefix = "" if within == "." else f"{within}/"
    if len(entries) == 1 and entries[0].name == within:
        return [replace(entries[0], name=name or "/")]
    return [replace(entry, name=entry.name.removeprefix(prefix)) for entry in entries]


async def _link(
    agent: Agent, folder: str, within: str, *, privileged: bool, error: FileError
) -> Entry:
    """Look at a link itself, from the folder that it is in."""
    path = PurePosixPath(within)
    beside = await agent_files.list_files(
        agent, "/", str(path.parent), most=LISTED_MOST, privileged=privileged, folder=folder
    )
    for entry in beside:
        if PurePosixPath(entry.name).name == path.name and entry.kind is EntryKind.LINK:
            return replace(entry, name=path.name)
    raise error


@contextlib.asynccontextmanager
async def read_file(
    agent: Agent, folder: str, path: str, *, privileged: bool
) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
    """Open a file: its size, and its content in pieces."""
    within = _within(folder, path)
    received = agent_files.get_files(agent, "/", within, most=2**62, privileged=privileged)
    async with contextlib.aclosing(received):
        found = await anext(received, None)
        # Of a folder come the files that are in it, or nothing at all.
        if found is None or not found.has_content or found.entry.name != within:
            raise FileError(f"{path}: Is a directory", reason="EISDIR")
        yield found.entry.size, found.content()


async def change_files(
    agent: Agent, folder: str, delete: Iterable[str], copy: Sequence[FileToWrite]
) -> None:
    """Delete, then write, as the sandbox's root; one path's failure is no other's."""
    entries = [_entry(folder, file) for file in copy]  # (what makes no sense changes nothing)
    failures = _Failures({_within(folder, file.path): file.path for file in copy})
    for paths in agent_files.batches(await _names(agent, folder, delete)):
        with failures.collecting():
            await agent_files.delete_files(agent, "/", *paths, privileged=True)
    if entries:
        with failures.collecting():
            await agent_files.put_files(agent, "/", entries, privileged=True)
    failures.raise_if_any()


class _Failures:
    """What failed of several operations: a line for each path, by the name that was given."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self._first: FileError | None = None
        self._lines: list[str] = []

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Note what fails in this block."""
        try:
            yield
        except FileError as error:
            self._first = self._first or error
            for line in agent_files.each_failure(error):
                path, _, text = line.rpartition(": ")
                given = self._given.get(path, f"/{path}")
                self._lines.append(f"{given}: {text}")

    def raise_if_any(self) -> None:
        if self._first is not None:
            message = "\n".join(self._lines)
            raise FileError(message, reason=self._first.reason, detail=self._first.detail)


async def _names(agent: Agent, folder: str, delete: Iterable[str]) -> Sequence[str]:
    """The paths, each once, and those that stand for what is in the working folder replaced."""
    names: dict[str, None] = {}
    home = _within(folder, ".")
    everything = shown = False
    for path in delete:
        within = _within(folder, path)
        if path == EVERYTHING_SHOWN:
            shown = True
        elif within == home:
            everything = True
        elif within == ".":
            raise InvalidInput("the sandbox's whole root can't be deleted")
        else:
            names[within] = None
    if everything or shown:
        there = await agent_files.list_files(agent, "/", home, most=_DELETED_MOST, privileged=True)
        for entry in there:
            if everything or not PurePosixPath(entry.name).name.startswith("."):
                names[entry.name] = None
    return list(names)


def _entry(folder: str, file: FileToWrite) -> Entry:
    within = _within(folder, file.path)
    if file.path.endswith("/"):
        return Entry(name=within, kind=EntryKind.FOLDER, mode=FOLDER_MODE)
    if within == ".":
        raise InvalidInput("a file to write needs a name")
    return Entry(name=within, mode=FILE_MODE, content=file.content)


def _within(folder: str, path: str) -> str:
    """The path, from the sandbox's root, without a slash at its beginning; "." is the root.

    Dots are resolved here, by the words of the path: a link followed by `..` leads back to it.
    """
    if "\0" in path:
        raise InvalidInput("the name of a file holds no NUL")
    whole = normpath(f"/{path}" if path.startswith("/") else f"/{folder}/{path}")
    return whole.lstrip("/") or "."
