"""Somebody else on the same machine, who must not feel what a hostile program does."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator
from typing import Final

from assay.agent.execution import Chunk
from assay.agent.session import Session
from assay.domain.errors import AssayError
from assay.testing.case import Doubtful, Failure, expect_equal
from assay.testing.workbench import Started, Workbench

SLACK_SECONDS: Final = 0.015
"""What two cores and one event loop add to a round trip, whoever is to blame."""
_TURNS_OF_CARRIERS: Final = 3
"""So many times as much, where processes carry the stream and wait for the processor as well."""
_PAUSE: Final = 0.005
_FEWEST: Final = 20
_SILENCE: Final = 5.0
_NOTE: Final = "/tmp/neighbours-note"


class Neighbour:
    """A sandbox in which a program echoes what it reads, all the time."""

    def __init__(self, bench: Workbench, session: Session, echo: Started) -> None:
        self._bench = bench
        self._session = session
        self._echo = echo
        self._output: AsyncIterator[Chunk] = echo.execution.output()
        self._baseline = 0.0
        turns = 1 if bench.capabilities.direct_stream else _TURNS_OF_CARRIERS
        self._slack = bench.patient(SLACK_SECONDS) * turns

    @classmethod
    async def move_in(cls, bench: Workbench) -> Neighbour:
        """Make the sandbox, and measure how fast it answers alone."""
        session = await bench.lasting_session()
        await bench.said(session, "write", _NOTE, "mine")
        echo = await bench.start(session, "cat", stdin=True, wall=None, cpu=None, output=None)
        neighbour = cls(bench, session, echo)
        neighbour._baseline = await neighbour._measure(0.4)
        return neighbour

    @property
    def lost(self) -> bool:
        """Whether the sandbox is gone."""
        return self._session.agent.lost is not None or self._echo.execution.ended

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        """Measure meanwhile. Raises Doubtful at the end if the neighbour had to wait."""
        latencies: list[float] = []
        over = asyncio.Event()
        task = asyncio.ensure_future(self._echo_until(over, latencies))
        try:
            yield
        finally:
            over.set()
            await asyncio.wait((task,))
        if (error := task.exception()) is not None:
            raise Failure(f"the neighbour's program broke off: {error}")
        if len(latencies) < _FEWEST:
            return
        waited = _p95(latencies)
        if waited > 2 * self._baseline + self._slack:
            alone = await self._measure(0.4)
            if waited > 2 * alone + self._slack:
                raise Doubtful(
                    f"the neighbour's round trip rose to {waited * 1000:.1f} ms (p95) from"
                    f" {max(alone, self._baseline) * 1000:.1f} ms"
                )

    async def check(self) -> None:
        """Look whether the neighbour still has its files, and all that its limits allow."""
        bench, session = self._bench, self._session
        expect_equal(await bench.said(session, "read", _NOTE), b"mine", "the neighbour's file")
        # All of it is what the neighbour could have from the start, and by a wide margin.
        await bench.said(session, "many", "24", "1")
        await bench.said(session, "alloc", "24", "0")
        await bench.said(session, "fill", "/tmp")

    async def _echo_until(self, over: asyncio.Event, latencies: list[float]) -> None:
        loop = asyncio.get_running_loop()
        while not over.is_set():
            started = loop.time()
            await self._round_trip()
            latencies.append(loop.time() - started)
            await asyncio.sleep(_PAUSE)

    async def _measure(self, seconds: float) -> float:
        latencies: list[float] = []
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, over.set)
        await self._echo_until(over, latencies)
        return _p95(latencies)

    async def _round_trip(self) -> None:
        try:
            async with asyncio.timeout(self._bench.patient(_SILENCE)):
                await self._echo.execution.write(b"?")
                await anext(self._output)
        except TimeoutError:
            raise Failure(f"no echo for {self._bench.patient(_SILENCE):g} s") from None
        except StopAsyncIteration:
            raise Failure("it has ended") from None
        except AssayError as error:
            raise Failure(f"it was lost: {error}") from error


def _p95(latencies: list[float]) -> float:
    if len(latencies) < 2:
        return max(latencies, default=0.0)
    return statistics.quantiles(latencies, n=20)[-1]
