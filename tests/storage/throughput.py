"""What writes cost: `.venv/bin/python tests/storage/throughput.py [--rate N] [URL]`.

Executions arrive at a steady rate, whatever the answers do; each is three writes (added, marked as
started, removed), each awaited. It prints the share of a processor that the storage's thread has,
and the whole process with this program's own part.
"""

import argparse
import asyncio
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field

import uvloop

from assay.domain.lease import Lease
from assay.driver.port import Secret
from assay.storage.database import Storage
from assay.storage.events import Committed, Event
from assay.storage.records import ExecutionRecord, SandboxRecord

LEASES = 50
COMMAND = b'{"argv":["/bin/bash","-c","' + b"x" * 500 + b'"]}'


@dataclass
class Measured:
    writes: int = 0
    commits: int = 0
    waits: list[float] = field(default_factory=list)

    def on_event(self, event: Event) -> None:
        self.commits += isinstance(event, Committed)


async def add_leases(storage: Storage) -> list[str]:
    """Runners for the executions."""
    names = [uuid.uuid4().hex for _ in range(LEASES)]
    now = storage.clock()
    for name in names:
        storage.add_sandbox(
            SandboxRecord(
                id=name, driver="crun", environment="bash", version="1", secret=Secret(bytes(32)),
                created_at=now,
            )
        )  # fmt: skip
        await storage.add_lease(
            Lease(
                runner_id=f"r-{name}", sandbox_id=name, environment="bash", version="1", owner="",
                generation=1, created_at=now, inactivity_seconds=60.0, expires_at=None,
                active_at=now,
            )
        )  # fmt: skip
    return names


async def execute(storage: Storage, runner: str, number: int, measured: Measured) -> None:
    """One execution's writes."""
    started = time.perf_counter()
    name = uuid.uuid4().hex
    record = ExecutionRecord(
        id=name, runner_id=f"r-{runner}", number=number, command=COMMAND, mode="assay.v1",
        created_at=storage.clock(),
    )  # fmt: skip
    await storage.add_execution(record)
    measured.waits.append(time.perf_counter() - started)
    await storage.mark_started(name)
    await storage.remove_execution(name)
    measured.writes += 3


async def load(url: str, rate: float, seconds: float) -> None:
    measured = Measured()
    storage = await Storage.open(url, on_event=measured.on_event)
    runners = await add_leases(storage)
    measured.commits = 0
    clock = thread_clock()
    thread, process, started = time.clock_gettime(clock), time.process_time(), time.monotonic()
    tasks: set[asyncio.Task[None]] = set()
    number = 0
    while (passed := time.monotonic() - started) < seconds:
        while number < passed * rate / 3:
            runner = runners[number % LEASES]
            task = asyncio.create_task(execute(storage, runner, number, measured))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    wall = time.monotonic() - started
    waits = sorted(measured.waits)
    print(
        f"{measured.writes / wall:6.0f} writes/s in {measured.commits / wall:4.0f} commits/s;"
        f" of a processor: storage {(time.clock_gettime(clock) - thread) / wall:5.1%},"
        f" all {(time.process_time() - process) / wall:5.1%};"
        f" a write waits p50 {waits[len(waits) // 2] * 1000:.2f} ms,"
        f" p99 {waits[len(waits) * 99 // 100] * 1000:.2f} ms"
    )
    await storage.aclose()


def thread_clock() -> int:
    """The clock of the processor time of the storage's thread."""
    (thread,) = (each for each in threading.enumerate() if each.name == "assay-storage")
    assert thread.ident is not None
    return time.pthread_getcpuclockid(thread.ident)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--rate", type=float, default=1500.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = asked.url or f"sqlite:///{folder}/assay.db"
        uvloop.run(load(url, asked.rate, asked.seconds))


if __name__ == "__main__":
    main()
