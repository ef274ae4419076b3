"""The agent's own programs, over a fake sandbox's files and ports."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from assay.agent.entries import END_OF_ENTRIES, Entry, EntryKind, EntryReader, entry_header
from assay.domain.errors import ConnectionLost, ProtocolViolation
from assay.drivers.fake.process import STDERR, Process, Program
from assay.drivers.fake.stream import MemoryStream
from assay.drivers.fake.tree import Node, problem

_DEPTH_MOST: Final = 1000


@dataclass(slots=True)
class _Visit:
    """What a list or get still may do."""

    depth: int
    entries: float
    content_bytes: int
    with_content: bool


async def _list(process: Process) -> None:
    _, root, path, depth, count = process.argv
    visit = _Visit(int(depth), int(count), 0, with_content=False)
    await _send(process, root, path, visit)


async def _get(process: Process) -> None:
    _, root, path, most = process.argv
    await _send(process, root, path, _Visit(_DEPTH_MOST, float("inf"), int(most), True))


async def _send(process: Process, root: str, path: str, visit: _Visit) -> None:
    top = process.files.find(root, process.uid)
    path = path.rstrip("/") or path
    node = process.files.find(path, process.uid, beneath=top)
    if node.kind is EntryKind.FOLDER and visit.depth > 0:
        found = _below(process, node, path, 1, visit)
    else:
        found = iter(((path, node),))
    for name, each in found:
        await _send_one(process, name, each, visit, alone=each is node)
    await process.write(END_OF_ENTRIES)


def _below(
    process: Process, folder: Node, path: str, depth: int, visit: _Visit
) -> Iterator[tuple[str, Node]]:
    for name in process.files.names(folder, process.uid, path):
        below = name if path == "." else f"{path}/{name}"
        node = folder.children.get(name)
        if node is None:  # deleted while the entries before it were sent
            continue
        yield below, node
        if node.kind is EntryKind.FOLDER and depth < visit.depth:
            yield from _below(process, node, below, depth + 1, visit)


async def _send_one(process: Process, name: str, node: Node, visit: _Visit, *, alone: bool) -> None:
    visit.entries -= 1
    if visit.entries < 0:
        raise problem(errno.E2BIG, name)
    is_file = node.kind is EntryKind.FILE
    if visit.with_content and alone and not is_file:
        raise problem(errno.EINVAL, name)
    with_content = visit.with_content and is_file
    if with_content:
        process.files.require_readable(node, process.uid, name)
        visit.content_bytes -= node.size
        if visit.content_bytes < 0:
            raise problem(errno.EFBIG, name)
    entry = Entry(
        name=name,
        kind=node.kind,
        mode=node.mode,
        uid=node.uid,
        gid=node.uid,
        size=node.size,
        modified_ns=node.modified_ns,
        link=node.link or None,
        content=b"" if with_content else None,
    )
    await process.write(entry_header(entry))
    for piece in node.content.pieces() if with_content else ():
        await process.write(piece)


async def _put(process: Process) -> int:
    top = process.files.find(process.argv[1], process.uid)
    reader = EntryReader(_input_of(process))
    complaints = 0
    try:
        while (found := await reader.next()) is not None:
            try:
                await _put_one(process, found[0], reader, top)
            except OSError as error:
                complaints += 1
                await _complain(process, error)
    except ProtocolViolation:
        raise problem(errno.EPIPE, "(entries)") from None
    return 1 if complaints else 0


async def _put_one(process: Process, entry: Entry, reader: EntryReader, top: Node) -> None:
    if entry.kind is EntryKind.FOLDER:
        process.files.make_folder(entry.name, process.uid, entry.mode, beneath=top)
    elif entry.kind is EntryKind.FILE:
        node = process.files.replace(entry.name, process.uid, entry.mode, beneath=top)
        try:
            async for piece in reader.content():
                process.files.append(node, piece, entry.name)
        except (OSError, ProtocolViolation):
            process.files.delete(entry.name, process.uid, beneath=top)
            raise
        if entry.modified_ns > 0:
            node.modified_ns = entry.modified_ns
    else:
        raise problem(errno.ENOTSUP, entry.name)


async def _input_of(process: Process) -> AsyncIterator[bytes]:
    while data := await process.read():
        yield data


async def _delete(process: Process) -> None:
    _, root, *paths = process.argv
    top = process.files.find(root, process.uid)
    for path in paths:
        process.files.delete(path, process.uid, beneath=top)


async def _tunnel(process: Process) -> None:
    stream = process.connect(int(process.argv[1]))
    sending = process.spawn(lambda child: _copy_input(child, stream))
    try:
        while data := await stream.read(65_536):
            await process.write(data)
    finally:
        await stream.aclose()
        await process.wait_for(sending)


async def _copy_input(process: Process, stream: MemoryStream) -> None:
    try:
        while data := await process.read():
            await stream.write(data)
        stream.end_writing()
    except ConnectionLost:
        process.close_input()


async def _complain(process: Process, error: OSError) -> None:
    name = errno.errorcode.get(error.errno or errno.EIO, "EIO")
    path = str(error.filename)
    line = f"{name} {path}: {os.strerror(error.errno or errno.EIO)}\n"
    await process.write(line.encode(errors="surrogateescape"), STDERR)


def _complaining(program: Program) -> Program:
    async def run(process: Process) -> int:
        try:
            return await program(process) or 0
        except OSError as error:
            await _complain(process, error)
            return 1
        except ValueError:
            await _complain(process, problem(errno.EINVAL, process.argv[0]))
            return 1

    return run


BUILTINS: Final[Mapping[str, Program]] = {
    "list": _complaining(_list),
    "get": _complaining(_get),
    "put": _complaining(_put),
    "delete": _complaining(_delete),
    "tunnel": _complaining(_tunnel),
}
