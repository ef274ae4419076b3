"""One grading of one submission: what it works with, and where its time goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace

from assay.agent.execution import Completed
from assay.domain.command import Command
from assay.domain.errors import GradingLost
from assay.domain.limits import ExecutionLimits
from assay.domain.outcome import OutcomeKind
from assay.environments.document import Sandbox
from assay.environments.served import Blueprint
from assay.grading.joint import Account, Seats
from assay.grading.places import Place, Places
from assay.grading.record import Ledger, Record
from assay.grading.references import References
from assay.grading.tasks.bundle import Bundle
from assay.grading.tasks.model import Task
from assay.grading.tasks.submission import Submission


class Stopwatch:
    """Divides the time of strands that go side by side.

    Booting is while somebody waits for a sandbox and nothing runs.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.booting = 0.0
        self.grading = 0.0
        self._clock = clock
        self._since = clock()
        self._waiting = self._running = 0

    @contextlib.contextmanager
    def waits(self) -> Iterator[None]:
        """Somebody waits for a sandbox."""
        self._step(1, 0)
        try:
            yield
        finally:
            self._step(-1, 0)

    @contextlib.contextmanager
    def runs(self) -> Iterator[None]:
        """Something runs."""
        self._step(0, 1)
        try:
            yield
        finally:
            self._step(0, -1)

    def _step(self, waiting: int, running: int) -> None:
        now = self._clock()
        if self._waiting and not self._running:
            self.booting += now - self._since
        else:
            self.grading += now - self._since
        self._since = now
        self._waiting += waiting
        self._running += running

    def ran(self) -> float:
        """Seconds until now during which something ran, or was being prepared."""
        self._step(0, 0)
        return self.grading

    def stop(self) -> None:
        """Count the time until now."""
        self._step(0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """What graders work with."""

    task: Task
    bundle: Bundle
    submission: Submission
    places: Places
    seed: int
    """From which everything random is made; kept with the result."""
    owner: str = ""
    seats: Seats = field(default_factory=lambda: Seats(2))
    """Sandboxes that it may have at a time, together with all others that have these seats."""
    at_once: int = 16
    """Of those, for this one alone; the task may say fewer."""
    watch: Stopwatch = field(default_factory=Stopwatch)
    references: References = field(default_factory=References)
    ledger: Ledger = field(default_factory=Ledger)
    again: Record | None = None
    """It is to be done as it was then: with those limits."""
    account: Account = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing used."""
        object.__setattr__(self, "account", Account(self.task.joint, self.at_once, self.watch.ran))

    @contextlib.asynccontextmanager
    async def place(self, environment: str = "", *, beside: bool = False) -> AsyncIterator[Place]:
        """A sandbox of the task's environment and limits, or of another one.

        `beside`: its seat is one of those that `together` has taken.
        """
        turn = contextlib.nullcontext() if beside else self.together(environment)
        async with turn, contextlib.AsyncExitStack() as stack:
            with self.watch.waits():
                place = await stack.enter_async_context(self._asked(environment))
            self.ledger.uses(place.blueprint)
            yield place

    @contextlib.asynccontextmanager
    async def together(self, *environments: str, spare: int = 0) -> AsyncIterator[None]:
        """Seats for a sandbox of each environment, taken at once; then ask for them `beside`.

        So no grading waits for a sandbox while it has another one that somebody waits for. So many
        of the last ones are `spare`: it can go on without them, and they have no seat. Raises
        TaskFault when the task's joint limits are too low for all.
        """
        memory = 0
        for environment in environments:
            name = environment or self.task.environment
            blueprint = await self.places.blueprint(name, self._sandbox(name))
            memory += blueprint.environment.sandbox.memory_bytes
        count = len(environments)
        async with self.account.sandboxes(count, memory), self.seats.take(count - spare):
            yield

    def _asked(self, environment: str) -> contextlib.AbstractAsyncContextManager[Place]:
        name = environment or self.task.environment
        return self.places.place(name, sandbox=self._sandbox(name), owner=self.owner)

    def _sandbox(self, environment: str) -> Sandbox | None:
        then = None if self.again is None else self.again.sandbox_of(environment)
        if then is not None:
            return then
        return self.task.sandbox if environment == self.task.environment else None

    async def blueprint(self) -> Blueprint:
        """What the sandboxes of the task's environment are made of."""
        name = self.task.environment
        return await self.places.blueprint(name, self._sandbox(name))

    def limits(self, base: ExecutionLimits, *, of: str = "program") -> ExecutionLimits:
        """Of the learner's code, where the task's own leave `base`; noted as `of`."""
        then = None if self.again is None else self.again.limits.get(of)
        self.ledger.limits[of] = self.task.limits.over(base) if then is None else then
        return self.ledger.limits[of]

    async def run(
        self,
        place: Place,
        command: Command,
        stdin: bytes = b"",
        *,
        most: int,
        by_learner: bool = False,
    ) -> Completed:
        """Run a program there, the learner's or the task's own.

        Raises GradingLost when it isn't known how it ended, and JointLimitReached.
        """
        command = replace(command, limits=self.account.cut(command.limits))
        with self.watch.runs():
            completed = await place.session.run(command, stdin, most=most)
        self.account.spend(completed.facts.cpu_ns, by_learner=by_learner)
        if completed.outcome.kind in (OutcomeKind.LOST, OutcomeKind.CANCELLED):
            raise GradingLost(f"a sandbox was lost: {completed.outcome.reason or 'cancelled'}")
        return completed
