"""One execution of a runner, from the request for it until its client knows how it ended."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol

from assay.agent.client import Agent
from assay.agent.execution import Execution, Stream
from assay.agent.session import WATCHDOG_SECONDS
from assay.domain.command import Command
from assay.domain.errors import ExecutionRefused
from assay.domain.facts import Facts
from assay.domain.outcome import Outcome, classify
from assay.runners.replay import Replay
from assay.runners.stdin import StandardInput
from assay.runners.values import ASSAY_V1, State

PREPARED_SECONDS: Final = 60.0
"""For a client to connect to what it asked for."""


class Keeper(Protocol):
    """The runner, as its executions see it."""

    retain_seconds: float
    """What has ended waits so long for a client that is not connected."""
    detached_seconds: float
    """What has no time limit goes on so long without a client; what no client takes waits."""

    def on_activity(self) -> None:
        """Something came from the program."""
        ...

    def on_exit(self, hosted: HostedExecution, facts: Facts) -> None:
        """It ended; the host may have something to add to the agent's facts."""
        ...

    def on_concluded(self, hosted: HostedExecution) -> None:
        """Its outcome is known."""
        ...

    def on_overdue(self, hosted: HostedExecution) -> None:
        """The agent did not end it in time."""
        ...

    def forget(self, hosted: HostedExecution) -> None:
        """Nobody will ask for it any more."""
        ...


