"""Those who wait for the end of submissions: they share one question a second, however many."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Final

from assay.domain.errors import StorageError

SECONDS_BETWEEN_LOOKS: Final = 1.0
"""For what nobody tells of: what another process does with an SQLite file, and lost notices."""

Ended = Callable[[Collection[str]], Awaitable[Collection[str]]]
"""Which of these submissions are over, or not there any more."""


class Followers:
    """While somebody waits, one task looks after all of them."""

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._looking: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def follow(self, name: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the submission may be over."""
        told = asyncio.Event()
        self._waiting[name].add(told)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_after_all())
        try:
            yield told
        finally:
            self._waiting[name].discard(told)
            if not self._waiting[name]:
                del self._waiting[name]
            if not self._waiting:
                self._stop()

    def tell(self, name: str) -> None:
        """It is over."""
        for told in self._waiting.get(name, ()):
            told.set()

    def _stop(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()

    async def _look_after_all(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            with contextlib.suppress(StorageError):  # when it is back, they are told
                for name in await self._ended([*self._waiting]):
                    self.tell(name)
