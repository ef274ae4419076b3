"""Files of this machine that go into a sandbox's working folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.agent.client import Agent
from assay.agent.entries import Entry, EntryKind
from assay.agent.files import put_files, upload
from assay.domain.errors import AssayError, FileError, InvalidInput

_SMALL: Final = 1024 * 1024
_MOST_OF_A_PIPE: Final = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A file or folder of this machine, and its name in the working folder."""

    path: Path
    name: str


def uploads(paths: Sequence[Path]) -> list[Upload]:
    """Each under its own last name. Raises InvalidInput when two have the same."""
    found: dict[str, Path] = {}
    for path in paths:
        name = path.name or path.resolve().name
        if name in ("", ".."):
            name = path.resolve().name
        if not name:
            raise InvalidInput(f"{path} has no name that it could have in the sandbox")
        if name in found and not path.samefile(found[name]):
            raise InvalidInput(
                f"{found[name]} and {path} would both be called {name} in the sandbox: rename one"
            )
        found.setdefault(name, path)
    return [Upload(path=path, name=name) for name, path in found.items()]


async def put(agent: Agent, wanted: Sequence[Upload], folder: str) -> None:
    """Copy files, and folders with what is in them, into the working folder.

    Memory use doesn't depend on their sizes.
    Raises InvalidInput for what can't be read here, and AssayError for what doesn't fit there.
    """
    items = [item for upload in wanted for item in _items(upload)]
    try:
        small = (item for item in items if not _is_large(item.path))
        await put_files(agent, folder, (_entry(item) for item in small))
        for item in items:
            if _is_large(item.path):
                await _upload_large(agent, item, folder)
    except FileError as error:
        raise AssayError(_explained(error)) from error
    except OSError as error:
        raise InvalidInput(f"cannot read {error.filename}: {error.strerror}") from error


def contents(wanted: Sequence[Upload]) -> dict[str, bytes]:
    """Names and contents for a server's runner; folders have a name that ends in a slash.

    Raises InvalidInput for what can't be read here.
    """
    found: dict[str, bytes] = {}
    try:
        for item in (item for upload in wanted for item in _items(upload)):
            if item.path.is_dir():
                found[f"{item.name}/"] = b""
            else:
                with item.path.open("rb") as file:
                    found[item.name] = file.read(_MOST_OF_A_PIPE)
    except OSError as error:
        raise InvalidInput(f"cannot read {error.filename}: {error.strerror}") from error
    return found


def _items(upload: Upload) -> Iterator[Upload]:
    yield upload
    if upload.path.is_dir():
        for path in sorted(upload.path.rglob("*")):
            if path.is_dir() or path.is_file():
                name = f"{upload.name}/{path.relative_to(upload.path)}"
                yield Upload(path=path, name=name)


def _is_large(path: Path) -> bool:
    facts = path.stat()
    return stat.S_ISREG(facts.st_mode) and facts.st_size > _SMALL


def _entry(item: Upload) -> Entry:
    facts = item.path.stat()
    if stat.S_ISDIR(facts.st_mode):
        return Entry(name=item.name, kind=EntryKind.FOLDER, mode=0o755)
    with item.path.open("rb") as file:
        content = file.read(_MOST_OF_A_PIPE)
    return Entry(name=item.name, mode=_mode(facts), content=content)


async def _upload_large(agent: Agent, item: Upload, folder: str) -> None:
    with item.path.open("rb") as file:
        facts = os.fstat(file.fileno())
        await upload(agent, folder, item.name, file, facts.st_size, mode=_mode(facts))


def _mode(facts: os.stat_result) -> int:
    return 0o755 if facts.st_mode & stat.S_IXUSR else 0o644


def _explained(error: FileError) -> str:
    if error.reason in ("ENOSPC", "EDQUOT", "ENOMEM"):
        return (
            "the files don't fit into the sandbox; they may take half of its memory, at most as"
            " much as the environment's disk limit: give it more with --memory MB"
        )
    return f"the sandbox does not take the files: {error.message}"
