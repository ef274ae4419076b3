"""Many programs that are started at once by `floor`, as nothing in Python could."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from assay.domain.errors import CreateTimeout, RuntimeFailed

_SECONDS: Final = 60.0
_WORDS_MOST: Final = 4096


class Crowd:
    """Programs that all run, or have all ended well; made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.seconds = 0.0
        """Until each had said something, or ended."""

    @classmethod
    async def start(cls, floor: Path, count: int, command: Sequence[str | Path]) -> Crowd:
        """Start `command` so many times; its number stands for each "%" in it.

        Raises RuntimeFailed with what was said, or CreateTimeout; nothing runs then.
        """
        process = await asyncio.create_subprocess_exec(
            floor, "--crowd", str(count), *command,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        crowd = cls(process)
        try:
            crowd.seconds = await crowd._next()
        except BaseException:
            await crowd.aclose()
            raise
        return crowd

    async def end(self) -> float:
        """Kill them all; seconds until they were gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            return await self._next()
        finally:
            await self.aclose()

    async def _next(self) -> float:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise CreateTimeout(f"no answer within {_SECONDS:g} seconds") from None
        if not line:
            raise RuntimeFailed("it could not be started", detail=await self._said())
        return int(line) / 1e9

    async def _said(self) -> str:
        assert self._process.stderr is not None
        said = await self._process.stderr.read(_WORDS_MOST)
        return said.decode("utf-8", errors="replace").strip()

    async def aclose(self) -> None:
        """Let it end, and all that it has started; may be called twice."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_SECONDS):
                await self._process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            raise
