"""How slow this machine is: by so much more patience is due.

Promises of time are for ordinary machines, busy ones included. On a kernel that runs as a program
of another one, touching memory and starting a program take many times as long; there, waiting
times and latencies are scaled by what is measured here, and the report says so.
"""

from __future__ import annotations

import subprocess
import time
from functools import cache
from typing import Final

from assay.agent.native import program

ORDINARY_SECONDS: Final = 0.012
"""To start a program that touches 4 MiB, on a machine that is as slow as an ordinary one can be."""
LEAST, MOST = 3.0, 20.0
"""What is less slow is ordinary, and busy."""
_TRIES: Final = 7


@cache
def slowness() -> float:
    """How many times slower than an ordinary machine this one is, at its best: 1, or 3 to 20."""
    best = min(_seconds_to_start() for _ in range(_TRIES)) / ORDINARY_SECONDS
    return round(min(MOST, best), 1) if best >= LEAST else 1.0


def _seconds_to_start() -> float:
    started = time.perf_counter()
    subprocess.run([program("probe"), "alloc", "4", "0"], capture_output=True, check=True)
    return time.perf_counter() - started
