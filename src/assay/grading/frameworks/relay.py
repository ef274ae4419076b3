"""Carries bytes between a framework in a grading sandbox and a learner's processes elsewhere."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec

from assay.agent.execution import Execution
from assay.domain.errors import ConnectionLost, ProtocolViolation, TaskFault
from assay.domain.outcome import Outcome
from assay.grading import feedback
from assay.grading.frameworks.reports import Report, Told
from assay.grading.frameworks.students import Ended, Student

_HEADER: Final = struct.Struct(">cI")
_FRAME_MOST: Final = 4 * 1024 * 1024
_STDERR_MOST: Final = 16 * 1024


class Relay:
    """One run of a framework. Frames are described in `inside/channel.py`."""

    def __init__(self, execution: Execution, student: Callable[[int | None], Student]) -> None:
        """Follow a framework; `student` gives the next process, told how many tests there are."""
        self.report = Report()
        self.stderr = bytearray()
        self._execution = execution
        self._next = student
        self._student: Student | None = None
        self._used = False
        """Whether the test that runs has sent anything to the learner's process."""
        self._ended: Ended | None = None
        """How that process ended, of this test."""
        self._turn = asyncio.Lock()

    async def serve(self) -> None:
        """Until the framework has ended. Raises TaskFault for what is no frame."""
        handlers: dict[bytes, Callable[[bytes], Awaitable[None]]] = {
            b"B": self._on_begin,
            b"D": self._on_data,
            b"E": self._on_end,
            b"C": self._on_tests,
            b"R": self._on_result,
            b"T": self._on_fault,
            b"F": self._on_finish,
            b"L": self._on_leave,
        }
        async for kind, content in self._frames():
            try:
                await handlers[kind](content)
            except (KeyError, msgspec.DecodeError) as error:
                raise TaskFault("the tests have disturbed their own framework") from error

    async def _frames(self) -> AsyncIterator[tuple[bytes, bytes]]:
        pending = bytearray()
        try:
            async for chunk in self._execution.output():
                if chunk.stream == "stderr":
                    self.stderr += chunk.data
                    del self.stderr[:-_STDERR_MOST]
                    continue
                pending += chunk.data
                while len(pending) >= _HEADER.size:
                    kind, length = _HEADER.unpack_from(pending)
                    if length > _FRAME_MOST:
                        raise TaskFault("the tests have disturbed their own framework")
                    if len(pending) < _HEADER.size + length:
                        break
                    content = bytes(pending[_HEADER.size : _HEADER.size + length])
                    del pending[: _HEADER.size + length]
                    yield kind, content
        except (ConnectionLost, ProtocolViolation):
            return  # how it ended says it

    async def _send(self, kind: bytes, content: bytes) -> None:
        async with self._turn:
            if not self._execution.ended:
                await self._execution.write(_HEADER.pack(kind, len(content)) + content)

    # --- the learner's processes -----------------------------------------------------------------

    async def _on_begin(self, content: bytes) -> None:
        if self._student is not None:
            raise TaskFault("the tests have disturbed their own framework")
        ids = self.report.ids
        self._student = self._next(None if ids is None else len(ids))
        await self._student.begin(self._given, self._heard)

    async def _given(self, data: bytes) -> None:
        await self._send(b"d", data)

    async def _heard(self, outcome: Outcome) -> None:
        await self._send(b"x", json.dumps({"words": feedback.words(outcome)}).encode())

    async def _on_data(self, content: bytes) -> None:
        self._used = True
        if self._student is not None:
            await self._student.write(content)

    async def _on_end(self, content: bytes) -> None:
        if self._student is not None:
            ended, self._student = await self._student.end(), None
            # The former file's process is let go of when the next file's first test begins, and
            # that of what several tests share when the next test does.
            self._used = self._used and content != b"false"
            self._ended = ended if self._used else None
        await self._send(b"e", b"")

    # --- what is told ----------------------------------------------------------------------------

    async def _on_tests(self, content: bytes) -> None:
        self.report.collect(msgspec.json.decode(content, type=list[str]))

    async def _on_result(self, content: bytes) -> None:
        current = self._student.ended if self._student is not None and self._used else None
        self.report.add(msgspec.json.decode(content, type=Told), self._ended or current)
        self._used, self._ended = False, None

    async def _on_fault(self, content: bytes) -> None:
        self.report.fault = msgspec.json.decode(content, type=str)

    async def _on_finish(self, content: bytes) -> None:
        self.report.finished = True

    async def _on_leave(self, content: bytes) -> None:
        await self._execution.end_input()
