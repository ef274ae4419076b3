"""The loop that keeps pools as they should be: what `plan` says is done here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from assay.domain.errors import AssayError, CapacityExceeded, DriverError
from assay.environments.served import Blueprint, ServedEnvironment
from assay.pool.endings import Endings
from assay.pool.events import Event, SandboxAdded, SandboxFailed, SandboxUnhealthy
from assay.pool.making import Maker
from assay.pool.plan import inspect, leaving, plan
from assay.pool.shelf import Idle, Shelf

EVERY_SECONDS: Final = 1.0
"""What is wanted is compared with what there is at least so often."""
SECONDS_TO_SETTLE: Final = 0.005
"""Until the loop looks at what nobody waits for."""
CHECKS_AT_ONCE: Final = 8
CHECK_TIMEOUT: Final = 5.0
"""An idle sandbox whose agent has not answered by then is removed."""

Resolve = Callable[[ServedEnvironment], Awaitable[Blueprint]]
Resolution = asyncio.Task[Blueprint | AssayError | None]
LOST: Final = "the connection to its agent was lost"
SILENT: Final = "its agent did not answer"


class Upkeep:
    """Makes, checks and removes idle sandboxes.

    Hints only wake it. It acts on the difference between what is wanted and what there is, so a
    hint that never came costs a second, and nothing else.
    """

    def __init__(
        self,
        maker: Maker,
        endings: Endings,
        find: Resolve,
        *,
        parallel: int,
        jitter: Callable[[], float],
        tell: Callable[[Event], None],
        on_pass: Callable[[], None],
        told_to_leave: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.shelves: dict[str, Shelf] = {}
        self.growing = 0
        """For how many reasons the targets are about to rise."""
        self._maker = maker
        self._endings = endings
        self._find = find
        self._parallel = parallel
        self._jitter = jitter
        self._tell = tell
        self._on_pass = on_pass
        self._told_to_leave = told_to_leave
        self._making: set[asyncio.Task[None]] = set()
        self._at_driver: set[asyncio.Task[None]] = set()
        """Those of them that the driver still works for."""
        self._checks: set[asyncio.Task[None]] = set()
        self._turns = 0
        self._inspect_at = 0.0
        self._wake = asyncio.Event()
        self._soon: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._draining = False

    # --- the loop ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def hint(self, seconds: float = 0.0) -> None:
        """Something has changed: look now, or soon."""
        if not seconds:
            self._wake.set()
        elif self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(seconds, self._on_soon)

    def hint_freed(self) -> None:
        """There is room again: who failed for want of room need not wait any longer."""
        crowded = [
            shelf
            for shelf in self.shelves.values()
            if isinstance(shelf.last_error, CapacityExceeded)
        ]
        for shelf in crowded:
            shelf.retry_at = 0.0
        if crowded:
            self.hint()

    async def drain(self) -> None:
        """Make nothing any more. What is half made is destroyed."""
        self._draining = True
        resolving = [each.resolving for each in self.shelves.values() if each.resolving]
        await _cancelled([*self._making, *resolving])

    async def aclose(self) -> None:
        """End the loop."""
        await self.drain()
        if self._soon is not None:
            self._soon.cancel()
        await _cancelled([*self._checks, *([self._task] if self._task else [])])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            try:
                self._reconcile(loop.time())
            except Exception as error:  # what is wrong with one pass may be right in the next
                loop.call_exception_handler(
                    {"message": "a pass of the pool's loop failed", "exception": error}
                )
            tick = loop.call_later(EVERY_SECONDS, self._wake.set)
            await self._wake.wait()
            tick.cancel()

    def _on_soon(self) -> None:
        self._soon = None
        self._wake.set()

    def _reconcile(self, now: float) -> None:
        if not self._draining:
            self._inspect(now)
            for shelf in self.shelves.values():
                if shelf.blueprint is None and now >= shelf.retry_at:
                    self.resolve(shelf)
            self._act(now)
            for shelf in self.shelves.values():
                _keep_interpreters(shelf)
        self._on_pass()

    def _act(self, now: float) -> None:
        stands = [shelf.stand(now) for shelf in self.shelves.values()]
        actions = plan(
            stands,
            busy=len(self._at_driver),
            slots=self._parallel,
            now=now,
            freeing=self._endings.busy,
            growing=bool(self.growing),
        )
        for name, count in actions.destroy_idle.items():
            self.end_all(self.shelves[name].take_idle(count))
        for name, count in actions.destroy_old.items():
            self.end_all(self.shelves[name].take_old(count))
        for name in actions.create:
            self._begin(self.shelves[name])

    # --- making --------------------------------------------------------------------------------

    def resolve(self, shelf: Shelf) -> Resolution:
        """Find what its sandboxes are made of, once for all who ask."""
        if shelf.resolving is None:
            shelf.resolving = asyncio.get_running_loop().create_task(self._resolve(shelf))
        return shelf.resolving

    async def _resolve(self, shelf: Shelf) -> Blueprint | AssayError | None:
        """None: it was changed meanwhile, and has to be found once more."""
        environment = shelf.environment
        found: Blueprint | AssayError
        try:
            found = await self._find(environment)
        except Exception as error:
            found = _as_own(error, f"find what {environment.name} is made of")
        finally:
            shelf.resolving = None
            self.hint()
        if shelf.environment is not environment:
            return None
        if isinstance(found, AssayError):
            self._failed(shelf, found)
        else:
            shelf.succeeded()
            shelf.found(found)
            self.serve(shelf)
        return found

    def _begin(self, shelf: Shelf) -> None:
        assert shelf.blueprint is not None
        self._turns += 1
        shelf.turn = self._turns
        version = shelf.blueprint.version
        shelf.creating[version] += 1
        task = asyncio.get_running_loop().create_task(self._make(shelf, shelf.blueprint))
        self._making.add(task)
        self._at_driver.add(task)
        task.add_done_callback(lambda done: self._on_made(done, shelf, version))

    def _on_created(self, task: asyncio.Task[None]) -> None:
        """The next one is begun with while this one's agent and row are waited for."""
        self._at_driver.discard(task)
        self.hint()

    def _on_made(self, done: asyncio.Task[None], shelf: Shelf, version: str) -> None:
        """(Also of a task that was cancelled before it ran.)"""
        self._making.discard(done)
        self._at_driver.discard(done)
        shelf.creating[version] -= 1
        if not shelf.creating[version]:
            del shelf.creating[version]
        self.hint(SECONDS_TO_SETTLE)  # the next one was begun with when this one was created

    async def _make(self, shelf: Shelf, blueprint: Blueprint) -> None:
        now = asyncio.get_running_loop().time
        started, task = now(), asyncio.current_task()
        assert task is not None
        try:
            idle = await self._maker.make(
                blueprint, lambda: self._on_created(task), wanted=lambda: bool(shelf.queue)
            )
        except Exception as error:
            self._failed(shelf, _as_own(error, "make a sandbox"))
            return
        shelf.succeeded()
        self._tell(SandboxAdded(environment=shelf.environment.name, seconds=now() - started))
        self.put(shelf, idle)

    def _failed(self, shelf: Shelf, error: AssayError) -> None:
        now = asyncio.get_running_loop().time()
        seconds = shelf.failed(error, now=now, jitter=self._jitter())
        self._tell(
            SandboxFailed(environment=shelf.environment.name, error=error, retry_seconds=seconds)
        )

    # --- the stock -----------------------------------------------------------------------------

    def put(self, shelf: Shelf, idle: Idle, *, first: bool = False) -> bool:
        """Put a sandbox into the stock, and give it to who waits; destroy it if it's not wanted."""
        wanted = self.shelves.get(shelf.environment.name) is shelf and not self._draining
        if not wanted or not shelf.put(idle, first=first):
            self.end_all([idle])
            return False
        idle.session.agent.on_lost = self._on_lost
        self.serve(shelf)
        _keep_interpreters(shelf)
        return True

    def serve(self, shelf: Shelf) -> None:
        """Give those who wait what there is."""
        for lost in shelf.serve(asyncio.get_running_loop().time()):
            self._end_unhealthy(lost, LOST)

    def end_all(self, sandboxes: Collection[Idle]) -> None:
        """Destroy sandboxes that are in no stock any more."""
        for idle in sandboxes:
            idle.session.agent.on_lost = None
            ending = self._endings.begin(idle.record.id, idle.session.agent)
            ending.add_done_callback(lambda _done: self.hint_freed())

    def _on_lost(self) -> None:
        self._inspect_at = 0.0
        self.hint()

    def _inspect(self, now: float) -> None:
        if now < self._inspect_at:
            return
        self._inspect_at = now + EVERY_SECONDS
        for shelf in self.shelves.values():
            inspection = inspect(
                shelf.inspected(), room=CHECKS_AT_ONCE - len(self._checks), now=now
            )
            for sandbox_id in inspection.remove:
                self._remove(shelf, sandbox_id, LOST)
            for sandbox_id in inspection.check:
                self._begin_check(shelf, sandbox_id)
        if told := self._told_to_leave():
            for shelf in self.shelves.values():
                shelf.retire(leaving(shelf.idle, told))

    def _begin_check(self, shelf: Shelf, sandbox_id: str) -> None:
        idle = shelf.idle.get(sandbox_id) or shelf.old[sandbox_id]
        if idle.checking:
            return
        idle.checking = True
        shelf.checking += 1
        task = asyncio.get_running_loop().create_task(self._check(shelf, idle))
        self._checks.add(task)
        task.add_done_callback(lambda done: self._on_checked(done, shelf, idle))

    def _on_checked(self, done: asyncio.Task[None], shelf: Shelf, idle: Idle) -> None:
        self._checks.discard(done)
        idle.checking = False
        shelf.checking -= 1

    async def _check(self, shelf: Shelf, idle: Idle) -> None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await idle.session.agent.ping()
        except TimeoutError:
            self._remove(shelf, idle.record.id, SILENT)
        except AssayError:
            self._remove(shelf, idle.record.id, LOST)
        else:
            idle.checked_at = asyncio.get_running_loop().time()

    def _remove(self, shelf: Shelf, sandbox_id: str, reason: str) -> None:
        """(It may have been claimed meanwhile: then it is somebody else's business.)"""
        if (idle := shelf.remove(sandbox_id)) is not None:
            self._end_unhealthy(idle, reason)

    def _end_unhealthy(self, idle: Idle, reason: str) -> None:
        self._tell(
            SandboxUnhealthy(
                environment=idle.record.environment, sandbox_id=idle.record.id, reason=reason
            )
        )
        self.end_all([idle])
        self.hint()


def _keep_interpreters(shelf: Shelf) -> None:
    for idle in shelf.unhurried():
        idle.keep_interpreter()


def _as_own(error: Exception, what: str) -> AssayError:
    if isinstance(error, AssayError):
        return error
    return DriverError(f"the server could not {what}", detail=repr(error))


async def _cancelled(tasks: Collection[asyncio.Task[object]] | list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
