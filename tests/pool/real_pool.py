"""A pool, on lean unless told otherwise, with its rows in SQLite.

Also a program that keeps one until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from assay.agent.native import program
from assay.driver.guard import Guard
from assay.driver.port import Driver
from assay.drivers.lean import LeanDriver
from assay.environments import Blueprint, ServedEnvironment
from assay.images import host_image
from assay.pool import Event, Pool
from assay.storage.database import Storage


@dataclass
class RealPool:
    """A pool with all that it stands on."""

    driver: Guard
    storage: Storage
    pool: Pool
    events: list[Event] = field(default_factory=list)

    def set(self, name: str, size: int) -> None:
        self.pool.set_environment(ServedEnvironment(name=name, image="host", pool_size=size))

    def process(self, sandbox_id: str) -> int:
        """The host's number of an idle sandbox's agent."""
        idle = self.pool._shelves["bash"].idle[sandbox_id]
        return int(idle.session.sandbox.facts["process"])


@asynccontextmanager
async def opened(
    state: Path, *, keep: bool = False, driver: Driver | None = None
) -> AsyncIterator[RealPool]:
    """Nothing is left of it in the end, unless its idle sandboxes are kept."""
    events: list[Event] = []
    lean = LeanDriver(program=program("lean"), state=state, agent=program("agent"))
    guard = Guard(driver or lean)
    storage = await Storage.open(f"sqlite:///{state}/pool.sqlite")
    epoch = await storage.next_epoch()
    connections = count(1)
    root = host_image(state)

    async def resolve(environment: ServedEnvironment) -> Blueprint:
        return Blueprint(environment=environment, root=root)

    pool = Pool(
        guard,
        resolve,
        storage,
        epochs=lambda: (epoch << 24) + next(connections),
        on_event=events.append,
    )
    try:
        yield RealPool(driver=guard, storage=storage, pool=pool, events=events)
    finally:
        await pool.aclose(keep_idle=keep)
        if not keep:
            for sandbox_id in await guard.list():  # what a test has claimed
                await guard.destroy(sandbox_id)
        await storage.aclose()
        await guard.aclose()


def left_over(state: Path) -> list[str]:
    """What sandboxes of this state folder could have left."""
    found = [f"user range {link.name}" for link in (state / "users").glob("*")]
    found += [f"folder {path}" for path in state.glob("*/sandboxes/*")]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return found + [f"mount {line}" for line in mounts if str(state) in line]


async def _keep(state: Path) -> None:
    async with opened(state, keep=True) as made:
        made.set("bash", 2)
        made.pool.start()
        await made.pool.ready()
        claimed = await made.pool.claim("bash")
        await made.pool.ready()
        print(json.dumps({"claimed": claimed.record.id}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_keep(Path(sys.argv[1])))
