"""One client's view of an execution, for as long as its connection lasts."""

from __future__ import annotations

from assay.domain.command import TerminalSize
from assay.domain.errors import InvalidInput
from assay.runners.executions import HostedExecution
from assay.runners.link import Link
from assay.runners.values import Ended, Event, InputWindow, Moved, Output, Replaced, State


class Attachment:
    """What `Runner.follow` gives; one task reads its events, and any may call the rest.

    Whoever has one ends it with `finish`, `detach` or `abandon`.
    """

    __slots__ = (
        "_hosted", "_link", "_over", "_window", "execution_id", "input_offset", "resumed",
        "started_offset",
    )  # fmt: skip

    def __init__(self, hosted: HostedExecution, link: Link, *, resumed: bool) -> None:
        self.execution_id = hosted.id
        self.resumed = resumed
        self.started_offset = hosted.replay.position
        """The offset of the first output that comes."""
        self._window = hosted.stdin.window
        self.input_offset = self._window.offset
        """Standard input before it is in the sandbox; a resuming client sends from there."""
        self._hosted = hosted
        self._link = link
        self._over = False
        hosted.attach(self)

    # --- what comes ---------------------------------------------------------------------------

    def events(self) -> Attachment:
        """Iterate over what happens, `Ended` last, or `Replaced`, or `Moved`.

        That a connection to the sandbox breaks and is made again doesn't show here.
        """
        return self

    def __aiter__(self) -> Attachment:
        return self

    async def __anext__(self) -> Event:
        if self._over:
            raise StopAsyncIteration
        while (event := self._next()) is None:
            await self._hosted.changed()
        self._over = isinstance(event, Ended | Replaced | Moved)
        return event

    def _next(self) -> Event | None:
        hosted = self._hosted
        if hosted.attached_by is not self:
            return Moved() if hosted.moved else Replaced()
        output: Output | None = hosted.replay.next()
        if output is not None:
            return output
        window: InputWindow = hosted.stdin.window
        if window != self._window:
            self._window = window
            return window
        if hosted.facts is None or hosted.outcome is None:
            return None
        return Ended(facts=hosted.facts, outcome=hosted.outcome, offset=hosted.replay.end)

    @property
    def first_output_seconds(self) -> float | None:
        """From the program's start to its first output, if there was any."""
        first = self._hosted.first_output_at
        return None if first is None else first - self._hosted.started_at

    def acknowledge(self, offset: int) -> None:
        """The client has all output before `offset`. Raises InvalidInput when it can't have."""
        if self._is_current():
            self._hosted.acknowledge(offset)

    # --- what goes ----------------------------------------------------------------------------

    async def write(self, data: bytes, offset: int | None = None) -> None:
        """Send standard input; once the program reads no more, it is dropped.

        With `offset`, that of the first byte, nothing waits, and what was received before is
        dropped. InvalidInput: bytes are missing, or it's more than 1 MiB beyond what is there.
        Without, it follows what came before, and waits for room.
        """
        hosted = self._hosted
        self._require_input()
        if offset is not None:
            hosted.stdin.take(data, offset)
            hosted.flush_input()
            return
        while data and self._takes_input():
            room = hosted.stdin.room
            if room > 0:
                hosted.stdin.take(data[:room])
                data = data[room:]
                hosted.flush_input()
            else:
                await hosted.changed()

    async def end_input(self) -> None:
        """End standard input; with a terminal that is its end-of-file character."""
        self._require_input()
        if self._takes_input():
            self._hosted.stdin.end_here(terminal=self._hosted.command.terminal is not None)
            self._hosted.flush_input()

    async def signal(self, number: int) -> None:
        """Send a signal to the program's process group (a terminal's: the foreground group)."""
        await self._link.connected()
        if self._hosted.execution is not None:
            await self._hosted.execution.signal(number)

    async def resize(self, size: TerminalSize) -> None:
        """Tell the program's terminal its new size."""
        if self._hosted.command.terminal is None:
            raise InvalidInput("this execution has no terminal")
        await self._link.connected()
        if self._hosted.execution is not None:
            await self._hosted.execution.resize(size)

    async def cancel(self) -> None:
        """Kill the program and all that belongs to it; `Ended` says then that it was cancelled."""
        self._hosted.kill()

    # --- the end of it ------------------------------------------------------------------------

    async def finish(self) -> None:
        """The client has `Ended`: forget the execution. Raises InvalidInput before it has ended."""
        if self._hosted.state is not State.ENDED:
            raise InvalidInput("the execution has not ended yet")
        if self._is_current():
            self._hosted.discard()

    async def detach(self) -> None:
        """The client's connection is gone, and the execution goes on.

        A client of assay.v1 can come back. Any other can't: then output is discarded.
        """
        self._hosted.detach(self)

    async def abandon(self) -> None:
        """The client has left for good: the program is killed, and nobody asks how it ended."""
        self._hosted.abandon(self)

    def _is_current(self) -> bool:
        return self._hosted.attached_by is self

    def _takes_input(self) -> bool:
        hosted = self._hosted
        return not hosted.stdin.closed and hosted.state is State.RUNNING and self._is_current()

    def _require_input(self) -> None:
        command = self._hosted.command
        if not command.stdin and command.terminal is None:
            raise InvalidInput("this execution was started without standard input")
