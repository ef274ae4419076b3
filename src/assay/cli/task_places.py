"""What the commands of `assay task` grade with: sandboxes of this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

from assay.bootstrap import Catalogue, choose_driver, open_driver
from assay.bootstrap.places import DriverPlaces
from assay.config import Settings
from assay.grading.joint import Seats
from assay.images import OnProgress, ignore


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Sandboxes, as many at a time as there are processors."""

    places: DriverPlaces
    seats: Seats
    workers: int


@contextlib.asynccontextmanager
async def open_bench(settings: Settings, on_progress: OnProgress = ignore) -> AsyncIterator[Bench]:
    """The driver that is set, or the fastest one. Raises DriverUnavailable."""
    processors = len(os.sched_getaffinity(0))
    name = await choose_driver(settings)
    async with open_driver(settings, name) as driver:
        places = DriverPlaces(driver, Catalogue(settings), on_progress=on_progress)
        yield Bench(places=places, seats=Seats(processors), workers=processors + 1)
