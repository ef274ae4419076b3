"""Runs cases against a driver and reports; `assay driver check` and pytest both call it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from assay.domain.errors import AssayError
from assay.driver.port import Driver, RootFilesystem
from assay.testing.case import Case, Doubtful, Failure, NotTestable
from assay.testing.leaks import OwnState, sandboxes_left
from assay.testing.neighbour import Neighbour
from assay.testing.workbench import Workbench, open_workbench

_SECONDS_TO_VANISH: Final = 3.0
"""For what is destroyed: the kernel frees namespaces and control groups a little later."""
_SECONDS_TO_VANISH_AT_LAST: Final = 20.0
"""Where killed programs may be held for a while, and connections that nobody uses, for fifteen."""

_TRIES: Final = 3
"""Of a case whose failure another program on this machine may have caused."""
_SECONDS_TO_CALM: Final = 0.5


class Verdict(StrEnum):
    """How a case went."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One case against one driver. `reason`: what is wrong, or why it was skipped."""

    case: Case
    verdict: Verdict
    seconds: float = 0.0
    reason: str = ""

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "case": self.case.name,
            "promise": self.case.sentence,
            "verdict": str(self.verdict),
            "seconds": round(self.seconds, 3),
            "reason": self.reason,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All cases against one driver."""

    driver: str
    results: tuple[Result, ...]
    slowness: float = 1.0
    """How many times slower than an ordinary machine this one is; times were scaled by it."""

    @property
    def green(self) -> bool:
        """Whether nothing failed."""
        return not self.of(Verdict.FAILED)

    def of(self, verdict: Verdict) -> list[Result]:
        """The cases that went so."""
        return [result for result in self.results if result.verdict is verdict]

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "driver": self.driver,
            "green": self.green,
            "slowness": self.slowness,
            **{str(verdict): len(self.of(verdict)) for verdict in Verdict},
            "cases": [result.as_data() for result in self.results],
        }


Progress = Callable[[Case, Result | None], None]
"""Called when a case starts (with None), and with its result."""


async def check(
    driver: Driver,
    cases: Iterable[Case],
    *,
    root: RootFilesystem,
    on_progress: Progress | None = None,
) -> Report:
    """Run cases one after the other. Never raises because of what a driver does."""
    results = []
    async with open_runner(driver, root=root) as runner:
        for case in cases:
            if on_progress:
                on_progress(case, None)
            result = await runner.run(case)
            results.append(result)
            if on_progress:
                on_progress(case, result)
    return Report(driver=driver.name, results=tuple(results), slowness=runner.slowness)


async def check_case(driver: Driver, case: Case, *, root: RootFilesystem) -> Result:
    """Run one case on its own."""
    report = await check(driver, (case,), root=root)
    return report.results[0]


@contextlib.asynccontextmanager
async def open_runner(driver: Driver, *, root: RootFilesystem) -> AsyncIterator[Runner]:
    """For who runs one case at a time, such as pytest, and has all in the same place."""
    async with open_workbench(driver, root) as bench:
        yield Runner(bench)


class Runner:
    """Runs cases one after the other, with one neighbour for all of them."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._neighbour: Neighbour | None = None

    @property
    def slowness(self) -> float:
        """How many times slower than an ordinary machine this one is."""
        return self._bench.slowness

    async def run(self, case: Case) -> Result:
        """Run a case. Never raises because of what the driver does."""
        missing = case.missing(self._bench.capabilities)
        if missing:
            return Result(case=case, verdict=Verdict.SKIPPED, reason=f"lacks {', '.join(missing)}")
        started = time.monotonic()
        verdict, reason = await self._judge(case)
        if verdict is Verdict.FAILED:
            await self._start_afresh()
        return Result(case=case, verdict=verdict, seconds=time.monotonic() - started, reason=reason)

    async def _judge(self, case: Case) -> tuple[Verdict, str]:
        try:
            await self._try_again_in_doubt(case)
        except NotTestable as why:
            return Verdict.SKIPPED, str(why)
        except Failure as failure:
            return Verdict.FAILED, str(failure)
        except TimeoutError:
            return Verdict.FAILED, f"took longer than {self._bench.patient(case.timeout):g} s"
        except AssayError as error:
            return Verdict.FAILED, f"{error.code}: {error} {error.detail}".strip()
        except Exception as error:
            return Verdict.FAILED, f"{type(error).__name__}: {error}"
        return Verdict.PASSED, ""

    async def _try_again_in_doubt(self, case: Case) -> None:
        for _ in range(_TRIES - 1):
            try:
                return await self._try(case)
            except Doubtful:
                await asyncio.sleep(_SECONDS_TO_CALM)
        return await self._try(case)

    async def _try(self, case: Case) -> None:
        bench = self._bench
        neighbour = await self._prepare(case)
        known = {sandbox.id for sandbox in bench.driver.created}
        before = OwnState.now()
        try:
            async with asyncio.timeout(bench.patient(case.timeout)):
                if neighbour is None:
                    await case.run(bench)
                else:
                    async with neighbour.watch():
                        await case.run(bench)
                    await neighbour.check()
        finally:
            await bench.close_case()
        made = {sandbox.id for sandbox in bench.driver.created} - known - bench.kept
        await self._expect_nothing_left(made, before)

    async def _prepare(self, case: Case) -> Neighbour | None:
        """What outlives the case must be there before its traces are counted."""
        if not case.hostile:
            await self._bench.shared()
            return None
        if self._neighbour is None or self._neighbour.lost:
            self._neighbour = await Neighbour.move_in(self._bench)
        return self._neighbour

    async def _expect_nothing_left(self, made: set[str], before: OwnState) -> None:
        prompt = self._bench.capabilities.prompt_ends
        seconds = _SECONDS_TO_VANISH if prompt else _SECONDS_TO_VANISH_AT_LAST
        deadline = time.monotonic() + self._bench.patient(seconds)
        driver = self._bench.driver
        while True:
            # First, or the connection by which a driver has just been asked would count.
            own = before.left_since()
            left = [*await sandboxes_left(driver, made), *driver.traces.left(made)]
            if not left and not own:
                return
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.05)
        if left:
            raise Failure(f"left behind: {'; '.join((left + own)[:8])}")
        # A driver may keep a descriptor that it opens once; a leak shows the second time, too.
        raise Doubtful(f"left in this process: {'; '.join(own[:8])}")

    async def _start_afresh(self) -> None:
        self._neighbour = None
        await self._bench.forget_shared()
