"""What is left when a load is over: it should be nothing but a full pool."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from assay.bench.figures import Check
from assay.bench.load.report import none_of
from assay.bench.load.target import Target

_SECONDS_TO_REFILL: Final = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """What there is when everybody has left."""

    runners: int
    sandboxes: int | None
    missing: int
    """Warm sandboxes that the pool lacks of its target."""
    seconds: float
    """Until it was so."""

    @property
    def checks(self) -> Sequence[Check]:
        """What is promised of it."""
        found = [none_of("no runner is left", self.runners)]
        if self.sandboxes is not None:
            found.append(none_of("no sandbox is left beyond the pool's", self.sandboxes))
        return [*found, none_of("the pool is back at its target", self.missing)]


async def left_by(target: Target) -> Left:
    """Wait until the pool is at its target and nothing else is there."""
    now = asyncio.get_running_loop().time
    began = now()
    while True:
        pool = await target.pool()
        missing = sum(abs(each["target"] - each["idle"]) for each in pool.values())
        runners = len(await target.runner_ids())
        sandboxes = len(target.sandbox_ids()) if target.pid is not None else None
        whole = sum(each["target"] for each in pool.values())
        done = not missing and not runners and sandboxes in (None, whole)
        if done or now() - began > _SECONDS_TO_REFILL:
            beyond = None if sandboxes is None else max(0, sandboxes - whole)
            return Left(runners=runners, sandboxes=beyond, missing=missing, seconds=now() - began)
        await asyncio.sleep(0.25)
