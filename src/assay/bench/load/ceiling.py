"""`ceiling`: as many programs as the machine can start, beside a bare loop of the same.

Workers run a program again as soon as it has ended. The bare loop, one for each processor, spawns
the very same file and waits for it. Both take turns in the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from assay.agent.native import program
from assay.bench.figures import Check, Unit
from assay.bench.floor import bare_rate
from assay.bench.load.control import Generator
from assay.bench.load.plan import Closed, Lease, Program, Release
from assay.bench.load.report import Latency, LoadReport, Table, at_least
from assay.bench.load.setting import Setting, Watch
from assay.bench.load.target import Target

PYTHON_SHARE: Final = 0.60
SMALL_SHARE: Final = 0.15
SMALL_RATE: Final = 350.0
_HELLO: Final = "Hello, world!\n"
_C_HELLO: Final = b'#include <stdio.h>\nint main(void) { puts("Hello, world!"); return 0; }\n'
_WAYS: Final = {"run": "one request", "websocket": "request + stream"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ceiling:
    """The profile's options."""

    seconds: float = 5.0
    """Of each turn."""
    rounds: int = 3
    workers: int = field(default_factory=lambda: 4 * _processors())
    """A worker's program must wait for nobody while another one's answer is on its way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Subject:
    """A program, and the same outside."""

    program: Program
    outside: tuple[str, ...]
    share: float
    rate: float = 0.0

    def promised(self, bare: float) -> float:
        """Executions a second."""
        return max(self.share * bare, self.rate)


@dataclass(kw_only=True, slots=True)
class _Turns:
    """What was measured of one program."""

    bare: list[float] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in _WAYS})
    seconds: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in _WAYS})
    spent: dict[str, list[Mapping[str, float | None]]] = field(
        default_factory=lambda: {way: [] for way in _WAYS}
    )


def _processors() -> int:
    return len(os.sched_getaffinity(0))


@contextlib.asynccontextmanager
async def _c_hello(setting: Setting) -> AsyncIterator[tuple[str, ...]]:
    """A C hello as learners have it, made by the compiler of this machine, which is that of `host`.

    Without one, or for a server elsewhere, it is our own, which needs no library.
    """
    compiler = shutil.which("gcc")
    if compiler is None or setting.server is not None:
        yield (str(program("floor")), "--hello")
        return
    with tempfile.TemporaryDirectory(prefix="assay-hello-") as folder:
        source, made = f"{folder}/hello.c", f"{folder}/hello"
        await asyncio.to_thread(Path(source).write_bytes, _C_HELLO)
        compiling = await asyncio.create_subprocess_exec(compiler, "-O2", "-o", made, source)
        if await compiling.wait():
            made = ""
        yield (made,) if made else (str(program("floor")), "--hello")


def _subjects(hello: tuple[str, ...]) -> tuple[_Subject, ...]:
    return (
        _Subject(
            program=Program(
                name="Python hello", environment="python", expected=_HELLO,
                argv=("/usr/bin/python3", "-c", 'print("Hello, world!")'),
            ),
            outside=("/usr/bin/python3", "-c", 'print("Hello, world!")'),
            share=PYTHON_SHARE,
        ),
        _Subject(
            program=Program(
                name="true", environment="bash", argv=("/usr/bin/true",), expected=""
            ),
            outside=("/usr/bin/true",), share=SMALL_SHARE, rate=SMALL_RATE,
        ),
        _Subject(
            program=Program(
                name="C hello", environment="bash", expected=_HELLO,
                argv=("./hello", *hello[1:]), files={"made": Path(hello[0]).read_bytes()},
                # Files that come by the API may be run by their owner, and that is root.
                prepare=("/usr/bin/install", "-m", "755", "made", "hello"),
            ),
            outside=hello, share=SMALL_SHARE, rate=SMALL_RATE,
        ),
    )  # fmt: skip


async def measure(setting: Setting, options: Ceiling) -> LoadReport:
    """Take turns. Raises LoadFailed, and Unavailable without the program floor."""
    async with _c_hello(setting) as hello:
        return await _measure(setting, options, _subjects(hello))


async def _measure(setting: Setting, options: Ceiling, subjects: Sequence[_Subject]) -> LoadReport:
    pools = dict.fromkeys(("bash", "python"), options.workers)
    turns = {subject.program.name: _Turns() for subject in subjects}
    async with setting.target(pools) as target, setting.generator(target) as generator:
        for name, count in pools.items():
            await generator.do(Lease(environment=name, count=count))
        done = 0
        for _ in range(options.rounds):
            for subject in subjects:
                if not setting.stopped:
                    await _take_turns(target, generator, subject, options, turns)
                done += 1
                whole = options.rounds * len(subjects)
                setting.told({"what": "turns", "done": done, "whole": whole})
        await generator.do(Release())
    return _report(setting, options, subjects, turns)


async def _take_turns(
    target: Target,
    generator: Generator,
    subject: _Subject,
    options: Ceiling,
    turns: Mapping[str, _Turns],
) -> None:
    turn = turns[subject.program.name]
    turn.bare.append(
        await bare_rate(subject.outside, at_once=_processors(), seconds=options.seconds)
    )
    for way in _WAYS:
        job = Closed(
            program=subject.program, workers=options.workers, seconds=options.seconds, over=way
        )
        async with Watch(target, generator) as watch:
            result = await generator.do(job)
        journal = result.executions
        count = sum(1 for problem in journal.problem if not problem)
        turn.rates[way].append(count / result.seconds)
        turn.seconds[way] += [
            ended - scheduled
            for ended, scheduled in zip(journal.ended, journal.scheduled, strict=True)
        ]
        turn.spent[way].append(
            {
                name: None if spent is None else spent / max(count, 1)
                for name, spent in watch.spent.items()
            }
        )


# --- the report ----------------------------------------------------------------------------------


def _report(
    setting: Setting,
    options: Ceiling,
    subjects: Sequence[_Subject],
    turns: Mapping[str, _Turns],
) -> LoadReport:
    measured = [subject for subject in subjects if turns[subject.program.name].bare]
    checks = [_check(subject, turns[subject.program.name]) for subject in measured]
    return LoadReport(
        profile="ceiling",
        title="As many programs as the machine can start, beside a bare loop of spawn and wait",
        settings={
            "server": setting.server or "our own, on this machine",
            "turns": f"{options.rounds} × {options.seconds:g} s each",
            "workers": f"{options.workers}",
            "bare loops": f"{_processors()}, one for each processor",
        },
        checks=tuple(checks),
        latencies=tuple(
            Latency(
                name=f"{subject.program.name}, by {what}",
                samples=tuple(turns[subject.program.name].seconds[way]),
            )
            for subject in measured
            for way, what in _WAYS.items()
        ),
        tables=(_rates(measured, turns), _where(measured, turns)),
        remarks=(
            "The generator and the server share the processors with the programs; the bare loop"
            " has them alone.",
        ),
        stopped=setting.stopped,
    )


def _check(subject: _Subject, turn: _Turns) -> Check:
    bare, rate = median(turn.bare), median(turn.rates["run"])
    share = f"{subject.share:.0%} of the bare loop's {bare:,.0f}"
    more = f", or {subject.rate:g} if that is more" if subject.rate else ""
    return at_least(
        f"{subject.program.name}: a second, at least {share}{more}",
        rate, subject.promised(bare), Unit.PER_SECOND,
    )  # fmt: skip


def _rates(subjects: Sequence[_Subject], turns: Mapping[str, _Turns]) -> Table:
    rows = []
    for subject in subjects:
        turn = turns[subject.program.name]
        bare = median(turn.bare)
        row = [subject.program.name, f"{bare:,.0f}"]
        for way in _WAYS:
            rate = median(turn.rates[way])
            row += [f"{rate:,.0f}", f"{rate / bare:.0%}"]
        rows.append(tuple(row))
    head = ["program", "bare loop"]
    for what in _WAYS.values():
        head += [what, "of it"]
    return Table(
        name="executions a second, median of the turns", head=tuple(head), rows=tuple(rows)
    )


def _where(subjects: Sequence[_Subject], turns: Mapping[str, _Turns]) -> Table:
    """Milliseconds of processor time for one execution, by who took them."""
    rows = []
    for subject in subjects:
        turn = turns[subject.program.name]
        bare = _processors() / median(turn.bare) * 1000
        for way, what in _WAYS.items():
            spent = turn.spent[way]
            rows.append((
                f"{subject.program.name}, {what}", f"{bare:.2f}",
                *(_milliseconds([each[name] for each in spent]) for name in _WHO),
            ))  # fmt: skip
    return Table(
        name="where it goes: milliseconds of processor time for each execution",
        head=("program", "bare loop, all", *_WHO),
        rows=tuple(rows),
    )


_WHO: Final = ("server", "sandboxes", "generator", "the whole machine")


def _milliseconds(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known) * 1000:.2f}" if known else "unknown"