class HostedExecution:
    """What a runner knows of one execution; it observes it in the agent's client.

    No task belongs to it: what comes from the agent is put where its client's task takes it.
    """

    __slots__ = (
        "_confirmed_at", "_discarding", "_forgotten", "_keeper", "_killed", "_loop", "_must_end_at",
        "_timer", "_waiting", "attached_by", "command", "execution", "facts", "first_output_at",
        "id", "mode", "moved", "number", "outcome", "output_known", "replay", "started_at", "state",
        "stdin",
    )  # fmt: skip

    def __init__(
        self, keeper: Keeper, execution_id: str, number: int, command: Command, mode: str
    ) -> None:
        self.id = execution_id
        self.number = number
        self.command = command
        self.mode = mode
        self.state = State.PREPARED
        self.execution: Execution | None = None
        self.replay = Replay()
        self.stdin = StandardInput()
        self.output_known = 0
        """How far the output had come, as the agent said, when it was connected to last."""
        self.facts: Facts | None = None
        self.outcome: Outcome | None = None
        self.started_at = 0.0
        self.first_output_at: float | None = None
        """On the clock of `time.perf_counter`: an event loop's may be coarse."""
        self.attached_by: object | None = None
        """The one that stands for its client now."""
        self.moved = False
        """Another server has it."""
        self._keeper = keeper
        self._loop = asyncio.get_running_loop()
        self._waiting: list[asyncio.Future[None]] = []
        self._discarding = self._forgotten = self._killed = False
        self._must_end_at: float | None = None
        self._confirmed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._rearm()

    # --- its life -----------------------------------------------------------------------------

    @property
    def was_started(self) -> bool:
        """Whether there was ever a program."""
        return self.started_at > 0

    async def begin(self, agent: Agent) -> None:
        """Start it."""
        self.execution = await agent.start(self.command, number=self.number, observer=self)
        self.state = State.RUNNING
        self._set_out()

    async def go_on(self, agent: Agent) -> bool:
        """Attach over a new connection, and say whether it had been started at all.

        One that the agent doesn't know was never started: then EXEC was lost, or not sent yet.
        """
        known = next((known for known in agent.known if known.number == self.number), None)
        if known is None:
            if self.state is State.RUNNING:
                await self.begin(agent)
            return False
        if self.state is State.PREPARED:  # by an earlier server, which knew more
            self.replay = Replay(known.output_start)
            self.stdin = StandardInput(known.stdin_received)
            self.state = State.RUNNING
            self._set_out()
        self.output_known = known.output_end
        self.execution = await agent.attach(
            self.number,
            offset=self.replay.end,
            acknowledged=min(self.replay.start, self.replay.end),
            stdin=self.command.stdin,
            terminal=self.command.terminal is not None,
            observer=self,
        )
        self.stdin.resume(self.execution)
        if self._killed:
            self.execution.kill()
        return True

    def _set_out(self) -> None:
        self.started_at = time.perf_counter()
        self._confirmed_at = self._loop.time()
        if self.command.limits.wall_seconds is not None:
            self._must_end_at = self._confirmed_at + self.command.limits.wall_seconds
        if self.attached_by is None and self.mode != ASSAY_V1:
            self._discarding = True  # its client can't come back
        self._rearm()

    def kill(self) -> None:
        """End it, as cancelled."""
        if self.state is State.RUNNING:
            self._killed = True
            self._must_end_at = self._loop.time()
            if self.execution is not None:
                self.execution.kill()
            self._rearm()

    def conclude(self, facts: Facts) -> None:
        """It has ended so; its client gets what is left of its output, and this."""
        if self.state is State.ENDED:
            return
        self.facts = facts
        self.outcome = classify(facts, self.command.limits)
        self.state = State.ENDED
        self._rearm()
        self._keeper.on_concluded(self)
        self.wake()
        if self._forgotten or self._discarding:
            self._keeper.forget(self)

    def lose(self, facts: Facts) -> None:
        """Nothing more will be known of it."""
        known = self.execution.facts if self.execution is not None else None
        self.conclude(facts if known is None else known)

    def learn_of_loss(self, facts: Facts, offset: int) -> None:
        """The same, for a client that had followed it up to `offset`, by an earlier server: so it
        ran, though no agent can tell that any more.
        """
        if self.state is State.PREPARED:
            self.replay = Replay(offset)
        self.conclude(facts)

    def close(self) -> None:
        """Let go of everything, its timer first."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- its client ---------------------------------------------------------------------------

    def attach(self, client: object) -> None:
        """Let this one stand for its client; one that did is replaced."""
        self.attached_by = client
        self._confirmed_at = self._loop.time()
        self._rearm()
        self.wake()

    def detach(self, client: object) -> None:
        """The client's connection is gone."""
        if self.attached_by is not client:
            return
        self.attached_by = None
        if self.mode == ASSAY_V1:
            self._rearm()
        else:
            self.discard()

    def move(self) -> None:
        """Its client has to look for it elsewhere."""
        self.attached_by = None
        self.moved = True
        self.wake()

    def abandon(self, client: object) -> None:
        """The client has left for good: nobody will ask how it ends."""
        if self.attached_by is client:
            self.attached_by = None
            self.kill()
            self.discard()

    def discard(self) -> None:
        """Output goes nowhere from now on, and with the end everything is over."""
        self._discarding = True
        self._rearm()
        if self.state is State.ENDED:
            self.attached_by = None
            self._keeper.forget(self)
        else:
            self._tell(self.replay.drop(0))

    def acknowledge(self, offset: int) -> None:
        """The client has all output before `offset`. Raises InvalidInput when it can't."""
        self._confirmed_at = self._loop.time()
        self._tell(self.replay.acknowledge(offset))

    def resume(self, offset: int) -> None:
        """A client has all output before `offset` and wants the rest. Raises OffsetLost."""
        self._tell(self.replay.resume(offset, most=self.output_known))

    async def changed(self) -> None:
        """Wait until there is something new."""
        waiting = self._loop.create_future()
        self._waiting.append(waiting)
        await waiting

    def wake(self) -> None:
        """Let those look who wait for something new."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                if not each.done():
                    each.set_result(None)

    def flush_input(self) -> None:
        """Send what the sandbox takes of standard input, if there is a connection."""
        execution = self.execution
        if execution is not None and not execution.ended:
            self.stdin.flush(execution)

    # --- the agent's client -------------------------------------------------------------------

    def on_output(self, stream: Stream, data: bytes) -> None:
        """Output has come."""
        if self.first_output_at is None:
            self.first_output_at = time.perf_counter()
        self._keeper.on_activity()
        if self._discarding:
            self._tell(self.replay.drop(len(data)))
        else:
            self.replay.append(stream, data)
            self.wake()

    def on_change(self) -> None:
        """The input's window moved, the end has come, or the connection is lost."""
        execution = self.execution
        if execution is None:
            return
        if execution.facts is not None:
            self._keeper.on_exit(self, execution.facts)
        elif isinstance(execution.error, ExecutionRefused):
            self.conclude(Facts(lost=execution.error.message))
        elif execution.error is None and self.stdin.on_window(execution):
            self.wake()

    def _tell(self, offset: int | None) -> None:
        if offset is not None and self.execution is not None:
            self.execution.acknowledge(offset)

    # --- time ---------------------------------------------------------------------------------

    def _due(self) -> float | None:
        now = self._loop.time()
        if self.state is State.PREPARED:
            return now + PREPARED_SECONDS
        if self.state is State.ENDED:
            return now + self._keeper.retain_seconds if self.attached_by is None else None
        if self._must_end_at is not None:
            return max(self._must_end_at, now) + WATCHDOG_SECONDS
        return now + self._keeper.detached_seconds if self.attached_by is None else None

    def _rearm(self) -> None:
        self.close()
        due = self._due()
        if due is not None:
            self._timer = self._loop.call_at(due, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        if self.state is not State.RUNNING:
            self._forgotten = True
            self._keeper.forget(self)
        elif self._must_end_at is None:
            self.kill()
        elif self.execution is None or self.execution.error is not None:
            self._rearm()  # the connection is being mended, or is lost for good in a moment
        elif not self._discarding and self.replay.unconfirmed:
            # The agent can't tell of the end before somebody takes what came before it.
            if self._loop.time() - self._confirmed_at > self._keeper.detached_seconds:
                self.discard()
            self._rearm()
        else:
            self._keeper.on_overdue(self)
