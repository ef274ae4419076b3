"""Root file systems that servers send: taken in pieces, verified, unpacked, and kept."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from assay.domain.errors import DiskFull, InvalidImage, Unavailable
from assay.driver.port import RootFilesystem
from assay.images.manifest import MOST_IMAGE_BYTES
from assay.images.received import ReceivedRoots
from assay.link.messages import MOST_PIECE, RootMissing
from assay.link.stream import LinkStream

_BELIEVED: Final = 10.0
"""Seconds for which this machine's programs are believed to be what they were."""
_SECONDS_TO_THE_NEXT: Final = 60.0
"""Without a piece, whoever sends has given up."""


class Roots:
    """The roots of all servers; `host` gives this machine's own programs, `in_use` the digests of
    what sandboxes are made of.
    """

    def __init__(
        self,
        received: ReceivedRoots,
        *,
        host: Callable[[], RootFilesystem],
        in_use: Callable[[], Collection[str]],
    ) -> None:
        self._received = received
        self._host = host
        self._in_use = in_use
        self._looked: asyncio.Future[RootFilesystem] | None = None
        self._looked_at = 0.0
        self._arriving: dict[str, asyncio.Lock] = {}

    async def find(self, owner: str, name: str | None) -> RootFilesystem:
        """The root of that name that this server has sent; None: this machine's own programs.

        Raises RootMissing, and what the `host` image does.
        """
        if name is None:
            return await self._own()
        found = await asyncio.to_thread(self._received.find, owner + name)
        if found is None:
            raise RootMissing("this node was not sent this root file system")
        return found

    async def _own(self) -> RootFilesystem:
        """Looked up now and then, once for all who ask meanwhile: it takes milliseconds."""
        now = asyncio.get_running_loop().time()
        if self._looked is None or (self._looked.done() and now - self._looked_at > _BELIEVED):
            self._looked_at = now
            self._looked = asyncio.ensure_future(asyncio.to_thread(self._host))
        try:
            return await asyncio.shield(self._looked)
        except Exception:
            self._looked = None
            raise

    async def receive(self, owner: str, name: str, stream: LinkStream) -> None:
        """Take a root from the frames of a connection.

        Raises InvalidImage, DiskFull, Unavailable, ConnectionLost, ProtocolViolation.
        """
        async with self._arriving.setdefault(owner, asyncio.Lock()):
            archive = self._received.new_archive()
            try:
                with self._own_errors():
                    await self._take(stream, archive)
                    await asyncio.to_thread(self._received.keep, owner + name, archive)
                    await asyncio.to_thread(self._received.forget, owner, self._in_use())
            finally:
                archive.unlink(missing_ok=True)

    async def _take(self, stream: LinkStream, archive: Path) -> None:
        digest, size = hashlib.sha256(), 0
        with archive.open("wb", buffering=0) as file:
            async for piece in _pieces(stream):
                size += len(piece)
                if size > MOST_IMAGE_BYTES:
                    raise InvalidImage("the root that is being sent has more bytes than are taken")
                await asyncio.to_thread(_write, file, piece)
                digest.update(piece)
        if await stream.frame(MOST_PIECE) != digest.digest():
            raise InvalidImage("the root that was sent is damaged: it has another digest")

    @contextlib.contextmanager
    def _own_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull("the node has no room for this image", detail=str(error)) from error
            raise Unavailable("the node can't keep images", detail=str(error)) from error


async def _pieces(stream: LinkStream) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(_SECONDS_TO_THE_NEXT):
                piece = await stream.frame(MOST_PIECE)
        except TimeoutError:
            raise Unavailable("the rest of the root did not come in time") from None
        if not piece:
            return
        yield piece


def _write(file: BinaryIO, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]
