"""Files of a runner: list, write and delete, fetch."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from assay.agent.entries import Entry, EntryKind
from assay.api.accounts import accounts_of
from assay.api.answers import empty, json
from assay.api.errors import HttpError
from assay.api.listing import FileHeader, as_ls
from assay.api.route import Call, Parameter, Route
from assay.domain.errors import FileError, InvalidInput
from assay.runners import FileToWrite, Runner

FILES_MOST: Final = 20_000
"""In one request."""
_DEPTH_MOST: Final = 128
"""Levels of folders that a recursive list goes down."""
_NO_FILE: Final = frozenset({"", ".", ".."})
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_OF_A_PROCESS: Final = re.compile(r"/proc/[1-9][0-9]*/(cwd|exe|root)")
_IN_QUOTES: Final = str.maketrans({'"': r"\"", "\\": r"\\"} | dict.fromkeys(range(32), "_"))


class FileCopy(msgspec.Struct):
    """A file to write, or a folder where the path ends with a slash; content is base64."""

    path: str = ""
    content: bytes | None = None


class FilesRequest(msgspec.Struct):
    """What to delete, and then to write."""

    delete: Annotated[list[str], Meta(max_length=FILES_MOST)] | None = None
    copy: Annotated[list[FileCopy], Meta(max_length=FILES_MOST)] | None = None


class FileList(msgspec.Struct):
    """What `ls -l` would show."""

    files: list[FileHeader]


async def _list(call: Call) -> web.StreamResponse:
    query, runner = call.request.query, call.runner
    path = query.get("path") or "./"
    recursive = _flag(query.get("recursive"), default=True)
    privileged = _flag(query.get("privilegedExecution"), default=False)
    accounts = accounts_of(runner.blueprint.root)
    if not _surely_folder(path):
        entries = await _itself(runner, path, privileged=privileged)
        if not entries or entries[0].kind is not EntryKind.FOLDER:
            return json(FileList(as_ls(entries, path, accounts, itself=True)))
    depth = _DEPTH_MOST if recursive else 1
    entries = await runner.list_files(path, depth=depth, privileged=privileged)
    return json(FileList(as_ls(entries, path, accounts, recursive=recursive)))


async def _itself(runner: Runner, path: str, *, privileged: bool) -> list[Entry]:
    """What `ls -ld` shows: a link as a link."""
    if not privileged and _OF_A_PROCESS.fullmatch(path):
        # Learners see no processes but their own; `ls` shows such a link to all, without target.
        return [replace(each, link=None) for each in await _beside(runner, path, privileged=True)]
    try:
        return await _beside(runner, path, privileged=privileged)
    except FileError:  # its folder may be one to go through, and not to read
        return await runner.list_files(path, depth=0, privileged=privileged)


async def _beside(runner: Runner, path: str, *, privileged: bool) -> list[Entry]:
    folder, name = posixpath.split(path)
    entries = await runner.list_files(folder or ".", depth=1, privileged=privileged)
    found = [entry for entry in entries if entry.name == name]
    if not found:
        raise FileError(f"{path}: No such file or directory", reason="ENOENT")
    return found


def _surely_folder(path: str) -> bool:
    return path.endswith("/") or path.rpartition("/")[2] in (".", "..")


async def _change(call: Call) -> web.StreamResponse:
    asked: FilesRequest = call.body
    for each in asked.copy or ():
        if each.path in _NO_FILE:
            raise InvalidInput(f"a file can't be written to the path {each.path!r}")
    copies = [FileToWrite(path=each.path, content=each.content or b"") for each in asked.copy or ()]
    try:
        await call.runner.change_files(asked.delete or (), copies)
    except FileError as error:
        raise HttpError("files_not_changed", _as_tar(error.message)) from error
    return empty()


def _as_tar(message: str) -> str:
    """Poseidon's clients look for what tar says: one line for each path that failed."""
    lines = [line.rpartition(": ") for line in message.splitlines()]
    return "\n".join(f"{path}: Cannot open: {reason}" for path, _, reason in lines)


async def _fetch(call: Call) -> web.StreamResponse:
    query, request = call.request.query, call.request
    path = query.get("path", "")
    privileged = _flag(query.get("privilegedExecution"), default=False)
    async with call.runner.read_file(path, privileged=privileged) as (size, pieces):
        response = web.StreamResponse(
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Disposition": f'attachment; filename="{path.translate(_IN_QUOTES)}"',
                "X-Content-Type-Options": "nosniff",
            }
        )
        response.content_length = size
        await response.prepare(request)
        try:
            async for piece in pieces:
                await response.write(piece)
        except Exception:
            # Too late for another status: a client must not take a part for the whole.
            if request.transport is not None:
                request.transport.abort()
            raise
        await response.write_eof()
    return response


def _flag(text: str | None, *, default: bool) -> bool:
    """A switch as Poseidon reads it; what it can't read is the default."""
    if text in _TRUE:
        return True
    return False if text in _FALSE else default


_PATH: Final = "Absolute, or relative to the working folder"
_PRIVILEGED: Final = Parameter(
    name="privilegedExecution", type=bool, default=False, summary="As the sandbox's root"
)

ROUTES: Final = (
    Route(
        method="PATCH",
        path="/runners/{runner_id}/files",
        handler=_change,
        summary="Delete files, then write files",
        request=FilesRequest,
        responses={204: None},
        problems=(413, 500),
        poseidon=True,
    ),
    Route(
        method="GET",
        path="/runners/{runner_id}/files",
        handler=_list,
        summary="List files; those whose names begin with a dot are left out",
        parameters=(
            Parameter(name="path", default="./", summary=_PATH),
            Parameter(name="recursive", type=bool, default=True, summary="Folders in folders too"),
            _PRIVILEGED,
        ),
        responses={200: FileList},
        problems=(424,),
        poseidon=True,
    ),
    Route(
        method="GET",
        path="/runners/{runner_id}/files/raw",
        handler=_fetch,
        summary="The content of a file",
        parameters=(Parameter(name="path", required=True, summary=_PATH), _PRIVILEGED),
        responses={200: bytes},
        problems=(424,),
        poseidon=True,
    ),
)
