"""Servers on machines of their own, with one PostgreSQL and the same nodes: what one leaves another
one goes on with, though the two have nothing else in common.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from going_on import (
    client_at,
    counting,
    door,
    have_idle,
    keep_busy,
    whole,
)
from node_process import NodeProcess
from server_machines import Machine, machines
from server_process import ServerProcess, free_port, until
from tests.storage.postgres import Postgres, postgres_of_tests

import assay_client
from assay.cli.node_certificates import make
from assay.cluster.view import LAPSED_SECONDS

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]

TOKEN = "a-secret-of-these-tests"
MakeNode = Callable[..., NodeProcess]
LOST_SECONDS = 15.0


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_of_tests() as server:
        yield server


class Site:
    """Two servers, each on a machine of its own, and nodes on others."""

    def __init__(self, database: str, places: list[Machine], nodes: list[NodeProcess]) -> None:
        self.database = database
        self.places = places
        self.nodes = nodes
        certificates = nodes[0].certificates
        list(make(certificates, nodes=[], servers=["first", "second"], days=2))
        self.states = [Path(tempfile.mkdtemp(prefix="assay-server-")) for _ in range(2)]
        self.first, self.second = (
            self.make(number, certificates / name)
            for number, name in enumerate(("first", "second"))
        )

    def make(self, number: int, certificates: Path) -> ServerProcess:
        own, machine, port = self.states[number], self.places[number], free_port()
        others = [state for state in self.states if state is not own]
        return ServerProcess(
            state=own,
            environments=("bash=4",),
            driver="nodes",
            arguments=("--database", self.database, "--advertise", f"{machine.address}:{port}"),
            destroys=False,
            host=machine.address,
            port=port,
            enter=machine.enter(own, others),
            variables={
                "ASSAY_NODES": ",".join(node.address for node in self.nodes),
                "ASSAY_NODES_CERTIFICATES": str(certificates),
                "ASSAY_SERVER_TOKEN": TOKEN,
            },
        )

    def sandboxes(self) -> set[str]:
        return set().union(*(node.sandboxes() for node in self.nodes))

    def end(self) -> None:
        """End all that there is, in order, by the server that is left."""
        for each in (self.first, self.second):
            if each.process is not None:
                each.stop()
        self.second.destroys = True
        self.second.start()
        assert self.second.stop() == 0
        assert self.sandboxes() == set()

    def close(self) -> None:
        for each in (self.first, self.second):
            each.end()
        for state in self.states:
            shutil.rmtree(state)


@pytest.fixture
def site(postgres: Postgres, make_node: MakeNode) -> Iterator[Site]:
    with machines(4) as places:
        nodes = [
            make_node(host=each.address, namespace=each.name, options=("--stock", "4"))
            for each in places[2:]
        ]
        made = Site(postgres.empty_database(), places, nodes)
        try:
            made.first.start()
            made.second.start()
            yield made
            made.end()
        finally:
            made.close()


def client_of(server: ServerProcess) -> assay_client.Client:
    return client_at(server.url, TOKEN)


async def all_but_those_on_their_way_out(site: Site, count: int) -> set[str]:
    """So many sandboxes, once there are no more: the first server had more while it was alone."""
    async with asyncio.timeout(30):
        while len(found := site.sandboxes()) > count:  # noqa: ASYNC110 - by another process
            await asyncio.sleep(0.05)
    assert len(found) == count
    return found


async def test_a_killed_server_costs_no_runner_no_execution_and_no_byte(site: Site) -> None:
    behind = [(each.host, each.port) for each in (site.first, site.second)]
    port = free_port()
    async with (
        door(port, lambda: behind),
        client_at(f"http://127.0.0.1:{port}", TOKEN) as client,
        client_of(site.second) as other,
    ):
        runners = [await client.create_runner("bash", inactivity_seconds=0) for _ in range(4)]
        await runners[0].write({"kept.txt": "still here"})
        # Some follow the server of their runners, one comes by the other server.
        followed = [*runners[:3], other.attach_runner(runners[3].id)]
        running = [await counting(each) for each in followed]
        collecting = [asyncio.create_task(process.collect()) for process in running]
        stop = asyncio.Event()
        others = [await each.create_runner("bash", inactivity_seconds=0)
                  for each in (client, other) for _ in range(2)]  # fmt: skip
        busy = [
            asyncio.create_task(keep_busy(each.attach_runner(runner.id), stop))
            for each in (client, other)
            for runner in others
        ]
        await asyncio.sleep(1)
        assert all(node.sandboxes() for node in site.nodes)
        site.first.kill()
        for task in collecting:
            await whole(task)
        stop.set()
        done = await asyncio.gather(*busy)
        assert min(done) >= 5, done
        runners += others
        assert await runners[0].read("kept.txt") == b"still here"
        assert {each.id for each in await client.runners()} == {each.id for each in runners}
        # What waited at the other one, ready for somebody, was taken over as well.
        await until(lambda: have_idle((other, 4)))
        await all_but_those_on_their_way_out(site, len(runners) + 4)
        for process in running:
            await process.aclose()
        for runner in runners:
            await runner.delete()


async def test_a_machine_that_is_gone_has_its_runners_answered_for_within_seconds(
    site: Site,
) -> None:
    async with client_of(site.first) as one, client_of(site.second) as other:
        await until(lambda: have_idle((one, 2), (other, 2)))
        idle = await all_but_those_on_their_way_out(site, 4)
        runner = await one.create_runner("bash", inactivity_seconds=0)
        there = other.attach_runner(runner.id)
        process = await counting(there)
        collecting = asyncio.create_task(process.collect())
        await asyncio.sleep(1)
        site.places[0].cut()
        site.first.kill()
        started = time.monotonic()
        assert (await there.run("echo", "here")).stdout == "here\n"
        took = time.monotonic() - started
        assert took < LAPSED_SECONDS + 5, took
        await until(lambda: have_idle((other, 4)))
        assert idle <= site.sandboxes()
        # It comes back, with its old folder and its old notes, and has nothing to say of these.
        site.places[0].mend()
        await asyncio.to_thread(site.first.start)
        await until(lambda: have_idle((one, 2), (other, 2)))
        assert (await one.attach_runner(runner.id).run("echo", "again")).stdout == "again\n"
        await whole(collecting)
        await process.aclose()
        await there.delete()


async def test_a_server_that_was_stopped_for_too_long_gives_up_and_ends_nothing(
    site: Site,
) -> None:
    async with client_of(site.first) as one, client_of(site.second) as other:
        runner = await one.create_runner("bash", inactivity_seconds=0)
        there = other.attach_runner(runner.id)
        await until(lambda: have_idle((one, 2), (other, 2)))
        process = await counting(there)
        collecting = asyncio.create_task(process.collect())
        await asyncio.sleep(1)
        before = await all_but_those_on_their_way_out(site, 5)
        frozen = site.first.process
        assert frozen is not None
        os.kill(frozen.pid, signal.SIGSTOP)
        await asyncio.sleep(10)
        assert (await there.run("echo", "here")).stdout == "here\n"
        os.kill(frozen.pid, signal.SIGCONT)
        assert await asyncio.to_thread(frozen.wait, 20) != 0
        site.first.process = None
        assert frozen.stdout is not None
        frozen.stdout.close()
        assert "another server has taken over" in site.first.log
        await whole(collecting)
        await process.aclose()
        assert before <= site.sandboxes()
        await there.delete()


async def test_servers_are_replaced_one_by_one_and_what_runs_goes_on(site: Site) -> None:
    behind = [(each.host, each.port) for each in (site.first, site.second)]
    port = free_port()
    async with (
        door(port, lambda: behind),
        client_at(f"http://127.0.0.1:{port}", TOKEN) as client,
    ):
        runner = await client.create_runner("bash", inactivity_seconds=0)
        process = await counting(runner)
        collecting = asyncio.create_task(process.collect())
        went_on = []
        for server in (site.first, site.second, site.first):
            await asyncio.sleep(1)
            assert await asyncio.to_thread(server.stop) == 0
            assert (await runner.run("echo", "here")).stdout == "here\n"
            went_on.append(not collecting.done())
            await asyncio.to_thread(server.start)
        assert went_on[0]
        await whole(collecting)
        await process.aclose()
        await runner.delete()


async def test_a_server_and_a_node_that_are_gone_at_once_cost_what_was_on_the_node(
    site: Site,
) -> None:
    lost, stays = site.nodes
    async with client_of(site.first) as one, client_of(site.second) as other:
        await until(lambda: have_idle((one, 2), (other, 2)))
        runners = [await one.create_runner("bash", inactivity_seconds=0) for _ in range(4)]
        await until(lambda: have_idle((one, 2), (other, 2)))
        running = [await counting(other.attach_runner(runner.id)) for runner in runners]
        collecting = [asyncio.create_task(process.collect()) for process in running]
        await asyncio.sleep(1)
        on_lost = lost.sandboxes()
        assert on_lost
        assert stays.sandboxes()

        site.places[0].cut()
        site.places[2].cut()
        site.first.kill()
        await asyncio.wait(collecting, timeout=LAPSED_SECONDS + LOST_SECONDS + 10)
        ends = [task.result()[2].outcome for task in collecting]
        kinds = sorted(end.kind for end in ends)
        assert set(kinds) == {"exited", "lost"}, kinds
        assert all("does not answer" in end.reason for end in ends if end.kind == "lost")
        await until(lambda: have_idle((other, 4)))
        assert lost.sandboxes() == on_lost

        site.places[2].mend()

        async def reconciled() -> bool:
            return not on_lost & lost.sandboxes()

        await until(reconciled)
        for process in running:
            await process.aclose()
        for runner, end in zip(runners, ends, strict=True):
            if end.kind == "exited":
                await other.attach_runner(runner.id).delete()
