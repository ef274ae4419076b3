"""Sessions of `agent bridge`: the one that brings the secret is kept for who connects first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from assay.domain.errors import ConnectionLost, CreateTimeout, RuntimeFailed
from assay.driver.port import ByteStream, Secret
from assay.drivers.linux.container import JOINED

_ATTEMPTS: Final = 4
"""An orchestrator may ask whether a program runs before its engine has begun to start it, and then
ends the session."""
_SECONDS_TO_LISTEN: Final = 15.0
_SECONDS_TO_JOIN: Final = 10.0
_SECONDS_KEPT: Final = 3.0
"""The agent waits five for whoever is connected to say who it is."""


class ProgramStream(ByteStream, Protocol):
    """The input and output of a program in a container."""

    @property
    def words(self) -> str:
        """What the program had to say beside."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing more will be read."""
        ...


Opened = TypeVar("Opened", bound=ProgramStream)


class Sessions(Generic[Opened]):
    """Those of one driver."""

    def __init__(self) -> None:
        self._opened: dict[str, Opened] = {}
        """Streams of new sandboxes, until somebody connects."""
        self._closing: set[asyncio.Task[None]] = set()

    def keep(self, sandbox_id: str, stream: Opened) -> None:
        """Whoever wants a sandbox most often connects to it at once."""
        self._opened[sandbox_id] = stream
        loop = asyncio.get_running_loop()
        loop.call_later(_SECONDS_KEPT, self._drop, sandbox_id, stream)

    def _drop(self, sandbox_id: str, stream: Opened) -> None:
        if self._opened.get(sandbox_id) is stream:
            del self._opened[sandbox_id]
            closing = asyncio.create_task(stream.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def take(self, sandbox_id: str) -> Opened | None:
        """The one that was kept, if it still is of use."""
        opened = self._opened.pop(sandbox_id, None)
        if opened is not None and opened.ended:
            await opened.aclose()
            return None
        return opened

    async def forget(self, sandbox_id: str) -> None:
        """Close the one that was kept."""
        if (opened := self._opened.pop(sandbox_id, None)) is not None:
            await opened.aclose()

    async def aclose(self) -> None:
        """Close all."""
        for sandbox_id in list(self._opened):
            await self.forget(sandbox_id)
        await asyncio.gather(*self._closing)


async def join(start: Callable[[], Awaitable[Opened]], secret: Secret | None = None) -> Opened:
    """A stream to the agent, by `start` of the bridge; with its secret, it gets that first.

    Raises RuntimeFailed, and what `start` does.
    """
    for _ in range(_ATTEMPTS):
        stream = await start()
        try:
            if await _has_joined(stream, secret):
                return stream
        except BaseException:
            await stream.aclose()
            raise
        await stream.aclose()
        if stream.words:
            break
    raise RuntimeFailed("the agent can't be reached", detail=stream.words)


async def _has_joined(stream: ProgramStream, secret: Secret | None) -> bool:
    said = b""
    with contextlib.suppress(ConnectionLost, TimeoutError):
        async with asyncio.timeout(_SECONDS_TO_JOIN):
            if secret is not None:
                await stream.write(secret.reveal())
            while said != JOINED and (more := await stream.read(len(JOINED) - len(said))):
                said += more
    return said == JOINED


async def listening(joining: Awaitable[Opened], words: Callable[[], Awaitable[str]]) -> Opened:
    """What `joining` comes to, which brings the agent its secret, once the agent listens.

    `words` are the agent's. Raises CreateTimeout or RuntimeFailed with them, and what both do.
    """
    try:
        async with asyncio.timeout(_SECONDS_TO_LISTEN):
            return await joining
    except (RuntimeFailed, ConnectionLost, TimeoutError) as error:
        detail = f"{getattr(error, 'detail', '')}\n{await words()}".strip()
        if isinstance(error, TimeoutError):
            raise CreateTimeout(
                f"the agent did not start in {_SECONDS_TO_LISTEN:.0f} s", detail=detail
            ) from error
        raise RuntimeFailed("the agent did not take its secret", detail=detail) from error
