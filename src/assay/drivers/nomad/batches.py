"""Batches: what is wanted at the same time is asked for in one request, and so is its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from assay.domain.errors import AssayError, RuntimeFailed
from assay.driver.port import SandboxSpec
from assay.drivers.linux.container import Place
from assay.drivers.nomad.allocation import Allocation, allocation, unplaced
from assay.drivers.nomad.api import Nomad
from assay.drivers.nomad.job import TASK, batch_of, job, job_name, member_of, new_batch
from assay.drivers.nomad.options import DOCKER
from assay.drivers.nomad.task import Wanted

_SECONDS_OPEN: Final = 0.01
"""For others to join. A scheduler's evaluation takes as long."""
_MOST: Final = 10
"""In one batch: each allocation has the whole job with it, wherever Nomad copies or sends it."""
_SECONDS_AT_ONCE: Final = 5
"""For Nomad to answer that nothing has changed."""
_SECONDS_TO_END: Final = 15.0
"""For a client to end an allocation. One that is cut off does so when it is back."""


@dataclass(kw_only=True)
class _Batch:
    name: str
    wanted: list[Wanted] = field(default_factory=list)
    found: dict[str, asyncio.Future[Allocation]] = field(default_factory=dict)
    asked_for: asyncio.Event = field(default_factory=asyncio.Event)
    """Nomad knows of it, or never will."""

    def done(self, wanted: Wanted) -> bool:
        """Whether nobody waits for it any more."""
        return self.found[wanted.sandbox_id].done()


@dataclass(kw_only=True)
class _Ending:
    """Sandboxes of a batch that are to end in the next request."""

    sandbox_ids: set[str] = field(default_factory=set)
    task: asyncio.Task[None]


