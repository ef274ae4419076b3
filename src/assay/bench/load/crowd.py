"""The learners: leased runners, each running one program at a time; some leave, others come."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Final

import msgspec

from assay.bench.load.journal import Requests
from assay.bench.load.journey import Channel, Failed
from assay.bench.load.plan import Lease, Program
from assay_client.http import as_base64

Clock = Callable[[], float]


class _Leased(msgspec.Struct, rename="camel"):
    runner_id: str


_decode: Final = msgspec.json.Decoder(_Leased).decode


class Learner:
    """One runner, and which programs' files it has."""

    def __init__(self, runner_id: str, environment: str) -> None:
        self.runner_id = runner_id
        self.environment = environment
        self._has: set[str] = set()

    async def get_ready(self, channel: Channel, program: Program) -> None:
        """Write the program's files, once. Raises Failed."""
        if not program.files or program.name in self._has:
            return
        copy = [
            {"path": path, "content": as_base64(content)} for path, content in program.files.items()
        ]
        path = f"/runners/{self.runner_id}/files"
        await channel.call("PATCH", path, {"delete": [], "copy": copy}, what="files")
        self._has.add(program.name)


class Crowd:
    """All learners, by environment; those who are at rest can be taken."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.count = 0
        self.claims, self.releases = Requests(), Requests()
        self._resting: dict[str, deque[Learner]] = defaultdict(deque)
        self._waiting: dict[str, deque[asyncio.Future[Learner]]] = defaultdict(deque)
        self._leaving: dict[str, int] = defaultdict(int)
        self._last: dict[str, Lease] = {}
        self._work: set[asyncio.Task[None]] = set()

    async def lease(self, wanted: Lease, *, progress: Callable[[int], None]) -> None:
        """Lease until there are so many. Raises Failed."""
        self._last[wanted.environment] = wanted
        missing = wanted.count - len(self._resting[wanted.environment])
        await self._many(missing, wanted.at_once, lambda: self._one_more(wanted), progress)

    async def release(self, at_once: int, *, progress: Callable[[int], None]) -> None:
        """Give all back. Raises Failed."""
        await self.settle()
        everybody = [learner for resting in self._resting.values() for learner in resting]
        self._resting.clear()
        work = iter(everybody)
        await self._many(len(everybody), at_once, lambda: self._leave(next(work)), progress)

    async def take(self, environment: str) -> Learner:
        """One who is at rest, as soon as there is one; who asks first gets one first."""
        if self._resting[environment]:
            return self._resting[environment].popleft()
        waiting: asyncio.Future[Learner] = asyncio.get_running_loop().create_future()
        self._waiting[environment].append(waiting)
        return await waiting

    def give(self, learner: Learner) -> None:
        """They are at rest again, unless it is time for somebody to leave."""
        environment = learner.environment
        if self._leaving[environment] > 0:
            self._leaving[environment] -= 1
            self._do(self._leave(learner))
        else:
            self._rest(learner)

    def _rest(self, learner: Learner) -> None:
        waiting = self._waiting[learner.environment]
        while waiting:
            first = waiting.popleft()
            if not first.done():
                first.set_result(learner)
                return
        self._resting[learner.environment].append(learner)

    def change(self, environment: str) -> None:
        """One comes; one leaves, as soon as one is at rest."""
        self._do(self._one_more(self._last[environment]))
        if self._resting[environment]:
            self._do(self._leave(self._resting[environment].popleft()))
        else:
            self._leaving[environment] += 1

    async def settle(self) -> None:
        """Wait until those who come have come and those who leave have left."""
        while self._work:
            await asyncio.wait(self._work)

    async def _one_more(self, wanted: Lease) -> None:
        self._rest(await self._come(wanted.environment))

    async def _come(self, environment: str) -> Learner:
        wanted = self._last[environment]
        body = {
            "environment": environment,
            "inactivityTimeout": wanted.inactivity_seconds,
            "deadlineSeconds": wanted.deadline_seconds,
        }
        request = self.channel.call("POST", "/runners", body, what="lease", once=True)
        try:
            learner = Learner(_decode(await _timed(self.claims, request)).runner_id, environment)
        except msgspec.MsgspecError as error:
            raise Failed("lease: an answer without runnerId") from error
        self.count += 1
        return learner

    async def _leave(self, learner: Learner) -> None:
        path = f"/runners/{learner.runner_id}"
        # 410: an answer that was lost had been a yes.
        accepted = (204, 410) if self.channel.patience_seconds else (204,)
        request = self.channel.call("DELETE", path, what="release", accepted=accepted)
        self.count -= 1
        await _timed(self.releases, request)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        async def quietly() -> None:
            with contextlib.suppress(Failed):  # it is in the journal
                await work

        task = asyncio.get_running_loop().create_task(quietly())
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _many(
        self,
        count: int,
        at_once: int,
        work: Callable[[], Coroutine[Any, Any, None]],
        progress: Callable[[int], None],
    ) -> None:
        left = count

        async def worker() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await work()
                progress(count - left)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, max(count, 0))):
                group.create_task(worker())


async def _timed(requests: Requests, request: Coroutine[Any, Any, bytes]) -> bytes:
    began = monotonic()
    try:
        answer = await request
    except Failed as error:
        requests.add(began, monotonic() - began, str(error))
        raise
    requests.add(began, monotonic() - began)
    return answer
