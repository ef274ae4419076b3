"""Executions at a steady rate, whatever happens to machines, and how each of them ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import assay_client
from assay_client import AssayError, Limits
from assay_client.errors import ConnectionLost, Unreachable

WAIT = "echo begun; sleep 1000"


@dataclass(kw_only=True)
class Load:
    """Runners of one environment, each with a program that only waits, and one execution after the
    other in whichever is free."""

    client: assay_client.Client
    environment: str
    rate: float
    runners: int
    done: int = 0
    missed: int = 0
    """Turns at which no runner was free, or none that is known to be well."""
    wrong: list[str] = field(default_factory=list)
    """Executions that were lost, or said something else, though their runner is well."""
    lost: dict[str, float] = field(default_factory=dict)
    """Runners whose waiting program was lost -> when."""
    lost_executions: int = 0
    others: list[str] = field(default_factory=list)
    """Whatever else a waiting program ended with."""
    waits: list[float] = field(default_factory=list)
    """How long each execution took, seconds."""
    _free: asyncio.Queue[assay_client.Runner] = field(default_factory=asyncio.Queue)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _suspects: list[tuple[str, str]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It goes on from the beginning to the end of the block."""
        await asyncio.gather(*(self._add() for _ in range(self.runners)))
        ticking = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.wait([ticking])
            await self._settle()

    async def _settle(self) -> None:
        for task in self._tasks:
            if task.get_name() == "wait":
                task.cancel()
        await asyncio.wait(self._tasks, timeout=60)
        # An execution may know of its machine's end before the program beside it does.
        self.wrong += [
            f"{runner}: {why}" for runner, why in self._suspects if runner not in self.lost
        ]
        self.lost_executions = sum(1 for runner, _ in self._suspects if runner in self.lost)

    def _start(self, work: object, name: str) -> None:
        task = asyncio.create_task(work, name=name)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _add(self) -> None:
        runner = await self.client.create_runner(self.environment, inactivity_seconds=0)
        self._start(self._watch(runner, await self._begin(runner)), "wait")
        self._free.put_nowait(runner)

    async def _begin(self, runner: assay_client.Runner) -> assay_client.Process:
        process = await runner.spawn("/bin/bash", "-c", WAIT, limits=Limits(wall_seconds=120))
        await anext(process)
        return process

    async def _watch(self, runner: assay_client.Runner, process: assay_client.Process) -> None:
        """See how the program ends that only waits, and have another runner in place of its own."""
        while (kind := await self._ended(process)) == "timed_out":
            process = await self._begin(runner)
        if kind == "lost":
            self.lost[runner.id] = time.monotonic()
        else:
            self.others.append(kind)
        self._start(self._replace(), "replace")

    async def _ended(self, process: assay_client.Process) -> str:
        try:
            _, _, end = await process.collect()
            return str(end.outcome.kind)
        except AssayError as error:
            return repr(error)
        finally:
            await process.aclose()

    async def _replace(self) -> None:
        while True:
            with contextlib.suppress(AssayError):
                return await self._add()
            await asyncio.sleep(0.5)

    async def _tick(self) -> None:
        number, started = 0, time.monotonic()
        while True:
            number += 1
            await asyncio.sleep(max(0.0, started + number / self.rate - time.monotonic()))
            if self._free.empty():
                self.missed += 1
                continue
            self._start(self._run(self._free.get_nowait(), number), "run")

    async def _run(self, runner: assay_client.Runner, number: int) -> None:
        started = time.monotonic()
        try:
            outcome, said = await self._echo(runner, str(number))
        except AssayError as error:
            self._suspects.append((runner.id, repr(error)))
            return
        if outcome.kind == "exited" and said == f"{number}\n".encode():
            self.done += 1
            self.waits.append(time.monotonic() - started)
            self._free.put_nowait(runner)
        else:
            self._suspects.append((runner.id, f"{outcome} {said!r}"))

    async def _echo(
        self, runner: assay_client.Runner, text: str
    ) -> tuple[assay_client.Outcome, bytes]:
        process = await self._asked_for(runner, text)
        try:
            said, _, end = await process.collect()
            return end.outcome, said
        finally:
            await process.aclose()

    async def _asked_for(self, runner: assay_client.Runner, text: str) -> assay_client.Process:
        while True:
            try:
                return await runner.spawn("echo", text)
            except (ConnectionLost, Unreachable):  # nothing runs until its output is asked for
                await asyncio.sleep(0.2)
