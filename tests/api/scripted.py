"""A runner whose executions are scripts: what a conversation is tested with alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from assay.domain.command import TerminalSize
from assay.domain.errors import InvalidInput, RunnerGone, UnknownExecution
from assay.domain.facts import Facts
from assay.domain.limits import ExecutionLimits
from assay.domain.outcome import classify
from assay.runners import Ended, Output
from assay.runners.values import Event


def ended(facts: Facts | None = None, *, offset: int = 0) -> Ended:
    facts = Facts(exit_code=0) if facts is None else facts
    return Ended(facts=facts, outcome=classify(facts, ExecutionLimits()), offset=offset)


def outputs(stream: Any, *pieces: bytes) -> list[Event]:
    events: list[Event] = []
    offset = 0
    for piece in pieces:
        events.append(Output(stream, offset, piece))
        offset += len(piece)
    return events


@dataclass
class Scripted:
    """An attachment that says what its script says, then waits; notes what is done to it."""

    script: Sequence[Event] = ()
    execution_id: str = "scripted"
    resumed: bool = False
    started_offset: int = 0
    input_offset: int = 0
    done: list[Any] = field(default_factory=list)
    acknowledged: int = 0
    sent: int = 0
    more: asyncio.Event = field(default_factory=asyncio.Event)
    reads: bool = True
    """False: the program never reads."""

    async def events(self) -> AsyncIterator[Event]:
        for event in self.script:
            self.sent += 1
            yield event
            if isinstance(event, Ended):
                return
        await self.more.wait()
        yield ended()

    def acknowledge(self, offset: int) -> None:
        self.acknowledged = offset

    async def write(self, data: bytes, offset: int | None = None) -> None:
        if offset is not None and offset > 100:
            raise InvalidInput("bytes are missing")
        self.done.append(("write", data, offset))
        if not self.reads:
            await asyncio.Event().wait()

    async def end_input(self) -> None:
        self.done.append("end-input")

    async def signal(self, number: int) -> None:
        self.done.append(("signal", number))

    async def resize(self, size: TerminalSize) -> None:
        self.done.append(("resize", size.rows, size.columns))

    async def cancel(self) -> None:
        self.done.append("cancel")
        self.more.set()

    async def finish(self) -> None:
        self.done.append("finish")

    async def detach(self) -> None:
        self.done.append("detach")

    async def abandon(self) -> None:
        self.done.append("abandon")


@dataclass
class ScriptedRunners:
    """One runner, "r-1", with one execution, "e"."""

    attachment: Scripted
    offsets: list[int | None] = field(default_factory=list)

    def get(self, runner_id: str, *, owner: str | None, generation: int | None = None) -> Any:
        if runner_id != "r-1" or generation not in (None, 1):
            raise RunnerGone("the lease is over")
        return self

    def executions(self) -> list[Any]:
        return []

    async def follow(self, execution_id: str, *, offset: int | None = None) -> Scripted:
        if execution_id != "e":
            raise UnknownExecution("there is none")
        self.offsets.append(offset)
        return self.attachment


async def settled(attachment: Scripted, last: Any) -> None:
    """Wait until the server has done the last thing to an execution."""
    for _ in range(1000):
        if last in attachment.done:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(attachment.done)
