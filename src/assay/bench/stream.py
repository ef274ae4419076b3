"""`stream`: output and files at full speed, what they cost in memory, and a keystroke meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import string
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Final

from assay.agent.execution import Execution
from assay.agent.files import download, upload
from assay.agent.session import Session
from assay.bench import host
from assay.bench.figures import Check, Distribution, Figure, Report, Unit
from assay.bench.subject import (
    ENVIRONMENT,
    UNLIMITED,
    Progress,
    Subject,
    Unexpected,
    open_sessions,
)
from assay.domain.command import WORKSPACE, Command, TerminalSize
from assay.domain.limits import MIB, SandboxLimits

FLOOD_BYTES: Final = 512 * MIB
FILE_BYTES: Final = 100 * MIB
_LIMITS: Final = SandboxLimits(memory_bytes=512 * MIB, disk_bytes=128 * MIB)
"""Files live in the sandbox's memory."""
_LEAST_RATE: Final = 100e6
_MOST_ECHO_SECONDS: Final = 0.010
_MOST_GROWTH_BYTES: Final = 4e6
_SECONDS_BETWEEN_KEYS: Final = 0.01
_SECONDS_BETWEEN_LOOKS: Final = 0.02
_IDLE_SECONDS: Final = 0.5
_FILE: Final = "large"

_ECHO: Final = """
import os, tty
tty.setraw(0)
os.write(1, b"#")
while key := os.read(0, 1):
    os.write(1, key)
"""
"""What editors and prompts do: every key is read and answered by the program itself."""


@dataclass(kw_only=True, slots=True)
class _Flow:
    """One kind of transfer in one sandbox: a number for each round, echo for each keystroke."""

    rate: list[float] = field(default_factory=list)
    echo: list[float] = field(default_factory=list)
    server_growth: list[float] = field(default_factory=list)
    agent_growth: list[float] = field(default_factory=list)


class _Bench:
    """A sandbox, somebody at a terminal in it, and what was measured."""

    def __init__(self, session: Session, keyboard: _Keyboard) -> None:
        self.session = session
        self.keyboard = keyboard
        self.idle: list[float] = []
        self.flows = {name: _Flow() for name in TRANSFERS}
        processes = host.processes_of([session.sandbox.id])[session.sandbox.id]
        self.agent = processes[0] if processes else None

    def forget(self) -> None:
        """The first round fills what is filled once, so it doesn't count."""
        self.idle.clear()
        self.flows = {name: _Flow() for name in TRANSFERS}


async def measure(
    subjects: Sequence[Subject],
    *,
    repeats: int,
    progress: Progress,
    flood_bytes: int = FLOOD_BYTES,
    file_bytes: int = FILE_BYTES,
) -> Report:
    """Move everything `repeats` times for every subject, kind by kind in turn."""
    outside: list[float] = []
    async with _open(subjects) as benches:
        with file_of(file_bytes) as file:
            sizes = {"output": flood_bytes, "file in": file_bytes, "file out": file_bytes}
            for done in range(repeats + 1):
                for bench in benches:
                    await _round(bench, sizes, file)
                    if done == 0:
                        bench.forget()
                outside.append(await asyncio.to_thread(_flood_outside, flood_bytes))
                progress("output, files and keystrokes", done, repeats)
    floor = Distribution.of(outside[1:])
    return Report(
        name="stream",
        title="Output and files, and a keystroke in the same sandbox meanwhile",
        beside="floor, or when idle",
        figures=tuple(figure for bench in benches for figure in _figures(bench, floor)),
    )


@contextlib.asynccontextmanager
async def _open(subjects: Sequence[Subject]) -> AsyncIterator[list[_Bench]]:
    async with open_sessions(subjects, _LIMITS) as sessions:
        yield [_Bench(session, await _Keyboard.open(session)) for session in sessions]


@contextlib.contextmanager
def file_of(size: int) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        for _ in range(0, size, MIB):
            file.write(os.urandom(MIB))
        file.truncate(size)
        file.flush()
        yield file


async def _round(bench: _Bench, sizes: dict[str, int], file: IO[bytes]) -> None:
    nothing = asyncio.create_task(asyncio.sleep(_IDLE_SECONDS))
    bench.idle += await bench.keyboard.type_during(nothing)
    for name, transfer in TRANSFERS.items():
        await _during(bench, bench.flows[name], transfer(bench.session, sizes[name], file))


async def _during(bench: _Bench, flow: _Flow, transfer: Coroutine[Any, Any, float]) -> None:
    server, agent = _memory(bench)
    moving = asyncio.create_task(transfer)
    try:
        echo, peaks = await asyncio.gather(
            bench.keyboard.type_during(moving), _most_memory(bench, moving)
        )
        flow.rate.append(await moving)
    finally:
        moving.cancel()
    flow.echo += echo
    flow.server_growth.append(max(0, peaks[0] - server))
    flow.agent_growth.append(max(0, peaks[1] - agent))


# --- what is moved: each returns bytes per second ------------------------------------------------


def _flood_command(size: int) -> tuple[str, ...]:
    return (
        "/usr/bin/dd", "if=/dev/zero", "bs=65536", f"count={size // 65536}", "status=none",
    )  # fmt: skip


