"""Processes of a learner's, each in a sandbox of its own, which the host begins and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from assay.agent.entries import Entry
from assay.agent.execution import Execution
from assay.agent.files import put_files
from assay.domain.command import Command
from assay.domain.errors import ConnectionLost, GradingLost, ProtocolViolation
from assay.domain.facts import Facts
from assay.domain.outcome import Outcome, OutcomeKind
from assay.grading.attempt import Attempt

_STDERR_MOST: Final = 8 * 1024

Given = Callable[[bytes], Awaitable[None]]
Heard = Callable[[Outcome], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a process of the learner's ended."""

    outcome: Outcome
    by_itself: bool
    """Not because its test was over."""
    facts: Facts
    stderr: bytes


class Student:
    """One process: its sandbox is made at once, itself when it is wanted."""

    def __init__(self, attempt: Attempt, entries: Sequence[Entry], command: Command) -> None:
        self._attempt = attempt
        self._entries = entries
        self._command = replace(command, stdin=True, last=True)
        """Its limits are cut when it starts."""
        self._wanted = asyncio.Event()
        self._started = asyncio.Event()
        self._over = asyncio.Event()
        self._execution: Execution | None = None
        self._closing = False
        self._given: Given | None = None
        self._heard: Heard | None = None
        self.ended: Ended | None = None

    async def live(self) -> None:
        """From its sandbox's making to its end. Raises what sandboxes do."""
        async with self._attempt.place(beside=True) as place:
            await put_files(place.session.agent, place.blueprint.root.working_folder, self._entries)
            await self._wanted.wait()
            limits = self._attempt.account.cut(self._command.limits)
            self._command = replace(self._command, limits=limits)
            self._execution = await place.session.start(self._command)
            self._started.set()
            try:
                stderr = await self._carry(self._execution)
                facts, outcome = await place.session.conclude(self._execution, self._command)
            except BaseException:
                self._execution.abandon()
                raise
            self._attempt.account.spend(facts.cpu_ns, by_learner=True)
            if outcome.kind is OutcomeKind.LOST:
                raise GradingLost(f"a sandbox was lost: {outcome.reason}")
            by_itself = outcome.kind is not OutcomeKind.CANCELLED
            self.ended = Ended(outcome=outcome, by_itself=by_itself, facts=facts, stderr=stderr)
            if not self._closing:
                assert self._heard is not None
                await self._heard(outcome)
            self._over.set()

    async def _carry(self, execution: Execution) -> bytes:
        stderr = bytearray()
        assert self._given is not None
        try:
            async for chunk in execution.output():
                if chunk.stream == "stdout":
                    await self._given(chunk.data)
                else:
                    stderr += chunk.data[: _STDERR_MOST - len(stderr)]
        except (ConnectionLost, ProtocolViolation):
            pass  # `conclude` says it
        return bytes(stderr)

    async def begin(self, given: Given, heard: Heard) -> None:
        """Start it. `given` takes what it writes, `heard` is told when it ends by itself."""
        self._given, self._heard = given, heard
        self._wanted.set()
        await self._started.wait()

    async def write(self, data: bytes) -> None:
        """What it reads; nothing once it has ended."""
        assert self._execution is not None
        if not self._execution.ended:
            await self._execution.write(data)

    async def end(self) -> Ended:
        """End it, if it has not ended itself, and say how it ended."""
        self._closing = True
        assert self._execution is not None
        self._execution.kill()
        await self._over.wait()
        assert self.ended is not None
        return self.ended
