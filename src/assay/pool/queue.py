"""Who is next when there are not enough sandboxes: fair between owners. No clock of its own."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Set
from typing import Final, Generic, TypeVar

from assay.domain.errors import PoolExhausted

MOST_WAITING: Final = 200
"""Claims of one owner that may wait at a time."""
HALF_LIFE: Final = 5.0
"""Seconds after which a claim counts half."""
MUCH: Final = 1.5
"""Who had so many times the average has had its share."""
_FEW_HAD: Final = 4.0
_FEW_ASKED: Final = 2.0
"""Nobody who had, or asks for, so few is kept from anything."""
_FORGOTTEN: Final = 0.05
"""An owner whose claims count less than this is not one of those who share."""

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A queue for each owner, and one from each in turn."""

    def __init__(self, *, most_waiting: int = MOST_WAITING) -> None:
        self._most = most_waiting
        self._owners: OrderedDict[str, dict[T, None]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def owners(self) -> Set[str]:
        """Who waits."""
        return self._owners.keys()

    def add(self, owner: str, item: T) -> None:
        """Put it behind its owner's others. Raises PoolExhausted when those are too many."""
        items = self._owners.get(owner)
        if items is None:
            items = self._owners[owner] = {}
        elif len(items) >= self._most:
            raise PoolExhausted(f"{self._most} requests with this token wait for a sandbox already")
        items[item] = None
        self._length += 1

    def discard(self, owner: str, item: T) -> None:
        """Take it out, if it is there still."""
        items = self._owners.get(owner)
        if items is not None and item in items:
            self._remove(owner, items, item)

    def take(self, barred: Callable[[str], bool] = lambda _owner: False) -> T | None:
        """Take out the first item of the owner whose turn it is and who is not `barred`."""
        owner = next((owner for owner in self._owners if not barred(owner)), None)
        if owner is None:
            return None
        items = self._owners[owner]
        item = next(iter(items))
        self._remove(owner, items, item)
        if items:
            self._owners.move_to_end(owner)
        return item

    def take_all(self) -> list[T]:
        """Empty it."""
        items = [item for items in self._owners.values() for item in items]
        self._owners.clear()
        self._length = 0
        return items

    def _remove(self, owner: str, items: dict[T, None], item: T) -> None:
        del items[item]
        self._length -= 1
        if not items:
            del self._owners[owner]


class RecentClaims:
    """How many sandboxes each owner had lately, older ones counting less and less."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[float, float]] = {}

    def add(self, owner: str, now: float) -> None:
        """Count one."""
        self._counts[owner] = (self._faded(owner, now) + 1.0, now)

    def counts(self, now: float) -> dict[str, float]:
        """Those that still count; forgets the others."""
        faded = {owner: self._faded(owner, now) for owner in self._counts}
        counts = {owner: count for owner, count in faded.items() if count >= _FORGOTTEN}
        self._counts = {owner: (count, now) for owner, count in counts.items()}
        return counts

    def _faded(self, owner: str, now: float) -> float:
        count, since = self._counts.get(owner, (0.0, now))
        return count * math.exp2((since - now) / HALF_LIFE)


def kept_back(target: int) -> int:
    """The last part of a pool, which is not for those who have had their share: a quarter."""
    return math.ceil(target / 4)


def greedy(recent: Mapping[str, float], asking: Mapping[str, float]) -> frozenset[str]:
    """Who is asking for much more than the average of all at this moment; else who had it lately.

    (A storm's victims may have had more before it.) Nobody is while there is only one owner: the
    pool is all its own.
    """
    owners = len({*recent, *asking})
    if owners < 2:
        return frozenset()
    return _above(asking, owners, _FEW_ASKED) or _above(recent, owners, _FEW_HAD)


def _above(counts: Mapping[str, float], owners: int, few: float) -> frozenset[str]:
    most = max(few, MUCH * sum(counts.values()) / owners)
    return frozenset(owner for owner, count in counts.items() if count > most)
