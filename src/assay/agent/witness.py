"""What the host can say of a sandbox, when its agent says nothing or can't know."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final

from assay.domain.errors import AgentError, AssayError, ConnectionLost, ProtocolViolation
from assay.domain.facts import Facts, Measurement, Scope, Source
from assay.driver.port import Driver, SandboxState

ENDED_FROM_OUTSIDE: Final = "the sandbox was ended from outside"
AGENT_DIED: Final = "the agent died"
TOO_MANY_PROCESSES: Final = "the sandbox's kernel met the host's limit of processes"
OVERDUE: Final = "the agent did not end the program in time"
CONNECTION_BROKE: Final = "the connection broke"
PROTOCOL_BROKEN: Final = "the agent broke the protocol"
"""Reasons for which an execution is lost."""
_SETTLING_SECONDS: Final = (0.01, 0.04, 0.2, 0.5)
"""A killed agent's socket closes before the technology says that its sandbox has ended."""
_SECONDS_TO_VANISH: Final = (0.01, 0.04, 0.2)
"""Whoever destroys a sandbox kills first and removes then; only that tells it from a death."""


class Overdue(ConnectionLost):
    """The agent is there, but does not do what it owes."""


class Witness:
    """Looks at one sandbox from outside, over all connections to its agent."""

    def __init__(self, driver: Driver, sandbox_id: str, *, oom_kills: int | None = 0) -> None:
        """`oom_kills`: what the host has counted in it so far; None when that isn't known."""
        self._driver = driver
        self._sandbox_id = sandbox_id
        self._oom_kills = oom_kills
        self._ended_because = ""

    async def lost(self, error: AgentError) -> Facts:
        """Find out why executions that ended with this error of the connection are lost."""
        if isinstance(error, Overdue):
            self._ended_because = error.message
            state = await self._examine()
            await surely(self._driver.destroy(self._sandbox_id))
        else:
            state = await self.settled_state()
        return Facts(lost=self._reason(error, state), oom_kills=self._new_oom_kills(state))

    @staticmethod
    def is_complete(facts: Facts) -> bool:
        """Whether `complete` has nothing to add."""
        return facts.exit_code == 0 or (facts.oom_kills is not None and not facts.oom_kills.value)

    async def complete(self, facts: Facts) -> Facts:
        """Fill in from the host what the agent could not see, if it can have mattered."""
        if self.is_complete(facts):
            return facts
        state = await self._examine()
        if facts.oom_kills is None:
            facts = replace(facts, oom_kills=self._new_oom_kills(state))
        if state is not None and state.oom_kills is not None:
            self._oom_kills = state.oom_kills
        return facts

    async def settled_state(self) -> SandboxState | None:
        """What the host knows of the sandbox, once it has seen what broke the connection.

        None: it's gone. When it cannot be asked, it runs as far as anybody knows.
        """
        state = await self._examine()
        for seconds in _SETTLING_SECONDS:
            if state is None or not state.running:
                break
            await asyncio.sleep(seconds)
            state = await self._examine()
        for seconds in _SECONDS_TO_VANISH:
            if state is None or state.running:
                break
            await asyncio.sleep(seconds)
            state = await self._examine()
        return state

    async def _examine(self) -> SandboxState | None:
        try:
            return await self._driver.examine(self._sandbox_id)
        except AssayError:
            # Nothing is known then; that the connection broke stays true.
            return SandboxState(running=True)

    def _reason(self, error: AgentError, state: SandboxState | None) -> str:
        if self._ended_because:
            return self._ended_because
        if isinstance(error, ProtocolViolation):
            return PROTOCOL_BROKEN
        if state is None:
            return ENDED_FROM_OUTSIDE
        if state.lost:
            return state.lost
        if state.running:
            return CONNECTION_BROKE
        # A program is refused a process and goes on; no kernel of a sandbox's own does.
        if self._driver.capabilities.own_kernel and state.processes_refused:
            return TOO_MANY_PROCESSES
        return AGENT_DIED

    def _new_oom_kills(self, state: SandboxState | None) -> Measurement | None:
        if state is None or state.oom_kills is None or self._oom_kills is None:
            return None
        count = max(0, state.oom_kills - self._oom_kills)
        return Measurement(value=count, source=Source.HOST, scope=Scope.SANDBOX)


async def surely(work: Coroutine[Any, Any, None]) -> None:
    """Await to the end, even when the caller is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise
