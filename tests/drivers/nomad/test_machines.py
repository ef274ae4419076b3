"""Three servers of Nomad, three clients with a node on each, and what may happen to all of them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "server"))

from load import Load
from nomad_site import Site, running_site
from server_process import ServerProcess, until

import assay_client
from assay_client.http import Patience

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(400)]

POOL = 12
LOST_SECONDS = 15.0
FULL_SECONDS = 60.0
RATE = 50.0


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site(servers=3, clients=3) as made:
        yield made


@pytest.fixture
def server(site: Site) -> Iterator[ServerProcess]:
    server = ServerProcess(
        state=Path(tempfile.mkdtemp(prefix="assay-server-")),
        environments=(f"bash={POOL}",),
        driver="nodes",
        variables=site.variables,
    )
    try:
        server.start()
        yield server
        assert server.stop() == 0
    finally:
        server.end()
        shutil.rmtree(server.state)


def say(what: str) -> None:
    """For people who look on, with `-s`."""
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


def client_of(server: ServerProcess) -> assay_client.Client:
    return assay_client.Client(server.url, patience=Patience(request_seconds=60))


async def full(client: assay_client.Client, seconds: float = FULL_SECONDS) -> float:
    """Wait until the pool is at its target; says how long that took."""
    started = time.monotonic()

    async def is_full() -> bool:
        with contextlib.suppress(assay_client.AssayError):
            return (await client.pool())["bash"].idle >= POOL
        return False

    await until(is_full, seconds)
    return time.monotonic() - started


async def test_machines_and_leaders_and_servers_end_and_only_what_ran_there_is_lost(
    site: Site, server: ServerProcess
) -> None:
    async with client_of(server) as client:
        await full(client)
        load = Load(client=client, environment="bash", rate=RATE, runners=18)
        async with load.running():
            await asyncio.sleep(3)
            await full(client)
            on_dead = site.sandboxes(0) | site.sandboxes(1)
            assert len(site.sandboxes(0)) > 1 < len(site.sandboxes(1))

            say(f"{load.done} executions done, {load.missed} turns without a free runner")
            # One client is killed, with all that it ran, and one is cut off.
            silent = time.monotonic()
            site.nomad.cut(1)
            await asyncio.to_thread(site.kill, 0)
            await until(lambda: quiet(load, silent), LOST_SECONDS + 10)
            assert load.lost, "nobody was on those clients"
            took = max(load.lost.values()) - silent
            say(f"{len(load.lost)} runners lost, the last {took:.1f} s after the silence")
            assert took <= LOST_SECONDS
            say(f"the pool is full after {await full(client):.1f} s more")
            lost = len(load.lost)

            # The leader is killed, and another one leads.
            before = await asyncio.to_thread(site.nomad.leader)
            await asyncio.to_thread(before.kill)
            waited = await asyncio.to_thread(site.nomad.until, lambda: leads(site, before.name), "")
            say(f"another leader after {waited:.1f} s")

            # The middleware is killed, and starts again.
            await asyncio.sleep(2)
            server.kill()
            started = await asyncio.to_thread(server.start)
            say(f"the middleware is back after {started:.1f} s")
            say(f"the pool is full after {await full(client):.1f} s more")
            await asyncio.sleep(5)
            assert len(load.lost) == lost

            # Both clients come back: what was given up meanwhile goes.
            site.nomad.mend(1)
            site.nomad.clients[0].start()
            await until(lambda: gone(site, on_dead), FULL_SECONDS)
            await asyncio.to_thread(site.nomad.until, lambda: site.running() == 3, "no node")
            await asyncio.sleep(3)
        say(
            f"{load.done} executions done, {load.lost_executions} lost with their machines,"
            f" {load.missed} turns without a free runner"
        )
        say(f"half of them took {1000 * sorted(load.waits)[len(load.waits) // 2]:.0f} ms at most")
        assert load.wrong == []
        assert load.others == []
        assert len(load.lost) == lost
        assert load.done > RATE * 20
        jobs = [each["ID"] for each in site.nomad.ask("/jobs") if not each["Stop"]]
        assert jobs == ["assay-node"]
        for runner in await client.runners():
            await runner.delete()


async def quiet(load: Load, since: float) -> bool:
    """Nobody was lost for three seconds, after the first, or all had time to be."""
    last = max(load.lost.values(), default=time.monotonic())
    return time.monotonic() - last > 3 or time.monotonic() - since > LOST_SECONDS + 5


async def gone(site: Site, sandboxes: set[str]) -> bool:
    return not sandboxes & (site.sandboxes(0) | site.sandboxes(1))


def leads(site: Site, before: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return site.nomad.leader().name != before
    return False


async def test_a_client_that_is_drained_gives_its_idle_sandboxes_away_before_its_node_ends(
    site: Site, server: ServerProcess
) -> None:
    async with client_of(server) as client:
        await full(client)
        runner = await client.create_runner("bash", inactivity_seconds=0)
        await full(client)
        number = max(range(3), key=lambda each: len(site.sandboxes(each)))
        drained = site.nomad.clients[number]
        idle = site.sandboxes(number)
        assert len(idle) >= 2
        found = site.nomad.ask("/nodes")
        (node_id,) = (each["ID"] for each in found if each["Name"] == drained.name)
        draining = asyncio.create_task(
            asyncio.to_thread(
                site.nomad.nomad, "node", "drain", "-enable", "-yes", "-deadline", "60s", node_id
            )
        )
        try:
            seen_full: list[int] = []

            async def moved() -> bool:
                seen_full.append((await client.pool())["bash"].idle)
                return len(site.sandboxes(number)) <= 1

            await until(moved, 40)
            assert min(seen_full) > POOL // 2, "the pool was empty meanwhile"
            await full(client)
            assert (await runner.run("echo", "here")).stdout == "here\n"
        finally:
            await draining
        site.nomad.nomad("node", "drain", "-disable", "-yes", node_id)
        await asyncio.to_thread(site.nomad.until, lambda: site.running() == 3, "no node")
        with contextlib.suppress(assay_client.AssayError):
            await runner.delete()
        await full(client)
