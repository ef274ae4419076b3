"""`jobe`: hellos in C and Python through Jobe's API, beside a bare loop of the same.

Both use all processors, and take turns in the same run. The loop, one for each processor, spawns
what Jobe does, with nothing around it: a new folder in memory, the compiler, the program. The
compiler of Python is `py_compile`. A second loop runs a Python program alone: that is told beside,
and nothing is promised of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from assay.bench.figures import Check, Unit
from assay.bench.load.connection import Address, Http, Lost
from assay.bench.load.control import LoadFailed
from assay.bench.load.report import Latency, LoadReport, Table, at_least
from assay.bench.load.setting import Setting
from assay.bench.load.target import Target

SHARE: Final = 0.50
PREFIX: Final = "/jobe/index.php/restapi"
_HELLO: Final = "Hello, world!\n"
_SUCCESS: Final = 15
_C: Final = '#include <stdio.h>\nint main(void) { puts("Hello, world!"); return 0; }\n'
_PYTHON: Final = 'print("Hello, world!")\n'
_VARIABLES: Final = {"PATH": "/usr/bin:/bin", "LC_CTYPE": "C.UTF-8"}
_IN_MEMORY: Final = Path("/dev/shm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Jobe:
    """The profile's options."""

    seconds: float = 5.0
    """Of each turn."""
    rounds: int = 3
    workers: int = field(default_factory=lambda: 2 * _processors())
    """Runs that are asked for at one time, as a Moodle's processes do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Subject:
    """A program, by the API and outside."""

    name: str
    environment: str
    language: str
    filename: str
    source: str
    outside: tuple[tuple[str, ...], ...]
    """What is spawned one after the other; `{folder}` has the source."""
    alone: tuple[tuple[str, ...], ...] = ()
    """The program without its compiler, where it runs without one."""


@dataclass(kw_only=True, slots=True)
class _Turns:
    """What was measured of one program."""

    bare: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


_SUBJECTS: Final = (
    _Subject(
        name="C hello", environment="c", language="c", filename="hello.c", source=_C,
        outside=(
            (
                "/usr/bin/gcc", "-Wall", "-Werror", "-std=c99", "-x", "c",
                "-o", "{folder}/hello", "{folder}/hello.c",
            ),
            ("{folder}/hello",),
        ),
    ),
    _Subject(
        name="Python hello", environment="python", language="python3",
        filename="__tester__.python3", source=_PYTHON,
        outside=(
            ("/usr/bin/python3", "-m", "py_compile", "{folder}/__tester__.python3"),
            ("/usr/bin/python3", "-BE", "{folder}/__tester__.python3"),
        ),
        alone=(("/usr/bin/python3", "-BE", "{folder}/__tester__.python3"),),
    ),
)  # fmt: skip


def _processors() -> int:
    return len(os.sched_getaffinity(0))


async def measure(setting: Setting, options: Jobe) -> LoadReport:
    """Take turns. Raises LoadFailed: a run that failed, or a compiler that is missing here."""
    missing = [each.outside[0][0] for each in _SUBJECTS if not shutil.which(each.outside[0][0])]
    if missing:
        raise LoadFailed(f"{missing[0]} is not on this machine: the bare loop needs it")
    pools = {each.environment: 4 * options.workers for each in _SUBJECTS}
    turns = {each.name: _Turns() for each in _SUBJECTS}
    done, whole = 0, options.rounds * len(_SUBJECTS)
    async with setting.target(pools) as target:
        for _ in range(options.rounds):
            for subject in _SUBJECTS:
                if not setting.stopped:
                    await _take_turns(target, subject, options, turns[subject.name])
                done += 1
                setting.told({"what": "turns", "done": done, "whole": whole})
    return _report(setting, options, turns)


async def _take_turns(target: Target, subject: _Subject, options: Jobe, turns: _Turns) -> None:
    turns.bare.append(await _bare_rate(subject, subject.outside, options.seconds))
    if subject.alone:
        turns.alone.append(await _bare_rate(subject, subject.alone, options.seconds))
    seconds, took = await _through_the_api(target, subject, options)
    turns.rates.append(len(seconds) / took)
    turns.seconds += seconds


# --- through the API -----------------------------------------------------------------------------


async def _through_the_api(
    target: Target, subject: _Subject, options: Jobe
) -> tuple[list[float], float]:
    """Seconds of each run that ended in time, and how long all of it took."""
    began = time.perf_counter()
    until = began + options.seconds
    async with contextlib.AsyncExitStack() as opened:
        clients = [
            await opened.enter_async_context(_client(target)) for _ in range(options.workers)
        ]
        found = await asyncio.gather(*(_worker(each, subject, until) for each in clients))
    return [seconds for each in found for seconds in each], time.perf_counter() - began


@contextlib.asynccontextmanager
async def _client(target: Target) -> AsyncIterator[Http]:
    address = Address(target.url, target.token)
    address.path = address.path.removesuffix("/api/v1") + PREFIX
    address.headers = address.headers.replace("Authorization: Bearer", "X-API-KEY:")
    http = Http(address)
    try:
        yield http
    finally:
        http.close()


async def _worker(http: Http, subject: _Subject, until: float) -> list[float]:
    spec = {
        "language_id": subject.language,
        "sourcecode": subject.source,
        "sourcefilename": subject.filename,
        "input": "",
        "file_list": [],
    }
    body = msgspec.json.encode({"run_spec": spec})
    seconds = []
    while (began := time.perf_counter()) < until:
        try:
            status, answer = await http.request("POST", "/runs", body)
        except Lost as error:
            raise LoadFailed(f"the server went away: {error}") from error
        _require_success(status, answer)
        seconds.append(time.perf_counter() - began)
    return seconds


def _require_success(status: int, answer: bytes) -> None:
    found = msgspec.json.decode(answer) if status == 200 else {}
    if status != 200 or found["outcome"] != _SUCCESS or found["stdout"] != _HELLO:
        raise LoadFailed(f"a run was answered {status}: {answer[:500]!r}")


# --- outside -------------------------------------------------------------------------------------


async def _bare_rate(subject: _Subject, spawned: Sequence[Sequence[str]], seconds: float) -> float:
    """How often a second one loop for each processor spawns all of this."""
    began = time.perf_counter()
    counts = await asyncio.gather(
        *(asyncio.to_thread(_loop, subject, spawned, began + seconds) for _ in range(_processors()))
    )
    return sum(counts) / (time.perf_counter() - began)


def _loop(subject: _Subject, spawned: Sequence[Sequence[str]], until: float) -> int:
    count = 0
    while time.perf_counter() < until:
        with tempfile.TemporaryDirectory(
            prefix="assay-bare-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None
        ) as folder:
            Path(folder, subject.filename).write_text(subject.source)
            for argv in spawned:
                _spawn_and_wait(argv, folder)
        count += 1
    return count


def _spawn_and_wait(argv: Sequence[str], folder: str) -> None:
    program, *_ = filled = [argument.format(folder=folder) for argument in argv]
    variables = {**_VARIABLES, "TMPDIR": folder}
    output = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(program, filled, variables, file_actions=output)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise LoadFailed(f"{argv[0]} failed on this machine, outside of a sandbox")


# --- the report ----------------------------------------------------------------------------------


def _report(setting: Setting, options: Jobe, turns: Mapping[str, _Turns]) -> LoadReport:
    measured = {name: turn for name, turn in turns.items() if turn.bare}
    return LoadReport(
        profile="jobe",
        title="Programs through Jobe's API, beside a bare loop that compiles and runs the same",
        settings={
            "server": setting.server or "our own, on this machine",
            "turns": f"{options.rounds} × {options.seconds:g} s each",
            "runs asked for at one time": f"{options.workers}",
            "bare loops": f"{_processors()}, one for each processor",
        },
        checks=tuple(_check(name, turn) for name, turn in measured.items()),
        latencies=tuple(
            Latency(name=name, samples=tuple(turn.seconds)) for name, turn in measured.items()
        ),
        tables=(_rates(measured),),
        remarks=(
            "Each run has a sandbox of its own, made and destroyed in the same time. The client and"
            " the server share the processors with the programs; the bare loop has them alone.",
        ),
        stopped=setting.stopped,
    )


def _check(name: str, turn: _Turns) -> Check:
    bare = median(turn.bare)
    return at_least(
        f"{name}: a second, at least {SHARE:.0%} of the bare loop's {bare:,.1f}",
        median(turn.rates), SHARE * bare, Unit.PER_SECOND,
    )  # fmt: skip


def _rates(measured: Mapping[str, _Turns]) -> Table:
    rows = []
    for name, turn in measured.items():
        bare, rate = median(turn.bare), median(turn.rates)
        rows.append((name, f"{bare:,.1f}", f"{rate:,.1f}", f"{rate / bare:.0%}"))
        if turn.alone:
            alone = median(turn.alone)
            what = f"{name}, the loop without its compiler"
            rows.append((what, f"{alone:,.1f}", f"{rate:,.1f}", f"{rate / alone:.0%}"))
    return Table(
        name="runs a second, median of the turns",
        head=("program", "bare loop", "Jobe's API", "of it"),
        rows=tuple(rows),
    )
