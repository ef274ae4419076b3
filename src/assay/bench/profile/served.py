"""A server with probes in it: python -m assay.bench.profile.served FILE serve …

It is `assay serve` in everything else. At each SIGUSR1 it writes what it has counted so far.
"""

from __future__ import annotations

import json
import runpy
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from assay.bench.profile.ledger import Ledger
from assay.bench.profile.probes import Moments, install


def thread_nanoseconds() -> dict[str, int]:
    """Processor time of each thread so far, by its name in Python."""
    names = {each.native_id: each.name for each in threading.enumerate()}
    found: dict[str, int] = {}
    for task in Path("/proc/self/task").iterdir():
        name = names.get(int(task.name), "other")
        kind = name.partition("_")[0]
        spent = int((task / "schedstat").read_text().split()[0])
        found[kind] = found.get(kind, 0) + spent
    return found


def counted(ledger: Ledger, moments: Moments) -> dict[str, Any]:
    """Everything so far."""
    return {
        "stages": ledger.spent,
        "threads": thread_nanoseconds(),
        "moments": moments.found,
    }


def main() -> None:
    """Serve."""
    target = Path(sys.argv[1])
    ledger, moments = Ledger(), Moments()
    moments.install()
    install(ledger)

    def write(*_: object) -> None:
        made = target.with_suffix(".new")
        made.write_text(json.dumps(counted(ledger, moments)))
        made.replace(target)

    signal.signal(signal.SIGUSR1, write)
    sys.argv = ["assay", *sys.argv[2:]]
    runpy.run_module("assay", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
