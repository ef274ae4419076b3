"""Frames and fields of the agent protocol (docs/agent-protocol.md), in both directions.

Every byte from the other side is hostile: whatever breaks a rule raises ProtocolViolation.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from assay.domain.errors import ProtocolViolation

VERSION: Final = 1
MOST_PAYLOAD: Final = 65_536
WINDOW_BYTES: Final = 1024 * 1024
"""Output of one execution that the agent may keep unacknowledged."""
MOST_STREAM_CHANGES: Final = 4096
"""Changes between standard output and error in the output that the agent keeps."""
MOST_PING: Final = 64
MOST_PREPARE: Final = 16_384

HELLO: Final = 1
READY: Final = 2
REFUSED: Final = 3
PING: Final = 4
PONG: Final = 5
EXEC: Final = 16
EXIT: Final = 17
RELEASE: Final = 18
SIGNAL: Final = 19
RESIZE: Final = 20
CANCEL: Final = 21
ATTACH: Final = 22
FAILED: Final = 23
PREPARE: Final = 24
WAITS: Final = 25
OUTPUT: Final = 32
ACK: Final = 33
INPUT: Final = 34
END: Final = 35
WINDOW: Final = 36

TO_HOST: Final = frozenset({READY, REFUSED, PING, PONG, EXIT, FAILED, WAITS, OUTPUT, WINDOW})
TO_AGENT: Final = frozenset(
    {HELLO, PING, PONG, EXEC, RELEASE, SIGNAL, RESIZE, CANCEL, ATTACH, PREPARE, ACK, INPUT, END}
)
OF_CONNECTION: Final = frozenset({HELLO, READY, REFUSED, PING, PONG, PREPARE, WAITS})
"""Types that live on channel 0; every other type belongs to an execution."""

# The type is read together with the three reserved bytes, so that these can only be zero.
_HEADER: Final = struct.Struct("<III")
_FIELD: Final = struct.Struct("<BI")
_NUMBER: Final = struct.Struct("<Q")
_OUTPUT: Final = struct.Struct("<QB")
_WINDOW: Final = struct.Struct("<QB")
_SIZE: Final = struct.Struct("<HH")

INPUT_BYTES: Final = MOST_PAYLOAD - _NUMBER.size
OUTPUT_BYTES: Final = MOST_PAYLOAD - _OUTPUT.size


class Frame(NamedTuple):
    """One frame as it was received."""

    channel: int
    type: int
    payload: bytes


def frame(channel: int, kind: int, payload: bytes = b"") -> bytes:
    """Encode one frame; a payload has at most MOST_PAYLOAD bytes."""
    return _HEADER.pack(len(payload), channel, kind) + payload


class FrameDecoder:
    """Cuts a stream of bytes into frames; keeps less than one frame between two calls."""

    def __init__(self, types: frozenset[int]) -> None:
        self._types = types
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes; take all of them before the next call."""
        if self._rest:
            data = self._rest + data
        position, end = 0, len(data)
        while end - position >= _HEADER.size:
            length, channel, kind = _HEADER.unpack_from(data, position)
            self._check(length, channel, kind)
            start = position + _HEADER.size
            if start + length > end:
                break
            position = start + length
            yield Frame(channel, kind, data[start:position])
        self._rest = data[position:]

    def _check(self, length: int, channel: int, kind: int) -> None:
        if length > MOST_PAYLOAD:
            raise violation(f"a payload of {length} bytes")
        if kind not in self._types:
            raise violation(f"a frame of type {kind:#x}")
        if (channel == 0) != (kind in OF_CONNECTION):
            raise violation(f"a frame of type {kind} on channel {channel}")


def violation(what: str) -> ProtocolViolation:
    """The error for bytes that break the protocol."""
    return ProtocolViolation("the sandbox's agent broke the protocol", detail=what)


def field(tag: int, value: bytes) -> bytes:
    """Encode one field."""
    return _FIELD.pack(tag, len(value)) + value


def number(tag: int, value: int) -> bytes:
    """Encode one field that holds a number."""
    return field(tag, _NUMBER.pack(value))


def fields(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and value of every field of a payload, in order."""
    position, end = 0, len(payload)
    while position < end:
        start = position + _FIELD.size
        if start > end:
            raise violation("a field without its length")
        tag, length = _FIELD.unpack_from(payload, position)
        position = start + length
        if position > end:
            raise violation(f"field {tag} is longer than its frame")
        yield tag, payload[start:position]


def to_number(value: bytes) -> int:
    """Decode a number, as it stands in a field or is a whole payload."""
    if len(value) != _NUMBER.size:
        raise violation(f"a number of {len(value)} bytes")
    return int.from_bytes(value, "little")


def to_text(value: bytes) -> str:
    """Decode a text for people; what is not UTF-8 in it is replaced."""
    return value.decode("utf-8", errors="replace")


def output_frame(channel: int, offset: int, stream: int, data: bytes) -> bytes:
    """Encode OUTPUT; `stream` is 1 for standard output and 2 for standard error."""
    return frame(channel, OUTPUT, _OUTPUT.pack(offset, stream) + data)


def to_output(payload: bytes) -> tuple[int, int, bytes]:
    """Decode OUTPUT into offset, stream and bytes, of which there is at least one."""
    if len(payload) <= _OUTPUT.size:
        raise violation("output without bytes")
    offset, stream = _OUTPUT.unpack_from(payload)
    if stream not in (1, 2):
        raise violation(f"output of stream {stream}")
    return offset, stream, payload[_OUTPUT.size :]


def input_frame(channel: int, offset: int, data: bytes | memoryview) -> bytes:
    """Encode INPUT; `data` has at most INPUT_BYTES."""
    length = _NUMBER.size + len(data)
    return b"".join((_HEADER.pack(length, channel, INPUT), _NUMBER.pack(offset), data))


def to_input(payload: bytes) -> tuple[int, bytes]:
    """Decode INPUT into offset and bytes."""
    if len(payload) < _NUMBER.size:
        raise violation("input without an offset")
    return to_number(payload[: _NUMBER.size]), payload[_NUMBER.size :]


def number_frame(channel: int, kind: int, value: int) -> bytes:
    """Encode a frame whose payload is one number: SIGNAL, ATTACH, ACK, END."""
    return _HEADER.pack(_NUMBER.size, channel, kind) + _NUMBER.pack(value)


def window_frame(channel: int, offset: int, *, closed: bool) -> bytes:
    """Encode WINDOW."""
    return frame(channel, WINDOW, _WINDOW.pack(offset, closed))


def to_window(payload: bytes) -> tuple[int, bool]:
    """Decode WINDOW into the offset and whether nobody reads any more."""
    if len(payload) != _WINDOW.size or payload[-1] > 1:
        raise violation("a window that does not parse")
    offset, closed = _WINDOW.unpack(payload)
    return offset, bool(closed)


def size_bytes(rows: int, columns: int) -> bytes:
    """Encode a terminal's size."""
    return _SIZE.pack(rows, columns)


def to_size(payload: bytes) -> tuple[int, int]:
    """Decode a terminal's size into rows and columns."""
    if len(payload) != _SIZE.size:
        raise violation("a terminal's size that does not parse")
    rows, columns = _SIZE.unpack(payload)
    return rows, columns
