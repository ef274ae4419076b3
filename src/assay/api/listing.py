"""Entries of a sandbox's files as `ls -l` would show them, in its order."""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from assay.agent.entries import Entry, EntryKind
from assay.api.accounts import Accounts


class FileHeader(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """One line of `ls -l`."""

    name: str
    entry_type: str
    """The letter of `ls`: - d l p s c b."""
    link_target: str = ""
    size: int
    modification_time: int
    """Seconds since 1970."""
    permissions: str
    """Such as "rwxr--r--"."""
    owner: str
    group: str


def as_ls(
    entries: Sequence[Entry],
    path: str,
    accounts: Accounts,
    *,
    recursive: bool = False,
    itself: bool = False,
) -> list[FileHeader]:
    """List what is beneath `path`, or with `itself` only that, under the name that was given.

    Hidden files, and what is in hidden folders, are left out. Recursively, names begin with
    `path`, and a folder's files follow one another, as in `ls -R`.
    """
    if itself:
        return [_header(path, entry, accounts) for entry in entries]
    start = f"{path.rstrip('/')}/" if recursive else ""
    return [_header(f"{start}{entry.name}", entry, accounts) for entry in _in_order(entries)]


def _in_order(entries: Iterable[Entry]) -> Iterator[Entry]:
    folders: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if not entry.name.startswith(".") and "/." not in entry.name:
            folders[entry.name.rpartition("/")[0]].append(entry)
    pending = [""]
    while pending:
        here = sorted(folders.pop(pending.pop(), ()), key=lambda entry: _bytes(entry.name))
        yield from here
        pending += [each.name for each in reversed(here) if each.kind is EntryKind.FOLDER]


def _header(name: str, entry: Entry, accounts: Accounts) -> FileHeader:
    return FileHeader(
        name=_text(name),
        entry_type=entry.kind.value,
        link_target=_text(entry.link or ""),
        size=entry.size,
        modification_time=entry.modified_ns // 1_000_000_000,
        permissions=stat.filemode(entry.mode)[1:],
        owner=accounts.user(entry.uid),
        group=accounts.group(entry.gid),
    )


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(name: str) -> str:
    """Bytes of a name that are no UTF-8 can't be in JSON."""
    return name if name.isascii() else _bytes(name).decode("utf-8", "replace")
