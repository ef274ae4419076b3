"""The generator's other end: start it, give it jobs, hear how far it is."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from assay.bench.load.journal import Result
from assay.bench.load.plan import Job, Order
from assay.domain.errors import AssayError

Told = Callable[[dict[str, Any]], None]
"""What the generator says of its progress: what, done, whole, and more of some jobs."""

_LONGEST_LINE: Final = 1 << 30
_SECONDS_TO_END: Final = 10.0


class LoadFailed(AssayError):
    """The load could not be made, so nothing was measured."""

    code = "load_failed"


class ServerSilent(LoadFailed):
    """Nobody answers at the server's address."""

    code = "server_silent"


class _Line(msgspec.Struct):
    progress: dict[str, Any] | None = None
    result: Result | None = None
    failed: str | None = None


_decode: Final = msgspec.json.Decoder(_Line).decode


class Generator:
    """A running generator; `open_generator` makes it."""

    def __init__(self, process: asyncio.subprocess.Process, told: Told) -> None:
        self._process = process
        self._told = told
        self._stopped = False

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def do(self, job: Job) -> Result:
        """Have a job done. Raises LoadFailed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(job) + b"\n")
        await self._process.stdin.drain()
        if self._stopped:
            self.stop()  # this one as well
        async for text in self._process.stdout:
            line = _decode(text)
            if line.progress is not None:
                self._told(line.progress)
            elif line.result is not None:
                return line.result
            else:
                raise LoadFailed(f"the load could not be made: {line.failed}")
        raise LoadFailed("the generator died", detail="its standard error says more")

    def stop(self) -> None:
        """End the job early, and all that come later: what has begun ends, and its result comes."""
        self._stopped = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)


@contextlib.asynccontextmanager
async def open_generator(url: str, token: str, told: Told) -> AsyncIterator[Generator]:
    """A process that loads the server at `url`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "assay.bench.load.generator",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=_LONGEST_LINE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    try:
        process.stdin.write(msgspec.json.encode(Order(url=url, token=token)) + b"\n")
        assert process.stdout is not None
        if not await process.stdout.readline():  # it minds its signals from then on
            raise LoadFailed("the generator did not start", detail="its standard error says more")
        yield Generator(process, told)
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(_SECONDS_TO_END):
                await process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
