"""A layer's bytes: read once, uncompressed and hashed on the way, never more than a limit."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from assay.domain.errors import Unavailable

CHUNK: Final = 256 * 1024

_RAW_CHUNK: Final = 64 * 1024
_MOST_MEMBERS: Final = 1_000_000
"""Of a gzip stream. Some tools begin a new one for each file; each costs a copy of what follows."""

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_GZIP_FORMAT: Final = 31
"""zlib's number for: a gzip header, and the largest window."""


class Refused(Exception):
    """A layer can't be taken; the text says why, and the one who catches it adds where."""


class LayerStream:
    """What is in a layer, as one stream of bytes to be read forwards.

    Raises Refused when the stream is damaged, or longer than `most` bytes.
    """

    def __init__(self, *, most: int) -> None:
        self.raw = hashlib.sha256()
        """Of the file as it is, once all is read."""
        self.content = hashlib.sha256()
        """Of the archive in it."""
        self._most = most
        self._arrived = 0
        self._held = memoryview(b"")
        self._chunks: Iterator[bytes] = iter(())

    @classmethod
    @contextmanager
    def over(cls, file: int, *, most: int, on_read: Callable[[int], None]) -> Iterator[LayerStream]:
        """Uncompress by what the bytes say they are: gzip, zstd, or a plain archive.

        `on_read` is told how many bytes of the file have been used up, again and again.
        """
        stream = cls(most=most)
        start = os.pread(file, 4, 0)
        if start == _ZSTD:
            with _zstd(file, on_read, stream.raw.update) as chunks:
                stream._chunks = chunks
                yield stream
            return
        chunks = _chunks(file, on_read, stream.raw.update)
        stream._chunks = _gunzip(chunks) if start.startswith(_GZIP) else chunks
        yield stream

    @property
    def position(self) -> int:
        """How many bytes have been taken."""
        return self._arrived - len(self._held)

    def read(self, count: int) -> bytes:
        """Return exactly `count` bytes, or fewer at the end."""
        if count <= len(self._held):
            taken = bytes(self._held[:count])
            self._held = self._held[count:]
            return taken
        parts = []
        while count and (part := self.some(count)):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def some(self, most: int) -> memoryview:
        """Return 1 to `most` bytes, whatever comes without copying; none at the end."""
        while not self._held:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self._arrived += len(chunk)
            if self._arrived > self._most:
                raise Refused("it holds more bytes than are taken")
            self.content.update(chunk)
            self._held = memoryview(chunk)
        taken = self._held[:most]
        self._held = self._held[most:]
        return taken

    def drain(self) -> None:
        """Read to the end, so that the hashes are of the whole."""
        while self.some(CHUNK):
            pass


def _chunks(
    file: int, on_read: Callable[[int], None], see: Callable[[bytes], None]
) -> Iterator[bytes]:
    os.lseek(file, 0, os.SEEK_SET)
    while chunk := os.read(file, _RAW_CHUNK):
        see(chunk)
        on_read(len(chunk))
        yield chunk


def _gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Uncompress gzip, one member after another; a few bytes never become many at once."""
    member, members = zlib.decompressobj(_GZIP_FORMAT), 1
    try:
        for data in chunks:
            while data or not member.eof:
                if member.eof:
                    member, members = zlib.decompressobj(_GZIP_FORMAT), members + 1
                if members > _MOST_MEMBERS:
                    raise Refused("its gzip stream has members without end")
                output = member.decompress(data, CHUNK)
                if output:
                    yield output
                data = member.unused_data if member.eof else member.unconsumed_tail
                if not data and not output:
                    break
    except zlib.error as error:
        raise Refused(f"its gzip stream is damaged: {error}") from error
    if not member.eof:
        raise Refused("its gzip stream ends too early")


@contextmanager
def _zstd(
    file: int, on_read: Callable[[int], None], see: Callable[[bytes], None]
) -> Iterator[Iterator[bytes]]:
    """Uncompress by the program zstd, which reads the file itself; hash the file afterwards."""
    program = shutil.which("zstd")
    if program is None:
        raise Unavailable(
            "this image's layers are compressed with zstd, and the program zstd is missing; "
            "apt-get install zstd"
        )
    os.lseek(file, 0, os.SEEK_SET)
    argv = [program, "--decompress", "--stdout", "--quiet", "--memory=128MB"]
    process = subprocess.Popen(argv, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield _unzstd(process, file, on_read, see)
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def _unzstd(
    process: subprocess.Popen[bytes],
    file: int,
    on_read: Callable[[int], None],
    see: Callable[[bytes], None],
) -> Iterator[bytes]:
    assert process.stdout
    before = 0
    while chunk := process.stdout.read(CHUNK):
        now = os.lseek(file, 0, os.SEEK_CUR)  # the offset is the program's and ours
        on_read(now - before)
        before = now
        yield chunk
    if process.wait() != 0:
        raise Refused("its zstd stream is damaged, or wants more memory than it is given")
    for _ in _chunks(file, lambda count: None, see):
        pass
