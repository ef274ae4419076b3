"""Three servers of Nomad, three clients with a node on each, and what may happen to all of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "server"))

from load import Load
from nomad_machines import Machines, machines
from server_process import ServerProcess, until

import assay_client
from assay.cli.node_certificates import make
from assay_client.http import Patience

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(400)]

JOB = Path(__file__).parents[3] / "deploy/assay-node.nomad.hcl"
PORT = 7300
POOL = 12
LOST_SECONDS = 15.0
FULL_SECONDS = 60.0
RATE = 50.0


@dataclass(kw_only=True)
class Site:
    """A cluster with the job of nodes in it, and what the nodes have on this disk."""

    nomad: Machines
    folder: Path
    seen: set[str] = field(default_factory=set)

    @property
    def certificates(self) -> Path:
        return self.folder / "certificates"

    @property
    def addresses(self) -> str:
        return ",".join(f"{each.address}:{PORT}" for each in self.nomad.clients)

    def state(self, number: int) -> Path:
        return self.folder / "state" / self.nomad.clients[number].name

    def submit(self) -> None:
        """Start the job that is published, with this checkout's program."""
        hosts = [each.address for each in self.nomad.clients]
        list(make(self.certificates, nodes=hosts, servers=["main"], days=2))
        for each in self.nomad.clients:
            (self.certificates / each.name).symlink_to(each.address)
        state, images = self.folder / "state", self.folder / "images"
        name = "$${node.unique.name}"
        flags = [
            f"ASSAY_CONFIG={os.devnull}", f"ASSAY_IMAGES={images}/{name}",
            f"ASSAY_NODE_CERTIFICATES={self.certificates}/{name}",
            sys.executable, "-B", "-m", "assay", "--state", f"{state}/{name}",
        ]  # fmt: skip
        quoted = ", ".join(f'"{each}"' for each in flags)
        self.nomad.nomad(
            "job", "run", "-detach", "-var", "assay=/usr/bin/env", "-var", f"flags=[{quoted}]",
            "-var", 'node_flags=["--stock", "4"]', str(JOB),
        )  # fmt: skip
        self.nomad.until(lambda: self.running() == 3, "the job of nodes does not run")

    def running(self) -> int:
        found = self.nomad.ask("/job/assay-node/allocations")
        return sum(
            each["ClientStatus"] == "running" and each["DesiredStatus"] == "run" for each in found
        )

    def sandboxes(self, number: int) -> set[str]:
        folder = self.state(number) / "lean/sandboxes"
        found = {item.name for item in folder.iterdir()} if folder.is_dir() else set()
        self.seen |= found
        return found

    def kill(self, number: int) -> None:
        """As a machine ends whose power is gone: all that it ran."""
        doomed = self.sandboxes(number)
        self.nomad.clients[number].kill()
        self.nomad.end_all_in(self.nomad.namespace(number))
        for pid in _of(doomed):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def left_over(self) -> list[str]:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found = [f"mount {line}" for line in mounts if f"{self.folder}/" in line]
        found += [str(path) for path in self.folder.glob("state/*/lean/sandboxes/*")]
        return found + [f"process {pid}" for pid in _of(self.seen)]


def _of(sandboxes: set[str]) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            groups = (path / "cgroup").read_text()
            if any(f"/{sandbox_id}" in groups for sandbox_id in sandboxes):
                found.append(int(path.name))
    return found


@pytest.fixture
def site() -> Iterator[Site]:
    missing = [each for each in ("nomad", "ip", "nsenter", "openssl") if shutil.which(each) is None]
    if missing or os.geteuid() != 0:  # no package registry has Nomad, so CI may lack it, too
        pytest.skip(f"this needs root, and lacks {', '.join(missing) or 'nothing else'}")
    folder = Path(tempfile.mkdtemp(prefix="assay-site-"))
    try:
        with machines(servers=3, clients=3) as nomad:
            made = Site(nomad=nomad, folder=folder)
            made.submit()
            yield made
            made.nomad.nomad("job", "stop", "-purge", "assay-node")
        assert made.left_over() == []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(site: Site) -> Iterator[ServerProcess]:
    server = ServerProcess(
        state=Path(tempfile.mkdtemp(prefix="assay-server-")),
        environments=(f"bash={POOL}",),
        driver="nodes",
        variables={
            "ASSAY_NODES": site.addresses,
            "ASSAY_NODES_CERTIFICATES": str(site.certificates / "main"),
        },
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
