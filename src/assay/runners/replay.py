"""Output on its way to a client, kept until the client has it for sure."""

from __future__ import annotations

from collections import deque
from typing import Final

from assay.agent import protocol as wire
from assay.agent.execution import Stream
from assay.domain.errors import InvalidInput, OffsetLost
from assay.runners.values import Output

ACK_BYTES: Final = 128 * 1024
ACK_PIECES: Final = 1024
"""So much that nobody needs any more is worth a message to the agent."""
_PIECES_MOST: Final = wire.MOST_STREAM_CHANGES + wire.WINDOW_BYTES // 4096


class _Piece:
    """Neighbours of one stream, grown together."""

    __slots__ = ("data", "offset", "stream")

    def __init__(self, stream: Stream, offset: int, data: bytes) -> None:
        self.stream = stream
        self.offset = offset
        self.data: bytes | bytearray = data

    @property
    def end(self) -> int:
        return self.offset + len(self.data)

    def take(self, stream: Stream, data: bytes) -> bool:
        """Grow by `data` if it belongs here and there is room."""
        if stream != self.stream or len(self.data) + len(data) > wire.MOST_PAYLOAD:
            return False
        if not isinstance(self.data, bytearray):
            self.data = bytearray(self.data)
        self.data += data
        return True


class Replay:
    """The output of one execution that its client has not confirmed, and one reader's place in it.

    The agent sends at most 1 MiB without confirmation, so that this is what an execution can
    take here, whatever its program and its client do. Offsets count both streams together.
    """

    __slots__ = ("_index", "_pieces", "_released", "_told", "end", "position", "start")

    def __init__(self, start: int = 0) -> None:
        self.start = start
        """What is before it was confirmed, and is not kept."""
        self.end = start
        """Behind the last byte that has come."""
        self.position = start
        """Behind the last byte that the reader was given."""
        self._pieces: deque[_Piece] = deque()
        self._index = 0
        self._told = start
        self._released = 0

    def append(self, stream: Stream, data: bytes) -> None:
        """Take what comes next. Raises ProtocolViolation when it is cut finer than is allowed."""
        offset, self.end = self.end, self.end + len(data)
        if self.end <= self.start:  # the client said already that it has it
            return
        if self._pieces and self._pieces[-1].take(stream, data):
            return
        if len(self._pieces) >= _PIECES_MOST:
            raise wire.violation("more changes of stream than may be kept")
        self._pieces.append(_Piece(stream, offset, data))

    def next(self) -> Output | None:
        """Give the reader what it has not had, a piece at a time."""
        while self._index < len(self._pieces):
            piece = self._pieces[self._index]
            offset = max(self.position, piece.offset)
            if offset < piece.end:
                self.position = piece.end
                data = piece.data if offset == piece.offset else piece.data[offset - piece.offset :]
                return Output(piece.stream, offset, bytes(data))
            if self._index == len(self._pieces) - 1:  # the last one may still grow
                break
            self._index += 1
        return None

    def resume(self, offset: int, *, most: int) -> int | None:
        """Begin anew for a reader who has everything before `offset`; see `acknowledge`.

        `most`: how far the output goes that somebody can have had. Raises OffsetLost.
        """
        if offset < self.start:
            raise OffsetLost(f"the output before {self.start} was confirmed, and is not kept")
        if offset > max(most, self.end):
            raise OffsetLost(f"the output has not come to {offset} yet")
        self.position = offset
        self._index = 0
        return self._forget(offset)

    def acknowledge(self, offset: int) -> int | None:
        """Forget what the reader has for sure: everything before `offset`.

        Returns an offset that the agent is to be told now; None while it isn't worth a message.
        Raises InvalidInput for what the reader can't have.
        """
        if offset > self.position:
            raise InvalidInput(f"output up to {offset} was not sent yet")
        return self._forget(offset) if offset > self.start else None

    def drop(self, count: int) -> int | None:
        """Let so many bytes that have come go by, which nobody wants; as `acknowledge`."""
        self.end += count
        self.position = max(self.position, self.end)
        return self._forget(self.end)

    def _forget(self, offset: int) -> int | None:
        self.start = offset
        while self._pieces and self._pieces[0].end <= offset:
            self._pieces.popleft()
            self._released += 1
            self._index = max(0, self._index - 1)
        if offset > self.end or (offset - self._told < ACK_BYTES and self._released < ACK_PIECES):
            return None
        self._told = offset
        self._released = 0
        return offset

    @property
    def unconfirmed(self) -> int:
        """Bytes that have come and were not confirmed."""
        return max(0, self.end - self.start)
