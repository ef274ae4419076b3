"""Sandboxes that wait for somebody: made ahead, checked, and given away once.

plan.py      what to do next, from how things stand: pure functions
queue.py     who is next when there are not enough
shelf.py     one environment's stock, queue and failures
making.py    one sandbox: made, connected to, written down
endings.py   sandboxes on their way out
upkeep.py    the loop that does what the plan says
pool.py      claims, and the whole of it
"""

from assay.pool.events import (
    Claimed,
    ClaimFailed,
    Event,
    PoolChanged,
    PoolStatistics,
    SandboxAdded,
    SandboxFailed,
    SandboxNotDestroyed,
    SandboxUnhealthy,
)
from assay.pool.pool import Pool, Warm

__all__ = [
    "ClaimFailed",
    "Claimed",
    "Event",
    "Pool",
    "PoolChanged",
    "PoolStatistics",
    "SandboxAdded",
    "SandboxFailed",
    "SandboxNotDestroyed",
    "SandboxUnhealthy",
    "Warm",
]
