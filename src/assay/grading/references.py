"""Reference solutions, each compiled once for all gradings of a version of its task."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final
from weakref import WeakValueDictionary

_KEPT: Final = 8
"""Programs; one has 64 MiB at most, and few KiB as a rule."""


class References:
    """What was made of them, the last ones used."""

    def __init__(self) -> None:
        self._made: OrderedDict[Hashable, Any] = OrderedDict()
        self._making: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        """As long as somebody makes one, or waits for it."""

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._made)

    @property
    def making(self) -> int:
        """How many are being made."""
        return len(self._making)

    async def once(self, key: Hashable, make: Callable[[], Awaitable[Any]]) -> Any:
        """What `make` has made of it, now or before; who raises leaves it to the next one."""
        lock = self._making.setdefault(key, asyncio.Lock())
        async with lock:
            if key not in self._made:
                self._made[key] = await make()
            self._made.move_to_end(key)
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
            return self._made[key]
