"""Folders as entries: of this machine, for a sandbox; and of one sandbox, for another.

What a learner's program left is a learner's: of it, plain files and folders alone are taken along.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.agent.client import Agent
from assay.agent.entries import Entry, EntryKind
from assay.agent.files import batches, delete_files, get_files, list_files, put_files
from assay.domain.errors import InvalidTask
from assay.domain.limits import MIB

ENTRIES_MOST: Final = 20_000
BYTES_MOST: Final = 512 * MIB
_DEPTH: Final = 64


def entries_of(folder: Path, *, within: Path, leave: Collection[str] = ()) -> list[Entry]:
    """What is in a folder of this machine, but for the names in `leave`.

    A link is followed where it leads to something beneath `within`, else left out. Raises
    InvalidTask for what can't be read, or is too much.
    """
    found: list[Entry] = []
    size = 0
    try:
        for name, path in _walk(folder, within.resolve(), leave):
            facts = path.stat()
            if stat.S_ISDIR(facts.st_mode):
                found.append(Entry(name=name, kind=EntryKind.FOLDER, mode=0o755))
            elif stat.S_ISREG(facts.st_mode):
                size += facts.st_size
                if size > BYTES_MOST:
                    raise InvalidTask(f"{folder} has more than {BYTES_MOST // MIB} MiB")
                found.append(Entry(name=name, mode=0o755, content=path.read_bytes()))
            if len(found) > ENTRIES_MOST:
                raise InvalidTask(f"{folder} has more than {ENTRIES_MOST:,} files")
    except OSError as error:
        raise InvalidTask(f"cannot read {error.filename}: {error.strerror}") from error
    return found


def _walk(folder: Path, within: Path, leave: Collection[str]) -> Iterator[tuple[str, Path]]:
    for where, folders, files in os.walk(folder):
        here = Path(where)
        at_top = here == folder
        kept = [name for name in folders if name != ".git" and not (at_top and name in leave)]
        folders[:] = [name for name in kept if not (here / name).is_symlink()]
        links = [name for name in kept if (here / name).is_symlink()]
        names = [*folders, *links, *(name for name in files if not (at_top and name in leave))]
        for name in sorted(names):
            path = here / name
            if path.is_symlink() and not _stays(path, within):
                continue
            yield str(path.relative_to(folder)), path
            if name in links:
                yield from (
                    (f"{path.relative_to(folder)}/{inner}", there)
                    for inner, there in _walk(path.resolve(), within, ())
                    if not there.is_symlink()
                )


def _stays(link: Path, within: Path) -> bool:
    with contextlib.suppress(OSError, RuntimeError):
        real = link.resolve(strict=True)
        # A link to a folder that holds it would never end.
        return real.is_relative_to(within) and not link.parent.resolve().is_relative_to(real)
    return False


def size_of(entries: Collection[Entry]) -> int:
    """Bytes of their content."""
    return sum(len(each.content or b"") for each in entries)


Known = Mapping[str, tuple[int, int, int]]
"""Of each file: size, time of its last change, and mode."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What became of a folder."""

    known: Known
    changed: frozenset[str]
    gone: tuple[str, ...]
    """Of a folder that is gone its name alone."""


async def known_of(agent: Agent, folder: str) -> Known:
    """The files and folders beneath a sandbox's folder. Raises FileError."""
    found = await list_files(agent, folder, ".", depth=_DEPTH, most=ENTRIES_MOST)
    return {
        _inside(each): (each.size, each.modified_ns, each.mode)
        if each.kind is EntryKind.FILE
        else (-1, 0, 0)
        for each in found
        if each.kind in (EntryKind.FILE, EntryKind.FOLDER) and _inside(each)
    }


def _inside(entry: Entry) -> str:
    name = entry.name.removeprefix("./").rstrip("/")
    return "" if name == "." else name


def changes(before: Known, after: Known) -> Changes:
    """What differs."""
    changed = frozenset(name for name, facts in after.items() if before.get(name) != facts)
    gone = before.keys() - after.keys()
    topmost = sorted(name for name in gone if posixpath.dirname(name) not in gone)
    return Changes(known=after, changed=changed, gone=tuple(topmost))


async def take(
    agent: Agent, folder: str, *, only: Collection[str] | None = None, most: int = BYTES_MOST
) -> list[Entry]:
    """Files and folders beneath a sandbox's folder; `only` those named. Raises FileError."""
    found = []
    async with contextlib.aclosing(
        get_files(agent, folder, ".", most=most, most_entries=ENTRIES_MOST)
    ) as received:
        async for each in received:
            name = _inside(each.entry)
            wanted = name and (only is None or name in only)
            if wanted and each.entry.kind is EntryKind.FOLDER:
                found.append(Entry(name=name, kind=EntryKind.FOLDER, mode=0o755))
            elif wanted and each.entry.kind is EntryKind.FILE:
                content = b"".join([piece async for piece in each.content()])
                mode = each.entry.mode & 0o777 | 0o600
                found.append(Entry(name=name, mode=mode, content=content))
    return found


async def bring(agent: Agent, folder: str, found: Changes, entries: Collection[Entry]) -> None:
    """Let a sandbox's folder follow. Raises FileError."""
    for names in batches(found.gone):
        await delete_files(agent, folder, *names)
    if entries:
        await put_files(agent, folder, entries)
