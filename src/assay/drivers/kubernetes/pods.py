"""Pods that somebody waits for: looked at again and again, whenever something may have changed.

What decides is a pod as it is. Events only say when to look; where they end, or are lost, a look
comes a little later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from assay.domain.errors import AssayError
from assay.drivers.kubernetes.api import Kubernetes
from assay.drivers.kubernetes.found import Pod, pod_found
from assay.drivers.kubernetes.pod import selector

_SECONDS_WITHOUT_HINT: Final = 2.0
_SECONDS_OF_HINTS: Final = 60
_SECONDS_TO_NEXT_HINTS: Final = 0.5

Done = Callable[[Pod | None], bool]


@dataclass(eq=False, kw_only=True)
class _Waiting:
    name: str
    done: Done
    found: asyncio.Future[Pod | None]


class Pods:
    """The pods of one driver."""

    def __init__(self, kubernetes: Kubernetes, mark: Callable[[], str]) -> None:
        self._kubernetes = kubernetes
        self._mark = mark
        self._waiting: set[_Waiting] = set()
        self._changed: set[str] = set()
        self._hint = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def look(self, name: str) -> Pod | None:
        """A pod as it is, if there is one. Raises what requests do."""
        found = await self._kubernetes.pod(name)
        return None if found is None else pod_found(found)

    async def all(self) -> list[Pod]:
        """All of this driver, as they are."""
        found = await self._kubernetes.pods(selector(self._mark()))
        return [pod_found(each) for each in found]

    async def wait(self, name: str, done: Done) -> Pod | None:
        """A pod as soon as that is so. Raises what a request does that fails meanwhile."""
        self._begin()
        waiting = _Waiting(name=name, done=done, found=asyncio.get_running_loop().create_future())
        self._waiting.add(waiting)
        self._suggest(name)
        try:
            return await waiting.found
        finally:
            self._waiting.discard(waiting)

    def _begin(self) -> None:
        if not self._tasks:
            works = (self._listen(), self._look_again())
            self._tasks = [asyncio.create_task(each) for each in works]

    def _suggest(self, name: str) -> None:
        self._changed.add(name)
        self._hint.set()

    async def _listen(self) -> None:
        """Hints; and at first, to look at all that were waited for before there were any."""
        while True:
            # Who waits hears of an error from a look, if it matters.
            with contextlib.suppress(AssayError):
                names = self._kubernetes.changes(selector(self._mark()), _SECONDS_OF_HINTS)
                async with contextlib.aclosing(names) as changes:
                    async for name in changes:
                        for each in [name] if name else self._names():
                            self._suggest(each)
            await asyncio.sleep(_SECONDS_TO_NEXT_HINTS)

    def _names(self) -> list[str]:
        return [each.name for each in self._waiting]

    async def _look_again(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS_WITHOUT_HINT if self._waiting else None):
                    await self._hint.wait()
            self._hint.clear()
            hinted, self._changed = self._changed, set()
            names = set(self._names())
            await asyncio.gather(*(self._tell(name) for name in (hinted & names) or names))

    async def _tell(self, name: str) -> None:
        try:
            found = await self.look(name)
        except Exception as error:  # whatever it was, nobody must wait for ever
            for each in self._of(name):
                each.found.set_exception(error)
            return
        for each in self._of(name):
            if each.done(found):
                each.found.set_result(found)

    def _of(self, name: str) -> list[_Waiting]:
        return [each for each in self._waiting if each.name == name and not each.found.done()]

    async def aclose(self) -> None:
        """Give up waiting."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
