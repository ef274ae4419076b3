"""What the generator does: open and closed loops, claims, a storm of them, keystrokes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic  # the loop's own clock counts milliseconds
from typing import Any, Final

import msgspec

from assay.bench.load.connection import Address, Http
from assay.bench.load.crowd import Crowd, Learner
from assay.bench.load.journal import Journal, Requests, Result, percentile
from assay.bench.load.journey import Channel, Execution, Failed, ran_well
from assay.bench.load.pace import GRACE_SECONDS, Work, until
from assay.bench.load.plan import (
    Claims,
    Closed,
    Keys,
    Open,
    Program,
    Storm,
    arrivals,
    choices,
    evenly,
)

Say = Callable[..., None]
_SECONDS_BETWEEN_PROGRESS: Final = 1.0
_RECENT: Final = 500


# --- an open loop --------------------------------------------------------------------------------


class _OpenLoop:
    def __init__(self, crowd: Crowd, job: Open) -> None:
        self.crowd, self.job = crowd, job
        self.journal = Journal()
        self.recent: deque[float] = deque(maxlen=_RECENT)
        self.ended = self.failed = 0
        self.work = Work()
        self.clock = monotonic
        self.began = self.clock()

    async def execute(self, number: int, scheduled: float, program: Program) -> None:
        """One arrival, from the moment that it was scheduled for."""
        journal, now = self.journal, self.clock
        journal.dispatched[number] = now() - self.began

        def on_first() -> None:
            journal.first[number] = now() - self.began
            self.recent.append(journal.first[number] - scheduled)

        try:
            learner = await self.crowd.take(program.environment)
            journal.seated[number] = now() - self.began
            try:
                await self._in_runner(learner, program, number, on_first)
            finally:
                self.crowd.give(learner)
            journal.problem[number] = ""
        except Failed as error:
            journal.problem[number] = str(error)
            self.failed += 1
        journal.ended[number] = now() - self.began
        self.ended += 1

    async def _in_runner(
        self, learner: Learner, program: Program, number: int, on_first: Callable[[], None]
    ) -> None:
        channel, mark = self.crowd.channel, f"{learner.runner_id[-8:]}-{number}"
        await learner.get_ready(channel, program)
        if program.prepare:
            await Execution(channel, learner.runner_id).run(program, mark, program.prepare)
        await Execution(channel, learner.runner_id, on_first).run(program, mark)

    async def arrive(self, stop: asyncio.Event) -> None:
        """Begin each execution when it is time, whatever has become of those before."""
        moments = arrivals(self.job.rate, self.job.seconds, seed=self.job.seed)
        kinds = choices(self.job.mix, len(moments), seed=self.job.seed)
        for scheduled, kind in zip(moments, kinds, strict=True):
            if await until(self.began + scheduled, stop):
                return
            number = self.journal.add(scheduled=scheduled, kind=kind)
            self.work.do(self.execute(number, scheduled, self.job.mix[kind].program))

    async def change(self, stop: asyncio.Event) -> None:
        """Let learners come and go, likewise."""
        moments = arrivals(self.job.churn, self.job.seconds, seed=self.job.seed + 2)
        names = [share.program.environment for share in self.job.mix]
        kinds = choices(self.job.mix, len(moments), seed=self.job.seed + 3)
        for scheduled, kind in zip(moments, kinds, strict=True):
            if await until(self.began + scheduled, stop):
                return
            self.crowd.change(names[kind])

    async def tell(self, say: Say) -> None:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_PROGRESS)
            ordered = sorted(self.recent)
            say(progress={
                "what": "executions", "done": len(self.journal.scheduled),
                "whole": round(self.job.rate * self.job.seconds), "running": len(self.work.tasks),
                "failed": self.failed, "runners": self.crowd.count,
                "p50": percentile(ordered, 50) if ordered else None,
                "p99": percentile(ordered, 99) if ordered else None,
            })  # fmt: skip


async def opened(crowd: Crowd, job: Open, stop: asyncio.Event, say: Say) -> Result:
    """Executions that arrive on schedule."""
    crowd.channel.patience_seconds = job.patience_seconds
    loop = _OpenLoop(crowd, job)
    telling = asyncio.ensure_future(loop.tell(say))
    changing = asyncio.ensure_future(loop.change(stop))
    try:
        await loop.arrive(stop)
        longest = max(share.program.wall_seconds for share in job.mix)
        await loop.work.all_done(longest + job.patience_seconds + GRACE_SECONDS)
        await changing
    finally:
        telling.cancel()
        changing.cancel()
        await asyncio.wait((telling, changing))
    await crowd.settle()
    return Result(
        seconds=loop.clock() - loop.began, executions=loop.journal, most_at_once=loop.work.most
    )


# --- a closed loop -------------------------------------------------------------------------------


async def closed(crowd: Crowd, job: Closed, stop: asyncio.Event) -> Result:
    """Workers without a pause between one program and the next."""
    learners = [await crowd.take(job.program.environment) for _ in range(job.workers)]
    run = {"run": _by_request, "websocket": _by_stream}[job.over]
    journal = Journal()
    try:
        for learner in learners:
            await learner.get_ready(crowd.channel, job.program)
            if job.program.prepare:
                await _prepare(crowd.channel, learner, job.program)
            await run(crowd.channel, learner, job.program, "warm")
        began = monotonic()

        async def worker(learner: Learner) -> None:
            while monotonic() - began < job.seconds and not stop.is_set():
                number = journal.add(scheduled=monotonic() - began, kind=0)
                journal.dispatched[number] = journal.scheduled[number]
                await run(crowd.channel, learner, job.program, str(number))
                journal.ended[number] = monotonic() - began
                journal.problem[number] = ""

        async with asyncio.TaskGroup() as group:
            for learner in learners:
                group.create_task(worker(learner))
        seconds = monotonic() - began
    finally:
        for learner in learners:
            crowd.give(learner)
    return Result(seconds=seconds, executions=journal)


async def _prepare(channel: Channel, learner: Learner, program: Program) -> None:
    await Execution(channel, learner.runner_id).run(program, "", program.prepare)


async def _by_request(channel: Channel, learner: Learner, program: Program, mark: str) -> None:
    body = {
        "argv": [text.replace("{mark}", mark) for text in program.argv],
        "limits": {"wallSeconds": program.wall_seconds},
    }
    answer = await channel.call("POST", f"/runners/{learner.runner_id}/run", body, what="run")
    ran_well(answer, program, mark)


async def _by_stream(channel: Channel, learner: Learner, program: Program, mark: str) -> None:
    await Execution(channel, learner.runner_id).run(program, mark)


# --- claims --------------------------------------------------------------------------------------


async def claims(crowd: Crowd, job: Claims, stop: asyncio.Event) -> Result:
    """Leases that arrive on schedule; each is given back as soon as it is there."""
    requests = Requests()
    seconds = await _claim_on_schedule(crowd.channel, job, requests, stop)
    return Result(seconds=seconds, claims=requests)


async def _claim_on_schedule(
    channel: Channel, job: Claims, requests: Requests, stop: asyncio.Event
) -> float:
    work, began = Work(), monotonic()
    moments = (
        arrivals(job.rate, job.count / job.rate, seed=job.seed)
        if job.poisson
        else evenly(job.rate, job.count)
    )
    for scheduled in moments:
        if await until(began + scheduled, stop):
            break
        work.do(_claim(channel, job.environment, requests, began, scheduled))
    await work.all_done(GRACE_SECONDS)
    return monotonic() - began


async def _claim(
    channel: Channel, environment: str, requests: Requests, began: float, scheduled: float
) -> None:
    now = monotonic
    body = {"environment": environment, "inactivityTimeout": 60, "deadlineSeconds": 30}
    try:
        answer = await channel.call("POST", "/runners", body, what="lease", once=True)
        requests.add(scheduled, now() - began - scheduled)
        runner_id = msgspec.json.decode(answer, type=dict[str, Any])["runnerId"]
        await channel.call("DELETE", f"/runners/{runner_id}", what="release")
    except Failed as error:
        requests.add(scheduled, now() - began - scheduled, str(error))


async def storm(crowd: Crowd, job: Storm, stop: asyncio.Event) -> Result:
    """One token's workers claim without rest while another one's claims arrive on schedule."""
    address = crowd.channel.http.address
    http = Http(_with_token(address, job.token))
    stormy, theirs = Channel(http), Requests()
    over = asyncio.Event()

    async def worker() -> None:
        while not over.is_set():
            began = monotonic()
            await _claim(stormy, job.environment, theirs, began, 0.0)

    workers = [asyncio.ensure_future(worker()) for _ in range(job.workers)]
    ours = Requests()
    try:
        seconds = await _claim_on_schedule(crowd.channel, job.claims, ours, stop)
    finally:
        over.set()
        await asyncio.wait(workers)
        http.close()
    return Result(seconds=seconds, claims=ours, others=theirs)


def _with_token(address: Address, token: str) -> Address:
    scheme = "http" if address.ssl is None else "https"
    return Address(f"{scheme}://{address.host}:{address.port}{address.path}", token)


# --- keys ----------------------------------------------------------------------------------------


async def keys(crowd: Crowd, job: Keys, stop: asyncio.Event) -> Result:
    """Type, and wait for each key to come back through the terminal."""
    began = monotonic()
    learner = await crowd.take(job.program.environment)
    echoes = Requests()
    try:
        execution = Execution(crowd.channel, learner.runner_id)
        await execution.start(job.program, "", terminal={"rows": 24, "columns": 80})
        following = asyncio.ensure_future(execution.follow())
        try:
            await _type(execution, job, echoes, stop)
        finally:
            execution.stream.cancel()
            execution.send()
            await asyncio.wait((following,), timeout=10)
            following.cancel()
            await asyncio.wait((following,))
    finally:
        crowd.give(learner)
    return Result(seconds=monotonic() - began, others=echoes)


async def _type(execution: Execution, job: Keys, echoes: Requests, stop: asyncio.Event) -> None:
    await _shown(execution, 1)  # the program's own first letter: it is ready
    began = monotonic()
    for number in range(job.count):
        if await until(began + number * job.seconds_between, stop):
            return
        before, sent = len(execution.output), monotonic()
        execution.stream.write(b"abcdefghijklmnopqrstuvwxyz"[number % 26 :][:1])
        execution.send()
        await _shown(execution, before + 1)
        echoes.add(sent - began, monotonic() - sent)


async def _shown(execution: Execution, count: int) -> None:
    deadline = monotonic() + 10
    while len(execution.output) < count:
        if monotonic() > deadline or execution.stream.end is not None:
            raise Failed("a key was not answered")
        await execution.more_output()
