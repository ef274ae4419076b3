"""The connection to a runner's agent: there, being made again, or lost for good."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from assay.agent.client import Agent
from assay.agent.session import CONNECTION_BROKE, Session, connect
from assay.agent.witness import Witness
from assay.domain.errors import (
    AgentError,
    AgentRefused,
    AssayError,
    ConnectionLost,
    ProtocolViolation,
    RunnerGone,
)
from assay.domain.facts import Facts
from assay.driver.port import RootFilesystem, Sandbox, Secret
from assay.runners.backing import Backing
from assay.runners.values import EndReason

MEND_SECONDS: Final = 15.0
"""An agent that can't be talked to for so long is lost."""
_DELAYS: Final = (0.0, 0.02, 0.1, 0.3, 1.0)
"""Between attempts, in seconds; the last one again and again."""


class Link:
    """Keeps one sandbox's agent connected for as long as the sandbox lives.

    When the connection breaks and the sandbox is there, a new one is made with a higher epoch,
    and `on_connected` attaches to what goes on; when it isn't, `on_lost` gets the facts, once.
    """

    def __init__(
        self,
        backing: Backing,
        sandbox_id: str,
        secret: Secret,
        root: RootFilesystem,
        *,
        session: Session | None,
        on_connected: Callable[[Agent, float], Awaitable[None]],
        on_lost: Callable[[Facts], None],
    ) -> None:
        """`session`: the connection that there is; without one, it is made on the first use."""
        self.sandbox_id = sandbox_id
        self.session = session
        self._backing = backing
        self._secret = secret
        self._root = root
        self._on_connected: Callable[[Agent, float], Awaitable[None]] | None = on_connected
        self._on_lost: Callable[[Facts], None] | None = on_lost
        # What the host had counted before this server came isn't known.
        self.witness = (
            Witness(backing.driver, sandbox_id, oom_kills=None)
            if session is None
            else session.witness
        )
        self._agent: Agent | None = None
        self._mending: asyncio.Task[None] | None = None
        self._closed = False
        if session is not None:
            self._use(session.agent)

    @property
    def agent(self) -> Agent | None:
        """The agent, if it is connected now."""
        return self._agent

    async def connected(self) -> Agent:
        """Return the agent, connected; waits while that is being mended. Raises RunnerGone."""
        while self._agent is None:
            if self._closed:
                raise RunnerGone("the runner's sandbox is gone")
            await asyncio.wait((self._mend_soon(None),))
        return self._agent

    def close(self) -> None:
        """Mend nothing any more; who has the session closes the connection."""
        self._closed = True
        self._agent = None
        # What knows us, and we know it, would wait for the garbage collector.
        self._on_connected = self._on_lost = None
        if self.session is not None:
            self.session.agent.on_lost = None
        if self._mending is not None and self._mending is not asyncio.current_task():
            self._mending.cancel()

    def _use(self, agent: Agent) -> None:
        agent.on_lost = self._on_connection_lost
        self._agent = agent
        if agent.lost is not None:
            self._on_connection_lost()

    def _on_connection_lost(self) -> None:
        agent, self._agent = self._agent, None
        if not self._closed and agent is not None:
            self._mend_soon(agent.lost)

    def _mend_soon(self, error: AgentError | None) -> asyncio.Task[None]:
        if self._mending is None:
            self._mending = self._backing.background.spawn(self._mend(error))
        return self._mending

    async def _mend(self, error: AgentError | None) -> None:
        try:
            if self.session is not None:
                await self.session.agent.aclose()
            facts = await self._try_again(error)
        finally:
            self._mending = None
        if self._closed:
            return
        if facts is not None:
            on_lost = self._on_lost
            self.close()
            if on_lost is not None:
                on_lost(facts)
        elif self._agent is None and self.session is not None:  # it broke again at once
            self._mend_soon(self.session.agent.lost)

    async def _try_again(self, error: AgentError | None) -> Facts | None:
        """Return None once it is connected, or what is known of the loss."""
        started = asyncio.get_running_loop().time()
        deadline = started + MEND_SECONDS
        delays = _delays()
        while not isinstance(error, ProtocolViolation):
            await asyncio.sleep(next(delays))
            try:
                async with asyncio.timeout_at(deadline):
                    await self._connect(started)
                return None
            except TimeoutError:
                error = error or ConnectionLost("the sandbox's agent could not be connected to")
                break
            except AgentRefused as refused:
                if refused.detail == "epoch":  # what runs there is somebody else's to look after
                    return Facts(lost=EndReason.TAKEN_OVER)
                error = refused
            except AgentError as failure:
                error = failure
            except AssayError as failure:
                error = ConnectionLost(failure.message, detail=failure.detail)
            if not await self._is_there():
                break
        assert error is not None
        return await self.witness.lost(error)

    async def _connect(self, started: float) -> None:
        backing, root = self._backing, self._root
        agent = await connect(
            backing.driver, self.sandbox_id, self._secret,
            user=root.user, group=root.group, epoch=backing.epochs(),
        )  # fmt: skip
        try:
            if self._on_connected is not None:
                await self._on_connected(agent, asyncio.get_running_loop().time() - started)
        except BaseException:
            await agent.aclose()
            raise
        if self.session is None:
            self.session = Session(backing.driver, Sandbox(id=self.sandbox_id), agent)
        self.session.agent = agent
        self._use(agent)

    async def _is_there(self) -> bool:
        """Whether it makes sense to try again."""
        facts = await self.witness.lost(ConnectionLost("not connected"))
        return facts.lost == CONNECTION_BROKE


def _delays() -> Iterator[float]:
    yield from _DELAYS
    while True:
        yield _DELAYS[-1]
