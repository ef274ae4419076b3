"""Executions with a fresh lease each: leased, run, checked, given back, arriving on schedule."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Final

import msgspec

from assay.bench.load.crowd import Crowd
from assay.bench.load.journal import Journal, Requests, Result, percentile
from assay.bench.load.journey import Channel, Execution, Failed, ran_well
from assay.bench.load.pace import GRACE_SECONDS, Work, until
from assay.bench.load.plan import Fresh, arrivals

Say = Callable[..., None]
_RECENT: Final = 500


class _Leased(msgspec.Struct, rename="camel"):
    runner_id: str


_decode_leased: Final = msgspec.json.Decoder(_Leased).decode


class _Arrivals:
    def __init__(self, channel: Channel, job: Fresh) -> None:
        self.channel, self.job = channel, job
        self.journal, self.claims, self.releases = Journal(), Requests(), Requests()
        self.work = Work()
        self.recent: deque[float] = deque(maxlen=_RECENT)
        self.failed = self.leased = 0
        self.began = monotonic()

    def now(self) -> float:
        """Seconds since the job began."""
        return monotonic() - self.began

    async def arrive(self, stop: asyncio.Event) -> None:
        """Begin each when it is time, whatever has become of those before."""
        way = {"run": self._by_request, "runners": self._by_runner}[self.job.over]
        for scheduled in arrivals(self.job.rate, self.job.seconds, seed=self.job.seed):
            if await until(self.began + scheduled, stop):
                return
            number = self.journal.add(scheduled=scheduled, kind=0)
            self.work.do(self._one(number, way))

    async def _one(self, number: int, way: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        journal = self.journal
        journal.dispatched[number] = self.now()
        try:
            await way(number)
            journal.problem[number] = ""
        except Failed as error:
            journal.problem[number] = str(error)
            self.failed += 1

    def _on_first(self, number: int, at: float) -> None:
        self.journal.first[number] = at
        self.recent.append(at - self.journal.scheduled[number])

    # --- by one request ------------------------------------------------------------------------

    async def _by_request(self, number: int) -> None:
        program, mark = self.job.program, f"fresh-{number}"
        body = {
            "environment": program.environment,
            "argv": [text.replace("{mark}", mark) for text in program.argv],
            "limits": {"wallSeconds": program.wall_seconds},
            "deadlineSeconds": self.job.deadline_seconds,
        }
        answer = await self.channel.call("POST", "/run", body, what="run")
        ended = self.journal.ended[number] = self.now()
        took = ran_well(answer, program, mark)
        # What the server says of its own work ends with its answer; the way back is added to it.
        running = took.run_ms / 1000
        first = 0.0 if took.first_output_ms is None else took.first_output_ms / 1000
        self.journal.seated[number] = ended - running - (took.files_ms + took.compile_ms) / 1000
        self._on_first(number, ended - running + first)

    # --- by the runners' routes ----------------------------------------------------------------

    async def _by_runner(self, number: int) -> None:
        program = self.job.program
        runner_id = await self._lease(number)
        try:
            execution = Execution(
                self.channel, runner_id, lambda: self._on_first(number, self.now())
            )
            await execution.run(program, f"{runner_id[-8:]}-{number}")
            self.journal.ended[number] = self.now()
        finally:
            request = self.channel.call("DELETE", f"/runners/{runner_id}", what="release")
            await self._timed(self.releases, request)
            self.leased -= 1

    async def _lease(self, number: int) -> str:
        body = {
            "environment": self.job.program.environment,
            "inactivityTimeout": 60,
            "deadlineSeconds": self.job.deadline_seconds,
        }
        request = self.channel.call("POST", "/runners", body, what="lease", once=True)
        answer = await self._timed(self.claims, request)
        self.leased += 1
        self.journal.seated[number] = self.now()
        try:
            return _decode_leased(answer).runner_id
        except msgspec.MsgspecError as error:
            raise Failed("lease: an answer without runnerId") from error

    async def _timed(self, requests: Requests, request: Coroutine[Any, Any, bytes]) -> bytes:
        began = self.now()
        try:
            answer = await request
        except Failed as error:
            requests.add(began, self.now() - began, str(error))
            raise
        requests.add(began, self.now() - began)
        return answer

    # --- how far it is -------------------------------------------------------------------------

    async def tell(self, say: Say) -> None:
        while True:
            await asyncio.sleep(1.0)
            ordered = sorted(self.recent)
            say(progress={
                "what": "executions with a fresh lease", "done": len(self.journal.scheduled),
                "whole": round(self.job.rate * self.job.seconds), "running": len(self.work.tasks),
                "failed": self.failed, "runners": self.leased,
                "p50": percentile(ordered, 50) if ordered else None,
                "p99": percentile(ordered, 99) if ordered else None,
            })  # fmt: skip


async def fresh(crowd: Crowd, job: Fresh, stop: asyncio.Event, say: Say) -> Result:
    """Executions that arrive on schedule, none in a sandbox that another one had."""
    loop = _Arrivals(crowd.channel, job)
    telling = asyncio.ensure_future(loop.tell(say))
    try:
        await loop.arrive(stop)
        await loop.work.all_done(job.program.wall_seconds + job.deadline_seconds + GRACE_SECONDS)
    finally:
        telling.cancel()
        await asyncio.wait((telling,))
    return Result(
        seconds=loop.now(), executions=loop.journal, claims=loop.claims, releases=loop.releases,
        most_at_once=loop.work.most,
    )  # fmt: skip
