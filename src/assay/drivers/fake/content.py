"""The content of a fake file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Final

BLOCK: Final = 1024 * 1024


class Content:
    """Bytes that grow at their end.

    Whole blocks lie in shared mappings, as a sandbox's files do: so they do not count as this
    program's own memory, which tests look at.
    """

    def __init__(self, data: bytes = b"") -> None:
        self._blocks: list[mmap.mmap] = []
        self._last = bytearray()
        self.append(data)

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes."""
        view = memoryview(data)
        while view:
            room = BLOCK - len(self._last)
            self._last += view[:room]
            view = view[room:]
            if len(self._last) == BLOCK:
                block = mmap.mmap(-1, BLOCK)
                block[:] = self._last
                self._blocks.append(block)
                self._last = bytearray()

    def pieces(self) -> Iterator[bytes]:
        """Yield everything, a block at a time."""
        for block in self._blocks:
            yield block[:]
        if self._last:
            yield bytes(self._last)

    def clear(self) -> None:
        """Drop everything."""
        for block in self._blocks:
            block.close()
        self._blocks.clear()
        self._last.clear()

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces())

    def __len__(self) -> int:
        return len(self._blocks) * BLOCK + len(self._last)
