"""The grading sandbox's end of the channel to the host, and through it to a student sandbox.

Frames of a letter, a length and bytes. To the host: B a student's process is wanted, D bytes for
it, E it isn't wanted any more (`false` if it was not that of the test whose result is told next), C
the tests that there are, R a test's result, T the task is at fault, F all tests are done, L nothing
more is read. From the host: d bytes of the student's process, x it has ended by itself, e what B
began is over.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Callable
from typing import Any

from . import values

_HEADER = struct.Struct(">cI")


class LearnerEnded(BaseException):
    """The learner's process is gone, hangs or answers nonsense. A test can't go on without it.

    No Exception, so that a test doesn't take it for one that the learner's code has raised.
    """


class Channel:
    """What the host is told and asked."""

    def __init__(self, source: int, sink: int, *, call_seconds: float) -> None:
        self._source, self._sink = source, sink
        self._call_seconds = call_seconds
        self._answers = bytearray()
        self.open = False
        """Whether there is a process of the learner's."""
        self.broken = ""
        """Why it is of no use any more."""
        self.slow = False
        """Whether that is because a call took too long."""
        self.number = 0
        """Of the process; what was made in one is of no use in another."""

    # --- to the host ---------------------------------------------------------------------------

    def tell(self, kind: bytes, message: Any) -> None:
        """Tell the host something."""
        # Half of a surrogate pair is no text for the host.
        self._send(kind, json.dumps(message, ensure_ascii=False).encode(errors="replace"))

    def _send(self, kind: bytes, content: bytes) -> None:
        frame = _HEADER.pack(kind, len(content)) + content
        while frame:
            frame = frame[os.write(self._sink, frame) :]

    def close(self, *, test: bool = True) -> None:
        """Let go of the learner's process: that of the test whose result is told next, or not."""
        if not self.open:
            return
        self.tell(b"E", test)
        while self._receive(None)[0] != b"e":
            pass
        self.open, self.broken, self.slow = False, "", False
        self._answers.clear()

    # --- to the learner's process --------------------------------------------------------------

    def ask(self, request: dict[str, Any], on_back: Callable[[Any], dict[str, Any]]) -> Any:
        """One request and its answer. Raises LearnerEnded."""
        if not self.open:
            self.tell(b"B", None)
            self.open, self.number = True, self.number + 1
        if self.broken:
            raise LearnerEnded(self.broken)
        self._write(request)
        while True:
            answer = self._read(time.monotonic() + self._call_seconds)
            if not isinstance(answer, dict):
                self._break("it sent something that is no answer")
            if "back" not in answer:
                return answer
            self._write(on_back(answer))

    def _write(self, message: dict[str, Any]) -> None:
        text = values.dumps(message)
        self._send(b"D", struct.pack(">I", len(text)) + text)

    def _read(self, deadline: float) -> Any:
        length = struct.unpack(">I", self._bytes(4, deadline))[0]
        if length > values.MESSAGE_MOST:
            self._break("it sent more than an answer may have")
        text = self._bytes(length, deadline)
        try:
            return values.loads(text)
        except values.Unfit:
            return self._break("it sent something that is no answer")

    def _bytes(self, count: int, deadline: float) -> bytes:
        while len(self._answers) < count:
            kind, content = self._receive(deadline)
            if kind == b"d":
                self._answers += content
            elif kind == b"x":
                self._break(json.loads(content)["words"])
            elif kind == b"":
                self.slow = True
                self._break(f"a call took more than {self._call_seconds:g} s")
        found = bytes(self._answers[:count])
        del self._answers[:count]
        return found

    def _break(self, why: str) -> Any:
        self.broken = why
        raise LearnerEnded(why)

    def fail(self, why: str) -> Any:
        """What came makes no sense: nothing more of this process is believed."""
        return self._break(why)

    def _receive(self, deadline: float | None) -> tuple[bytes, bytes]:
        """A frame of the host, or an empty kind when there was none in time."""
        if deadline is not None:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._source], [], [], left)[0]:
                return b"", b""
        kind, length = _HEADER.unpack(self._exactly(_HEADER.size))
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        pieces = b""
        while len(pieces) < count:
            piece = os.read(self._source, count - len(pieces))
            if not piece:
                os._exit(70)  # the host is gone
            pieces += piece
        return pieces
