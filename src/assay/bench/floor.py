"""The floor: the same program, started by a small C program on the machine itself."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from assay.agent.native import program
from assay.bench.subject import ENVIRONMENT
from assay.domain.errors import Unavailable

_SECONDS_TO_END: Final = 5.0


class Floor:
    """A running `floor` that starts its program whenever it is asked to."""

    def __init__(self, process: asyncio.subprocess.Process, argv: Sequence[str]) -> None:
        self._process = process
        self._argv = argv

    async def run(self, times: int) -> list[float]:
        """Start the program and wait for it, so many times in a row; seconds of each."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n" * times)
        return [int(await self._line(self._process.stdout)) / 1e9 for _ in range(times)]

    async def _line(self, output: asyncio.StreamReader) -> bytes:
        line = await output.readline()
        if not line:
            raise Unavailable(f"{self._argv[0]} does not run on this machine, outside of a sandbox")
        return line


@contextlib.asynccontextmanager
async def open_floor(argv: Sequence[str]) -> AsyncIterator[Floor]:
    """Have `argv` ready to be started outside; it must be a path, for there is no search."""
    process = await asyncio.create_subprocess_exec(
        program("floor"), "-", *argv,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(ENVIRONMENT), cwd=Path("/"),
        start_new_session=True,  # a terminal's Ctrl-C is for us to handle
    )  # fmt: skip
    try:
        yield Floor(process, argv)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_SECONDS_TO_END):
                await process.wait()
        except BaseException:
            process.kill()
            await process.wait()
            raise


async def bare_sandbox(path: str, *, times: int = 21) -> float | None:
    """Seconds, the median, that a program of /usr takes in new namespaces of every kind, with a
    root of their own and nothing to read; None where nobody may make them."""
    with tempfile.TemporaryDirectory(prefix="assay-floor-") as root:
        for name in ("usr", "proc", "tmp"):
            Path(root, name).mkdir()
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                Path(root, name).symlink_to(f"usr/{name}")
        ended = await asyncio.create_subprocess_exec(
            program("floor"), "--namespaces", str(times), root, "/usr", "usr", path,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        out, _ = await ended.communicate()
    return statistics.median(map(int, out.split())) / 1e9 if ended.returncode == 0 else None


async def bare_rate(argv: Sequence[str], *, at_once: int, seconds: float) -> float:
    """How often a second so many loops together start the program and wait for it."""
    few = 20
    took = await _bare_loops(argv, at_once, few)
    many = max(few, round(few * seconds / took))
    return at_once * many / await _bare_loops(argv, at_once, many)


async def _bare_loops(argv: Sequence[str], at_once: int, times: int) -> float:
    """Seconds until all loops have ended."""
    began = time.perf_counter()
    loops = [
        await asyncio.create_subprocess_exec(
            program("floor"), str(times), *argv,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            env=dict(ENVIRONMENT), cwd=Path("/"), start_new_session=True,
        )
        for _ in range(at_once)
    ]  # fmt: skip
    try:
        statuses = [await loop.wait() for loop in loops]
    finally:
        for loop in loops:
            with contextlib.suppress(ProcessLookupError):
                loop.kill()
            await loop.wait()
    if any(statuses):
        raise Unavailable(f"{argv[0]} does not run on this machine, outside of a sandbox")
    return time.perf_counter() - began
