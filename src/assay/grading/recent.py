"""What many want to know again and again is asked once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _Asked(NamedTuple, Generic[T]):
    at: float
    answer: asyncio.Future[T]


class Recent(Generic[T]):
    """Answers by their names, none of them older than so many seconds."""

    def __init__(self, ask: Callable[[str], Awaitable[T]], *, seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._known: dict[str, _Asked[T]] = {}

    async def get(self, name: str) -> T:
        """Raises what asking raises."""
        now = asyncio.get_running_loop().time()
        self._known = {
            each: asked for each, asked in self._known.items() if now - asked.at < self._seconds
        }
        known = self._known.get(name)
        if known is None:
            known = _Asked(at=now, answer=asyncio.ensure_future(self._ask(name)))
            self._known[name] = known
        return await asyncio.shield(known.answer)
