"""A server and its nodes, each a process that can be killed, cut off, emptied and started again."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from node_process import Network, NodeProcess, network
from server_process import ServerProcess, until

import assay_client
from assay.bootstrap.node import drain
from assay_client import Limits
from assay_client.http import Patience

pytestmark = pytest.mark.root

MakeNode = Callable[..., NodeProcess]
MakeServer = Callable[..., ServerProcess]
COUNT = "for ((i = 0; i < 60; i++)); do echo $i; sleep 0.1; done"
COUNTED = "".join(f"{i}\n" for i in range(60)).encode()
WAIT = "echo begun; sleep 300"
LOST_SECONDS = 15.0


@pytest.fixture
def make_server(make_node: MakeNode) -> Iterator[MakeServer]:
    """Makes servers that use these nodes, and sees that they end."""
    made: list[ServerProcess] = []

    def one(*nodes: NodeProcess, environments: tuple[str, ...] = ("bash=2",)) -> ServerProcess:
        server = ServerProcess(
            state=Path(tempfile.mkdtemp(prefix="assay-server-")),
            environments=environments,
            driver="nodes",
            variables={
                "ASSAY_NODES": ",".join(node.address for node in nodes),
                "ASSAY_NODES_CERTIFICATES": str(nodes[0].certificates / "main"),
            },
        )
        made.append(server)
        server.start()
        return server

    try:
        yield one
        for server in made:
            assert server.stop() == 0
            assert server.left_over() == []
    finally:
        for server in made:
            server.end()
            shutil.rmtree(server.state)


def client_of(server: ServerProcess) -> assay_client.Client:
    return assay_client.Client(server.url, patience=Patience(request_seconds=40))


async def idle_of(client: assay_client.Client, wanted: int) -> None:
    async def there_are() -> bool:
        return (await client.pool())["bash"].idle == wanted

    await until(there_are)


async def begun(runner: assay_client.Runner) -> assay_client.Process:
    process = await runner.spawn("/bin/bash", "-c", WAIT, limits=Limits(wall_seconds=120))
    assert await anext(process) is not None
    return process


@pytest.fixture
def networks() -> Iterator[list[Network]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(network(number)) for number in range(3)]


async def test_a_node_that_is_killed_and_starts_again_costs_no_runner_and_no_byte(
    make_node: MakeNode, make_server: MakeServer
) -> None:
    node = make_node()
    server = make_server(node)
    async with client_of(server) as client:
        await idle_of(client, 2)
        runner = await client.create_runner("bash", inactivity_seconds=0)
        await runner.write({"kept.txt": "still here"})
        process = await runner.spawn("/bin/bash", "-c", COUNT, limits=Limits(wall_seconds=60))
        collecting = asyncio.create_task(process.collect())
        for _ in range(2):
            await asyncio.sleep(0.7)
            node.kill()
            await asyncio.to_thread(node.start)
        stdout, _, end = await collecting
        assert stdout == COUNTED
        assert (end.outcome.kind, end.outcome.code) == ("exited", 0)
        assert await runner.read("kept.txt") == b"still here"
        await process.aclose()
        await runner.delete()
        await idle_of(client, 2)


async def test_of_three_nodes_one_is_killed_and_one_cut_off_and_the_third_does_it_all(
    networks: list[Network], make_node: MakeNode, make_server: MakeServer
) -> None:
    killed, cut, stays = (
        make_node(host=each.far, namespace=each.name, options=("--stock", "0")) for each in networks
    )
    server = make_server(killed, cut, stays, environments=("bash=3",))
    async with client_of(server) as client:
        await idle_of(client, 3)
        runners = [await client.create_runner("bash", inactivity_seconds=0) for _ in range(6)]
        await idle_of(client, 3)
        assert all(len(node.sandboxes()) >= 2 for node in (killed, cut, stays))
        running = [await begun(runner) for runner in runners]
        on_cut = cut.sandboxes()

        started = time.monotonic()
        networks[1].cut()
        killed.kill()
        ends = [asyncio.create_task(ended(process)) for process in running]
        done, going_on = await asyncio.wait(ends, timeout=LOST_SECONDS)
        took = time.monotonic() - started
        assert 2 <= len(going_on) <= 4, took
        for each in done:
            assert each.result().kind == "lost"
            assert "does not answer" in each.result().reason

        # Meanwhile the others get what they ask for, and the pool is what it should be.
        await idle_of(client, 3)
        fresh = await client.create_runner("bash", inactivity_seconds=0)
        assert (await fresh.run("echo", "here")).stdout == "here\n"
        assert cut.sandboxes() == on_cut

        # It comes back: what was leased there is nobody's any more, and goes.
        networks[1].mend()
        await until(lambda: gone(on_cut, cut))
        killed.start()
        await until(lambda: gone(killed.seen, killed))
        assert not any(task.done() for task in going_on)
        for task in going_on:
            task.cancel()
        for process in running:
            await process.aclose()


async def ended(process: assay_client.Process) -> assay_client.Outcome:
    _, _, end = await process.collect()
    return end.outcome


async def gone(sandboxes: set[str], node: NodeProcess) -> bool:
    return not sandboxes & node.sandboxes()


async def test_a_server_that_starts_while_a_node_is_cut_off_keeps_its_runners(
    networks: list[Network], make_node: MakeNode, make_server: MakeServer
) -> None:
    first, second = (make_node(host=each.far, namespace=each.name) for each in networks[:2])
    server = make_server(first, second, environments=("bash=1",))
    async with client_of(server) as client:
        runners = [await client.create_runner("bash", inactivity_seconds=0) for _ in range(4)]
        await idle_of(client, 1)  # one that is being made would be nobody's, for a minute
        server.kill()
        networks[0].cut()
        assert await asyncio.to_thread(server.start) < LOST_SECONDS
        networks[0].mend()
        for runner in runners:
            assert (await runner.run("echo", "again")).stdout == "again\n"
            await runner.delete()


async def test_a_server_that_starts_while_two_nodes_are_silent_serves_with_the_third(
    networks: list[Network], make_node: MakeNode, make_server: MakeServer
) -> None:
    nodes = [make_node(host=each.far, namespace=each.name) for each in networks]
    began = time.monotonic()
    server = make_server(*nodes, environments=("bash=6",))
    usual = time.monotonic() - began
    async with client_of(server) as client:
        await idle_of(client, 6)
        runners = [await client.create_runner("bash", inactivity_seconds=0) for _ in range(6)]
        await idle_of(client, 6)
        on_silent = nodes[0].sandboxes() | nodes[1].sandboxes()
        assert len(nodes[0].sandboxes()) > 2 < len(nodes[1].sandboxes())
        server.kill()
        for each in networks[:2]:
            each.fall_silent()
        # It was 8 s more when it waited for them twice, and for the end of what was idle there.
        assert await asyncio.to_thread(server.start) < usual + 6
        fresh = await client.create_runner("bash", inactivity_seconds=0)
        assert (await fresh.run("echo", "here")).stdout == "here\n"
        await idle_of(client, 6)
        for each in networks[:2]:
            each.speak_again()
        for runner in (fresh, *runners):  # those there went on, and are had again
            assert (await runner.run("echo", "again")).stdout == "again\n"
            await runner.delete()
        await until(lambda: gone(on_silent, nodes[0]))
        await until(lambda: gone(on_silent, nodes[1]))


async def test_an_emptied_nodes_idle_sandboxes_go_elsewhere_and_its_runners_stay(
    make_node: MakeNode, make_server: MakeServer
) -> None:
    full, empty = make_node(), make_node()
    server = make_server(full, empty, environments=("bash=4",))
    async with client_of(server) as client:
        await idle_of(client, 4)
        runners = [await client.create_runner("bash", inactivity_seconds=0) for _ in range(2)]
        await idle_of(client, 4)
        before = full.sandboxes()
        drain(full.state, wanted=True)

        async def moved() -> bool:
            left = full.sandboxes()
            return len(left) <= 2 and left <= before and len(empty.sandboxes()) >= 4

        await until(moved)
        await idle_of(client, 4)
        for runner in runners:
            assert (await runner.run("echo", "here still")).stdout == "here still\n"
            await runner.delete()
        await until(lambda: gone(full.seen, full))
