"""`interpreters`: a Python that waits for the next program, beside one that is started for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from assay.agent.files import write_file
from assay.agent.session import Session, open_session
from assay.bench.figures import Check, Distribution, Figure, Report, Unit
from assay.bench.subject import ENVIRONMENT, Progress, Subject, Unexpected
from assay.domain.command import WORKSPACE, Command, Interpreter
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.driver.port import Mount

PYTHON: Final = "/usr/bin/python3"
ADVICE: Final = (
    "`import pandas` is not measured: this machine's Python has none. apt-get install"
    " python3-pandas, or pip install --target FOLDER pandas and give --packages FOLDER"
)
_HOSTS_PANDAS: Final = Path("/usr/lib/python3/dist-packages/pandas")
_EXISTS_EVERYWHERE: Final = "/usr/src"
"""Where a folder of packages is shown: a place for a mount has to be there."""
_THINK_SECONDS: Final = 0.03
_WAIT_SECONDS: Final = 60.0
_LIMITS: Final = ExecutionLimits(wall_seconds=60, cpu_seconds=60)
_SANDBOX: Final = SandboxLimits(memory_bytes=512 * MIB)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Program:
    """A program, what is imported beforehand, and how soon it must say something."""

    name: str
    source: bytes
    packages: tuple[str, ...]
    most_seconds: float


_HELLO: Final = _Program(
    name="Python hello", source=b"print('Hello, world!')\n", packages=(), most_seconds=0.003
)
_PANDAS: Final = _Program(
    name="import pandas", source=b"import pandas\nprint(pandas.Series([1, 2]).sum())\n",
    packages=("numpy", "pandas"), most_seconds=0.015,
)  # fmt: skip


@dataclass(kw_only=True, slots=True)
class _Times:
    """Seconds from the call to the first output, and to the exit facts."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)


def pandas_is_there(packages: Path | None) -> bool:
    """Whether sandboxes can have pandas."""
    return _HOSTS_PANDAS.is_dir() if packages is None else (packages / "pandas").is_dir()


async def measure(
    subjects: Sequence[Subject], *, repeats: int, progress: Progress, packages: Path | None = None
) -> Report:
    """Run each program `repeats` times both ways; with pandas where it is (`packages`)."""
    figures: list[Figure] = []
    programs = [_HELLO, *([_PANDAS] if pandas_is_there(packages) else [])]
    for program in programs:
        for subject in subjects:
            if subject.driver.capabilities.interpreters:
                figures += await _figures(subject, program, repeats, progress, packages)
    return Report(
        name="interpreters",
        title="A Python that waits for the next program",
        beside="anew",
        figures=tuple(figures),
    )


async def _figures(
    subject: Subject, program: _Program, repeats: int, progress: Progress, packages: Path | None
) -> list[Figure]:
    root = subject.root
    variables = {**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    if packages is not None:
        shown = Mount(source=packages.resolve(), target=_EXISTS_EVERYWHERE)
        root = replace(root, mounts=(*root.mounts, shown))
        variables["PYTHONPATH"] = _EXISTS_EVERYWHERE
    command = Command(argv=(PYTHON, "program.py"), environment=variables, limits=_LIMITS)
    waited, anew = _Times(), _Times()
    async with AsyncExitStack() as stack:
        warm, plain = [
            await stack.enter_async_context(
                open_session(subject.driver, replace(subject.specification(_SANDBOX), root=root))
            )
            for _ in range(2)
        ]
        for session in (warm, plain):
            await write_file(session.agent, WORKSPACE, "program.py", program.source)
        before = await _memory(warm)
        warm.agent.keep_interpreter(_interpreter(program, command))
        for done in range(repeats + 1):
            await _settle(warm)
            if done == 0:
                memory = await _memory(warm) - before
            await _time(warm, command, waited, counts=done > 0)  # the first reads files from disk
            await _time(plain, command, anew, counts=done > 0)
            progress(f"{subject.name}: {program.name}", done, repeats)
    return _to_figures(subject.name, program, waited, anew, memory)


def _interpreter(program: _Program, command: Command) -> Interpreter:
    return Interpreter(
        path=PYTHON,
        packages=program.packages,
        environment=command.environment,
        uid=command.uid,
        open_files=command.limits.open_files,
    )


async def _settle(session: Session) -> None:
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            await session.agent.interpreter_waits()
    except TimeoutError:
        raise Unexpected("no interpreter waits, so there is nothing to measure") from None
    await asyncio.sleep(_THINK_SECONDS)


async def _memory(session: Session) -> float:
    state = await session.driver.examine(session.sandbox.id)
    return 0.0 if state is None else float(state.memory_bytes or 0)


async def _time(session: Session, command: Command, times: _Times, *, counts: bool) -> None:
    started = time.perf_counter_ns()
    execution = await session.start(command)
    first, said = 0, b""
    async for chunk in execution.output():
        first = first or time.perf_counter_ns()
        said += chunk.data
    _, outcome = await session.conclude(execution, command)
    ended = time.perf_counter_ns()
    if not outcome.success or not first:
        raise Unexpected(
            f"Python ended with {outcome} in the sandbox, so there is nothing to measure",
            detail=said[-1000:].decode("utf-8", errors="replace"),
        )
    if counts:
        times.first.append((first - started) / 1e9)
        times.whole.append((ended - started) / 1e9)


def _to_figures(
    driver: str, program: _Program, waited: _Times, anew: _Times, memory: float
) -> list[Figure]:
    first = Distribution.of(waited.first)
    promise = Check(
        promise=f"median ≤ {program.most_seconds * 1e3:g} ms",
        value=first.median,
        limit=program.most_seconds,
        unit=Unit.SECONDS,
    )
    return [
        Figure(
            driver=driver, name=f"{program.name}: to the first output", unit=Unit.SECONDS,
            measured=first, beside=Distribution.of(anew.first), checks=(promise,),
        ),
        Figure(
            driver=driver, name=f"{program.name}: to the exit facts", unit=Unit.SECONDS,
            measured=Distribution.of(waited.whole), beside=Distribution.of(anew.whole),
        ),
        Figure(
            driver=driver, name=f"{program.name}: memory of what waits", unit=Unit.BYTES,
            measured=Distribution.of([memory]),
        ),
    ]  # fmt: skip
