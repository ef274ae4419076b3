"""Sandboxes of a server that grades, between runners and gradings."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from assay.agent.session import Session
from assay.bootstrap.places import PoolPlaces
from assay.bootstrap.served import ServedEnvironments
from assay.domain.errors import PoolExhausted
from assay.grading.joint import Seats
from assay.pool import Pool, Warm

PLACE_SECONDS: Final = 60.0
"""How long a grading waits for a sandbox before it is tried another time."""


class RunnersStock:
    """A pool as runners have it: what gradings have seats for is left to them.

    Otherwise gradings that each have one sandbox of two would wait for one another, as soon as
    runners have taken what they were given seats for. Runners come first where something is left,
    and their owners in turn.
    """

    def __init__(self, pool: Pool, seats: Seats) -> None:
        self._pool = pool
        self._seats = seats

    async def claim(
        self, environment: str, *, owner: str = "", deadline_seconds: float = 10.0
    ) -> Warm:
        """Take one that nobody had. Raises PoolExhausted, UnknownEnvironment or Draining."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + deadline_seconds
        try:
            async with asyncio.timeout_at(deadline) as within, self._seats.take_first(owner):
                within.reschedule(None)
                left = max(0.0, deadline - loop.time())
                # Claimed, it counts as one of the others, and needs no seat.
                return await self._pool.claim(environment, owner=owner, deadline_seconds=left)
        except TimeoutError as error:
            raise PoolExhausted(
                f"all sandboxes that may be there at one time were in use for {deadline_seconds:g}"
                " seconds"
            ) from error

    async def discard(self, claimed: Session | str) -> None:
        """Destroy one, by its id when there is no connection. Never raises."""
        try:
            await self._pool.discard(claimed)
        finally:
            self._seats.look()


@dataclass(frozen=True, kw_only=True, slots=True)
class Division:
    """A pool, as both have it."""

    stock: RunnersStock
    places: PoolPlaces
    seats: Seats
    """What gradings may have of it."""


def divided(pool: Pool, environments: ServedEnvironments, *, most_sandboxes: int) -> Division:
    """Runners and gradings may have so many at a time, together."""
    places = PoolPlaces(pool, environments, seconds=PLACE_SECONDS)
    seats = Seats(most_sandboxes, lambda: pool.used - places.claimed)
    places.on_claimed = seats.look  # for a moment it was counted as a runner's
    return Division(stock=RunnersStock(pool, seats), places=places, seats=seats)
