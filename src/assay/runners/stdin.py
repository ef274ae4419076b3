"""Standard input on its way from a client to a program, kept until it is there for sure."""

from __future__ import annotations

from collections import deque
from typing import Final

from assay.agent import protocol as wire
from assay.agent.execution import Execution
from assay.domain.errors import InvalidInput
from assay.runners.values import InputWindow

WINDOW_BYTES: Final = 1024 * 1024
"""What a client may send beyond what is in the sandbox for sure."""
AGENT_ROOM: Final = 256 * 1024
"""What an agent takes before the program reads: its window is so far beyond what was read."""


class StandardInput:
    """The standard input of one execution, over all connections of its client and its agent.

    Nothing here waits: what the sandbox doesn't take now goes when its window moves.
    """

    __slots__ = ("_confirmed", "_ends", "_kept", "_start", "closed", "ended")

    def __init__(self, start: int = 0) -> None:
        self._start = start
        self._kept = bytearray()
        self._ends: deque[int] = deque()
        self._confirmed = start
        self.closed = False
        """The program reads no more."""
        self.ended = False
        """The client sends no more."""

    @property
    def end(self) -> int:
        """Behind the last byte that the client has sent."""
        return self._start + len(self._kept)

    @property
    def window(self) -> InputWindow:
        """What is in the sandbox for sure."""
        return InputWindow(self._confirmed, self.closed)

    @property
    def room(self) -> int:
        """Bytes that the client may send now."""
        return self._confirmed + WINDOW_BYTES - self.end

    def take(self, data: bytes, offset: int | None = None) -> None:
        """Take bytes of the client, of which `offset` is the first; what came before is dropped.

        Raises InvalidInput when bytes are left out, or come after the end or beyond the window.
        """
        if self.closed:
            return
        if offset is not None:
            if offset > self.end:
                raise InvalidInput(f"standard input from {self.end} to {offset} is missing")
            data = data[self.end - offset :]
        if data and self.ended:
            raise InvalidInput("standard input was ended already")
        if len(data) > self.room:
            raise InvalidInput(
                f"more standard input than the sandbox takes: at most {WINDOW_BYTES:,} bytes"
                f" beyond {self._confirmed:,}"
            )
        self._kept += data

    def end_here(self, *, terminal: bool) -> None:
        """Note the end of it: of a terminal an end-of-file, after which more may come."""
        if not self.ended and not self.closed:
            self._ends.append(self.end)
            self.ended = not terminal

    def flush(self, execution: Execution) -> None:
        """Send what the sandbox takes now."""
        if self.closed:
            return
        while True:
            sent = execution.input_offset
            upto = self._ends[0] if self._ends else self.end
            if sent < upto:
                view = memoryview(self._kept)[sent - self._start : upto - self._start]
                with view:
                    execution.offer(view)
            if not self._ends or execution.input_offset < self._ends[0]:
                return
            self._ends.popleft()
            execution.offer_end()

    def on_window(self, execution: Execution) -> bool:
        """Look at a new window, send what it lets go, and say whether the client must know."""
        before = self.window
        self.closed = self.closed or execution.input_closed
        # (What was not sent yet is not there, whatever an agent says.)
        self._confirm(min(execution.input_window - AGENT_ROOM, execution.input_offset))
        if self.closed:
            self._start = self.end
            self._kept.clear()
        else:
            self.flush(execution)
        return self.window != before

    def resume(self, execution: Execution) -> None:
        """Go on over a new connection. Raises ProtocolViolation when the agent makes no sense."""
        received = execution.input_offset
        if not self._start <= received <= self.end:
            raise wire.violation(f"standard input received up to {received}")
        self._confirm(received)
        if self.ended and not self._ends and not self.closed:
            self._ends.append(self.end)  # whether it had arrived isn't known, and twice is no harm

    def _confirm(self, offset: int) -> None:
        if offset > self._confirmed:
            self._confirmed = min(offset, self.end)
            del self._kept[: self._confirmed - self._start]
            self._start = self._confirmed
