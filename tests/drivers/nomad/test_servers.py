"""Two servers of one PostgreSQL with Nomad: one is killed under load, the other has it all."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster

sys.path.insert(0, str(Path(__file__).parents[2] / "server"))

from going_on import client_at, counting, have_idle, keep_busy, whole
from server_process import ServerProcess, free_port, until
from small_environment import NAME, small_environment
from test_cluster import jobs
from tests.storage.postgres import Postgres, postgres_of_tests

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(400)]

IDLE, RUNNERS = 2, 3
"""Sandboxes that wait at each server, and runners of the first one's."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_of_tests() as server:
        yield server


@pytest.fixture
def pair(cluster: Cluster, postgres: Postgres, tmp_path: Path) -> Iterator[list[ServerProcess]]:
    """With a state folder each, as on two machines."""
    database, made = postgres.empty_database(), []
    environments = str(small_environment(tmp_path))
    for _ in range(2):
        port = free_port()
        shared = ("--database", database, "--advertise", f"127.0.0.1:{port}",
                  "--claim-seconds", "60", "--parallel-creations", "8")  # fmt: skip
        made.append(ServerProcess(
            state=Path(tempfile.mkdtemp(prefix="assay-server-")), driver="nomad", port=port,
            environments=(f"{NAME}={2 * IDLE}",), arguments=shared, destroys=False,
            variables={**cluster.variables, "ASSAY_ENVIRONMENTS": environments},
        ))  # fmt: skip
    try:
        for each in made:
            each.start()
        yield made
    finally:
        for each in made:
            each.end()
            shutil.rmtree(each.state)


async def test_allocations_of_a_killed_server_are_the_other_ones_and_no_byte_is_lost(
    cluster: Cluster, pair: list[ServerProcess]
) -> None:
    first, second = pair
    async with client_at(first.url) as one, client_at(second.url) as other:
        await until(lambda: have_idle((one, IDLE), (other, IDLE), environment=NAME), 60)
        runners = [await one.create_runner(NAME, inactivity_seconds=0) for _ in range(RUNNERS)]
        there = [other.attach_runner(each.id) for each in runners]
        await there[0].write({"kept.txt": "still here"})
        # Programs and files of the first server's allocations, by way of the second one.
        running = [await counting(each) for each in there[:2]]
        collecting = [asyncio.create_task(process.collect()) for process in running]
        stop = asyncio.Event()
        busy = [asyncio.create_task(keep_busy(each, stop)) for each in there]
        await asyncio.sleep(2)
        before = set(jobs(cluster))
        first.kill()
        killed = asyncio.get_running_loop().time()
        for task in collecting:
            await whole(task)
        stop.set()
        done = await asyncio.gather(*busy)
        assert min(done) >= 5, done
        assert await there[0].read("kept.txt") == b"still here"
        assert {each.id for each in await other.runners()} == {each.id for each in runners}
        assert before & set(jobs(cluster)), "what there was has been made anew"
        print(f"{sum(done)} programs ran, {asyncio.get_running_loop().time() - killed:.1f} s")
        for process in running:
            await process.aclose()
        for runner in there:
            await runner.delete()
    await end_all(cluster, second)


async def end_all(cluster: Cluster, server: ServerProcess) -> None:
    """Whoever is the last one ends everybody's, and nothing is left of them."""
    assert await asyncio.to_thread(server.stop) == 0
    server.destroys = True
    await asyncio.to_thread(server.start)
    assert await asyncio.to_thread(server.stop) == 0
    assert jobs(cluster) == []