async def _output(session: Session, size: int, _: IO[bytes]) -> float:
    command = Command(argv=_flood_command(size), environment=ENVIRONMENT, limits=UNLIMITED)
    started = time.perf_counter()
    execution = await session.start(command)
    received = 0
    async for chunk in execution.output():
        received += len(chunk.data)
    await session.conclude(execution, command)
    return _rate(received, size, started)


async def _file_in(session: Session, size: int, file: IO[bytes]) -> float:
    file.seek(0)
    started = time.perf_counter()
    await upload(session.agent, WORKSPACE, _FILE, file, size)
    return _rate(size, size, started)


async def _file_out(session: Session, size: int, _: IO[bytes]) -> float:
    started = time.perf_counter()
    received = 0
    async for piece in download(session.agent, WORKSPACE, _FILE):
        received += len(piece)
    return _rate(received, size, started)


def _flood_outside(size: int) -> float:
    """The same program on the machine itself, its output through a pipe to this one."""
    started = time.perf_counter()
    received = 0
    with subprocess.Popen(_flood_command(size), stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        while piece := process.stdout.read(262_144):
            received += len(piece)
    return _rate(received, size, started)


def _rate(moved: int, size: int, started: float) -> float:
    seconds = time.perf_counter() - started
    if moved != size // 65536 * 65536 and moved != size:
        raise Unexpected(f"{moved:,} bytes came instead of {size:,}")
    return moved / seconds


TRANSFERS: Final[dict[str, Callable[[Session, int, IO[bytes]], Coroutine[Any, Any, float]]]] = {
    "output": _output,
    "file in": _file_in,
    "file out": _file_out,
}


# --- what is watched meanwhile -------------------------------------------------------------------


class _Keyboard:
    """A terminal with a program that answers every key."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._output = execution.output()
        self._keys = itertools.cycle(string.ascii_lowercase.encode())

    @classmethod
    async def open(cls, session: Session) -> _Keyboard:
        command = Command(
            argv=("/usr/bin/python3", "-c", _ECHO),
            environment=ENVIRONMENT,
            terminal=TerminalSize(),
            limits=UNLIMITED,
        )
        keyboard = cls(await session.start(command))
        await keyboard._shows(b"#")
        return keyboard

    async def type_during(self, work: asyncio.Future[Any]) -> list[float]:
        """Press a key again and again until the work is done; seconds until it was shown."""
        seconds = []
        while not work.done():
            started = time.perf_counter()
            key = bytes((next(self._keys),))
            await self._execution.write(key)
            await self._shows(key)
            seconds.append(time.perf_counter() - started)
            await asyncio.sleep(_SECONDS_BETWEEN_KEYS)
        return seconds

    async def _shows(self, text: bytes) -> None:
        async for chunk in self._output:
            if chunk.data.endswith(text):
                return
        raise Unexpected("the program at the terminal has ended")


async def _most_memory(bench: _Bench, work: asyncio.Future[Any]) -> tuple[int, int]:
    server, agent = _memory(bench)
    while not work.done():
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        now = _memory(bench)
        server, agent = max(server, now[0]), max(agent, now[1])
    return server, agent


def _memory(bench: _Bench) -> tuple[int, int]:
    """Bytes: this process's, the agent's."""
    return host.own_bytes(), 0 if bench.agent is None else host.proportional_bytes(bench.agent)


# --- what it means -------------------------------------------------------------------------------


def _figures(bench: _Bench, floor: Distribution) -> Iterator[Figure]:
    driver, idle = bench.session.driver.name, Distribution.of(bench.idle)
    for name, flow in bench.flows.items():
        yield _rate_figure(driver, name, flow, floor if name == "output" else None)
    for name, flow in bench.flows.items():
        yield _growth_figure(driver, f"{name}: growth of the server meanwhile", flow.server_growth)
        if bench.agent is not None:
            yield _growth_figure(driver, f"{name}: growth of the agent", flow.agent_growth)
    for name, flow in bench.flows.items():
        yield _echo_figure(driver, f"{name}: a keystroke's echo meanwhile", flow, idle)


def _rate_figure(driver: str, name: str, flow: _Flow, floor: Distribution | None) -> Figure:
    measured = Distribution.of(flow.rate)
    check = Check(
        promise="median ≥ 100 MB/s",
        value=measured.median,
        limit=_LEAST_RATE,
        unit=Unit.BYTES_PER_SECOND,
        at_least=True,
    )
    return Figure(
        driver=driver,
        name=name,
        unit=Unit.BYTES_PER_SECOND,
        measured=measured,
        beside=floor,
        checks=(check,),
    )


def _growth_figure(driver: str, name: str, growth: Sequence[float]) -> Figure:
    check = Check(
        promise="never above 4 MB", value=max(growth), limit=_MOST_GROWTH_BYTES, unit=Unit.BYTES
    )
    return Figure(
        driver=driver,
        name=name,
        unit=Unit.BYTES,
        measured=Distribution.of(growth),
        checks=(check,),
    )


def _echo_figure(driver: str, name: str, flow: _Flow, idle: Distribution) -> Figure:
    measured = Distribution.of(flow.echo)
    check = Check(
        promise="p95 ≤ 10 ms",
        value=measured.percentile(95),
        limit=_MOST_ECHO_SECONDS,
        unit=Unit.SECONDS,
    )
    return Figure(
        driver=driver,
        name=name,
        unit=Unit.SECONDS,
        measured=measured,
        beside=idle,
        checks=(check,),
    )
