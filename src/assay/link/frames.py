"""Frames: four bytes that say how many follow, the highest first; then these."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from assay.domain.errors import ProtocolViolation

_HEAD: Final = struct.Struct(">I")
HEAD_BYTES: Final = _HEAD.size


def frame(content: bytes) -> bytes:
    """A frame with this content."""
    return _HEAD.pack(len(content)) + content


class Frames:
    """Takes frames out of what came, of at most `most` bytes each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = bytearray()

    def feed(self, data: bytes | bytearray) -> Iterator[bytes]:
        """Return the frames that are whole now. Raises ProtocolViolation for one that is too long:
        nothing can be read after it.
        """
        self._held += data
        while (content := take_frame(self._held, self._most)) is not None:
            yield content


def take_frame(held: bytearray, most: int) -> bytes | None:
    """Take the first frame away, if all of it is there. Raises ProtocolViolation."""
    if len(held) < HEAD_BYTES:
        return None
    (length,) = _HEAD.unpack_from(held)
    if length > most:
        raise ProtocolViolation(f"a frame of {length} bytes was announced, of {most} at most")
    end = HEAD_BYTES + length
    if len(held) < end:
        return None
    content = bytes(held[HEAD_BYTES:end])
    del held[:end]
    return content
