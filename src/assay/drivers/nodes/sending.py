"""A root file system of this machine's disk, sent to a node that does not have it yet."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from assay.domain.errors import ConnectionLost, RuntimeFailed
from assay.driver.port import RootFilesystem
from assay.drivers.linux.copy import Copy, pieces
from assay.drivers.nodes.node import Node
from assay.link.messages import MOST_ANSWER, Done, Failed, decode, raised
from assay.link.stream import LinkStream

_SECONDS_TO_UNPACK: Final = 600.0


def name_of(root: RootFilesystem) -> str | None:
    """What a node keeps a root under: another name when it is another one. Raises RuntimeFailed.

    None for this machine's own programs, in whose place a node shows its own.
    """
    if root.mounts:
        return None
    try:
        return _copy(root).digest
    except OSError as error:
        raise RuntimeFailed(f"{root.path} can't be read", detail=str(error)) from error


def _copy(root: RootFilesystem) -> Copy:
    return Copy(root=root, folders=(), programs=())


class Sending:
    """Sends each root once to each node, for all who wait; it goes on when they don't."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def send(self, node: Node, root: RootFilesystem, name: str) -> None:
        """Return when the node has it. Raises what the node says, and RuntimeFailed."""
        key = node.name, name
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.ensure_future(_send(node, root, name))
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(task)

    async def aclose(self) -> None:
        """Give up what is under way."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _send(node: Node, root: RootFilesystem, name: str) -> None:
    stream = await node.open_root(name)
    try:
        await _send_all(stream, pieces(_copy(root)))
        async with asyncio.timeout(_SECONDS_TO_UNPACK):
            answer = decode(await stream.frame(MOST_ANSWER), Done | Failed)
    except TimeoutError as error:
        raise ConnectionLost(f"{node.name} did not unpack an image in time") from error
    finally:
        await stream.aclose()
    if isinstance(answer, Failed):
        raise raised(answer)


async def _send_all(stream: LinkStream, archive: Generator[bytes, None, None]) -> None:
    loop, digest = asyncio.get_running_loop(), hashlib.sha256()
    # One thread, so that it is closed after the read that was under way.
    reader = ThreadPoolExecutor(1, thread_name_prefix="assay-sender")
    try:
        while piece := await loop.run_in_executor(reader, next, archive, b""):
            digest.update(piece)
            await stream.send(piece)
        await stream.send(b"")
        await stream.send(digest.digest())
    finally:
        closing = loop.run_in_executor(reader, archive.close)
        reader.shutdown(wait=False)
        await asyncio.shield(closing)