class Batches:
    """The jobs of one driver."""

    def __init__(self, nomad: Nomad, mark: Callable[[], str]) -> None:
        self._nomad = nomad
        self._mark = mark
        self._open: _Batch | None = None
        self._filling: dict[str, _Batch] = {}
        """Those whose sandboxes have not all begun."""
        self._ending: dict[str, _Ending] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(
        self, image: str, spec: SandboxSpec, places: Sequence[Place]
    ) -> tuple[str, asyncio.Future[Allocation]]:
        """A new sandbox's id, and a promise of its allocation, which runs then.

        That raises what Nomad's requests do, CapacityExceeded or RuntimeFailed. Whoever gives up
        waiting has to end it.
        """
        if self._open is None or len(self._open.wanted) >= _MOST:
            self._open = _Batch(name=new_batch())
            self._filling[self._open.name] = self._open
            self._start(self._fill(self._open))
        batch, sandbox_id = self._open, member_of(self._open.name)
        batch.wanted.append(Wanted(sandbox_id=sandbox_id, image=image, spec=spec, places=places))
        promise = batch.found[sandbox_id] = asyncio.get_running_loop().create_future()
        return sandbox_id, promise

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _fill(self, batch: _Batch) -> None:
        await asyncio.sleep(_SECONDS_OPEN)
        if self._open is batch:
            self._open = None
        try:
            if still := [each for each in batch.wanted if not batch.done(each)]:
                mark = self._mark()
                await self._register(mark, batch.name, still)
                batch.asked_for.set()
                await self._watch(batch, job_name(mark, batch.name))
        except Exception as error:  # whatever it was, nobody must wait for ever
            own = error if isinstance(error, AssayError) else _unexpected(error)
            for future in batch.found.values():
                if not future.done():
                    future.set_exception(own)
        finally:
            del self._filling[batch.name]
            batch.asked_for.set()
            for future in batch.found.values():
                if not future.cancel() and not future.cancelled():
                    future.exception()  # somebody may no longer listen

    async def _register(self, mark: str, batch: str, wanted: Sequence[Wanted]) -> None:
        options = self._nomad.options
        # Docker's own limit may be more than what is counted, whatever the scheduler says.
        more = options.task_driver != DOCKER and await self._nomad.oversubscribes()
        await self._nomad.register(job(options, mark, batch, wanted, oversubscribed=more))

    async def _watch(self, batch: _Batch, name: str) -> None:
        """Tell each how it went, as Nomad comes to know. It is looked at as a whole each time."""
        index, seconds = 0, 0
        waiting = {each.sandbox_id for each in batch.wanted if not batch.done(each)}
        while waiting:
            answer = await self._nomad.allocations(name, index, seconds)
            index = max(1, answer.index)
            placed = {each.sandbox_id: each for each in map(allocation, answer.data)}
            waiting = {each for each in waiting if not batch.found[each].done()}
            for sandbox_id in waiting & placed.keys():
                self._tell(batch.found[sandbox_id], placed[sandbox_id])
            # Of what has no place the scheduler's evaluation tells, which is not waited for.
            seconds = 1 if waiting - placed.keys() else _SECONDS_AT_ONCE
            if waiting - placed.keys():
                refused = unplaced(await self._nomad.evaluations(name))
                for sandbox_id in (waiting - placed.keys()) & refused.keys():
                    if not batch.found[sandbox_id].done():
                        batch.found[sandbox_id].set_exception(refused[sandbox_id])
            waiting = {each for each in waiting if not batch.found[each].done()}

    def _tell(self, future: asyncio.Future[Allocation], found: Allocation) -> None:
        failure = found.failure
        if failure is not None:
            future.set_exception(failure)
        elif found.status == "running":
            future.set_result(found)

    async def end(self, sandbox_id: str) -> None:
        """End it, and return when it has ended. An unknown one is no error."""
        batch = batch_of(sandbox_id)
        filling = self._filling.get(batch)
        if filling is not None and sandbox_id in filling.found:
            filling.found[sandbox_id].cancel()
        ending = self._ending.get(batch)
        if ending is None:
            task = self._start(self._end(batch))
            ending = self._ending[batch] = _Ending(task=task)
        ending.sandbox_ids.add(sandbox_id)
        await asyncio.shield(ending.task)

    async def _end(self, batch: str) -> None:
        await asyncio.sleep(_SECONDS_OPEN)
        if batch in self._filling:  # to end what is not there yet would leave it there
            await self._filling[batch].asked_for.wait()
        sandbox_ids = self._ending.pop(batch).sandbox_ids
        name = job_name(self._mark(), batch)
        found = await self._look(name)
        if self._alive(batch, found) - sandbox_ids:
            doomed = [each for each in found if each.sandbox_id in sandbox_ids]
            await asyncio.gather(*(self._kill(name, each) for each in doomed))
            await self._wait_until(name, lambda each: each.over, sandbox_ids)
            # Another server may have ended the others meanwhile, who lived when it looked, as these
            # did: whoever looks last is to end the job.
            if self._alive(batch, await self._look(name)):
                return
        # An order to its clients, which holds for those that are cut off as well.
        await self._nomad.stop(name)
        await self._wait_until(name, lambda each: each.over, sandbox_ids)
        await self._nomad.stop(name, purge=True)  # its ends could not be looked at before

    def _alive(self, batch: str, found: Sequence[Allocation]) -> set[str]:
        """Those that are there, or that somebody waits for."""
        return {each.sandbox_id for each in found if not each.over} | self._begun(batch)

    def _begun(self, batch: str) -> set[str]:
        """Those that somebody waits for."""
        filling = self._filling.get(batch)
        futures = filling.found if filling is not None else {}
        return {sandbox_id for sandbox_id, future in futures.items() if not future.done()}

    async def _look(self, name: str) -> list[Allocation]:
        return [allocation(each) for each in (await self._nomad.allocations(name)).data]

    async def _kill(self, name: str, doomed: Allocation) -> None:
        """Kill its agent. A group is never taken out of its job: that can crash Nomad's leader
        (docs/decisions/0084)."""
        if doomed.status == "pending":
            await self._wait_until(name, lambda each: each.status != "pending", {doomed.sandbox_id})
        try:
            await self._nomad.signal(doomed.id, TASK, "SIGKILL")
        except RuntimeFailed:  # it has ended, or its client is away
            now = [each for each in await self._look(name) if each.id == doomed.id]
            if not all(each.over for each in now):
                raise

    async def _wait_until(
        self, name: str, done: Callable[[Allocation], bool], sandbox_ids: set[str]
    ) -> None:
        """Return when it is so for all allocations of these sandboxes, or does not become so."""
        index, loop = 0, asyncio.get_running_loop()
        deadline = loop.time() + _SECONDS_TO_END
        while loop.time() < deadline:
            answer = await self._nomad.allocations(name, index, 1 if index else 0)
            index = max(1, answer.index)
            found = [allocation(each) for each in answer.data]
            if all(done(each) for each in found if each.sandbox_id in sandbox_ids):
                return

    async def aclose(self) -> None:
        """Give up waiting. What was asked for is asked for."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _unexpected(error: Exception) -> RuntimeFailed:
    return RuntimeFailed("a sandbox could not be asked for", detail=repr(error))
