"""Two servers of one PostgreSQL: either answers, and what one leaves the other goes on with."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from going_on import (
    COUNT,
    COUNTED,
    LIMITS,
    client_at,
    counting,
    door,
    have_idle,
    keep_busy,
    whole,
)
from server_process import ServerProcess, free_port, until
from tests.storage.postgres import Postgres, postgres_of_tests

import assay_client
from assay.cluster.view import LAPSED_SECONDS
from assay_client.errors import RunnerGone

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_of_tests() as server:
        yield server


class Pair:
    """Two servers with one database and one state folder, and an address in front of both."""

    def __init__(self, database: str) -> None:
        self.state = Path(tempfile.mkdtemp(prefix="assay-servers-"))
        self.database = database
        self.first, self.second = self.make(), self.make()
        self.door = free_port()
        self.seen: set[str] = set()

    def make(self, pools: tuple[str, ...] = ("bash=4",)) -> ServerProcess:
        port = free_port()
        shared = (
            "--allow-host-images",
            "--database",
            self.database,
            "--advertise",
            f"127.0.0.1:{port}",
        )
        return ServerProcess(
            state=self.state, environments=pools, arguments=shared, port=port, destroys=False
        )

    @contextlib.asynccontextmanager
    async def balanced(self) -> AsyncIterator[assay_client.Client]:
        """A client of both: who comes is sent to the first one that listens."""
        behind = [(each.host, each.port) for each in (self.first, self.second)]
        async with (
            door(self.door, lambda: behind),
            client_at(f"http://127.0.0.1:{self.door}") as client,
        ):
            yield client

    def end(self) -> None:
        """End all that there is, in order, and see that nothing is left."""
        for each in (self.first, self.second):
            if each.process is not None:
                each.stop()
            self.seen |= each.seen
        last = self.make()
        last.destroys, last.seen = True, self.seen
        last.start()
        assert last.stop() == 0
        assert last.left_over() == []


@pytest.fixture
def pair(postgres: Postgres) -> Iterator[Pair]:
    made = Pair(postgres.empty_database())
    try:
        made.first.start()
        made.second.start()
        yield made
        made.end()
    finally:
        for each in (made.first, made.second):
            each.end()
        shutil.rmtree(made.state)


async def test_either_answers_for_a_runner_of_one_of_them(pair: Pair) -> None:
    async with client_at(pair.first.url) as one, client_at(pair.second.url) as other:
        runner = await one.create_runner("bash", inactivity_seconds=0)
        there = other.attach_runner(runner.id)
        await there.write({"a.txt": "from the other"})
        assert await runner.read("a.txt") == b"from the other"
        large = os.urandom(700_000)
        await there.write({"large": large})
        assert await there.read("large") == large
        assert (await there.run("cat", stdin="hello")).stdout == "hello"
        async with there.start("/bin/bash", "-c", COUNT, limits=LIMITS) as process:
            stdout, _, _ = await process.collect()
            assert stdout == COUNTED
        assert {each.id for each in await other.runners()} == {runner.id}
        with pytest.raises(RunnerGone):
            await other.attach_runner("r-" + 32 * "0").run("true")
        await there.delete()
        with pytest.raises(RunnerGone):
            await runner.run("true")


async def test_a_killed_server_costs_no_runner_no_execution_and_no_byte(pair: Pair) -> None:
    async with pair.balanced() as client, client_at(pair.second.url) as other:
        runners = [await client.create_runner("bash", inactivity_seconds=0) for _ in range(3)]
        await runners[0].write({"kept.txt": "still here"})
        # The first two follow the server of their runners, the last one comes by the other server.
        followed = [*runners[:2], other.attach_runner(runners[2].id)]
        running = [await counting(each) for each in followed]
        collecting = [asyncio.create_task(process.collect()) for process in running]
        stop = asyncio.Event()
        others = [await each.create_runner("bash", inactivity_seconds=0)
                  for each in (client, other) for _ in range(3)]  # fmt: skip
        busy = [
            asyncio.create_task(keep_busy(each.attach_runner(runner.id), stop))
            for each in (client, other)
            for runner in others
        ]
        await asyncio.sleep(1)
        pair.first.kill()
        for task in collecting:
            await whole(task)
        stop.set()
        done = await asyncio.gather(*busy)
        assert min(done) >= 5, done
        runners += others
        assert await runners[0].read("kept.txt") == b"still here"
        assert {each.id for each in await client.runners()} == {each.id for each in runners}
        assert (await runners[1].run("echo", "again")).stdout == "again\n"
        for process in running:
            await process.aclose()
        for runner in runners:
            await runner.delete()


async def test_a_server_that_was_stopped_for_too_long_gives_up(pair: Pair) -> None:
    async with client_at(pair.first.url) as one, client_at(pair.second.url) as other:
        runner = await one.create_runner("bash", inactivity_seconds=0)
        there = other.attach_runner(runner.id)
        await there.write({"kept.txt": "still here"})
        await until(lambda: have_idle((one, 2), (other, 2)))
        process = await counting(there)
        collecting = asyncio.create_task(process.collect())
        await asyncio.sleep(1)
        before = pair.first.sandboxes()
        frozen = pair.first.process
        assert frozen is not None
        os.kill(frozen.pid, signal.SIGSTOP)
        before_freezing = process._stream.consumed
        await asyncio.sleep(10)
        assert await there.read("kept.txt") == b"still here"
        assert process._stream.consumed > before_freezing + 1000, "the stream has not moved"
        os.kill(frozen.pid, signal.SIGCONT)
        assert await asyncio.to_thread(frozen.wait, 20) != 0
        pair.first.process = None
        assert frozen.stdout is not None
        frozen.stdout.close()
        assert "another server has taken over" in pair.first.log
        await whole(collecting)
        await process.aclose()
        assert (await there.run("cat", "kept.txt")).stdout == "still here"
        # It has destroyed nothing: not the runner's sandbox, nor those that waited for somebody.
        assert len(before) == 5
        assert before <= pair.second.sandboxes()
        await there.delete()


async def test_servers_are_replaced_one_by_one_and_what_runs_goes_on(pair: Pair) -> None:
    async with pair.balanced() as client:
        runner = await client.create_runner("bash", inactivity_seconds=0)
        process = await counting(runner)
        collecting = asyncio.create_task(process.collect())
        went_on = []
        for server in (pair.first, pair.second, pair.first):
            await asyncio.sleep(1)
            assert await asyncio.to_thread(server.stop) == 0
            assert (await runner.run("echo", "here")).stdout == "here\n"
            went_on.append(not collecting.done())
            await asyncio.to_thread(server.start)
        assert went_on[0]
        await whole(collecting)
        await process.aclose()
        await runner.delete()


async def test_what_is_changed_through_one_server_holds_at_the_other_which_outlives_it(
    pair: Pair,
) -> None:
    async with client_at(pair.first.url) as one, client_at(pair.second.url) as other:
        await until(lambda: have_idle((one, 2), (other, 2)))
        await one._http.call(
            "PUT",
            one._http.url("execution-environments", "21"),
            body={"image": "host", "prewarmingPoolSize": 2},
            answer=bytes,
            again=False,
        )
        await until(lambda: have_idle((one, 1), (other, 1), environment="21"))
        runner = await other.create_runner("bash", inactivity_seconds=0)
        pair.second.kill()  # the older one takes over from the newer one
        await until(lambda: have_idle((one, 4)))
        await until(lambda: have_idle((one, 2), environment="21"))
        there = one.attach_runner(runner.id)
        assert (await there.run("echo", "here")).stdout == "here\n"
        await there.delete()


async def test_a_database_that_was_away_is_no_reason_to_give_each_other_up(
    pair: Pair, postgres: Postgres
) -> None:
    async with client_at(pair.first.url) as one, client_at(pair.second.url) as other:
        runners = [await each.create_runner("bash", inactivity_seconds=0) for each in (one, other)]
        process = await counting(runners[0])
        collecting = asyncio.create_task(process.collect())
        postgres.stop()
        await asyncio.sleep(LAPSED_SECONDS + 3)
        postgres.start()
        await whole(collecting)
        await process.aclose()
        for runner in runners:
            assert (await other.attach_runner(runner.id).run("echo", "here")).stdout == "here\n"
            await runner.delete()
        assert pair.first.process is not None
        assert pair.second.process is not None
        assert pair.first.process.poll() is pair.second.process.poll() is None
        assert "took over" not in pair.first.log


async def test_a_file_for_jobe_that_one_keeps_runs_at_the_other(pair: Pair) -> None:
    content = base64.b64encode(b"kept\n").decode()
    file_id = hashlib.md5(b"kept\n").hexdigest()
    spec = {
        "language_id": "bash",
        "sourcecode": "cat data.txt",
        "file_list": [[file_id, "data.txt"]],
    }
    async with aiohttp.ClientSession() as session:
        first, second = (
            f"http://{each.host}:{each.port}/jobe/index.php/restapi"
            for each in (pair.first, pair.second)
        )
        async with session.post(f"{second}/runs", json={"run_spec": spec}) as answer:
            assert answer.status == 404
        async with session.put(
            f"{first}/files/{file_id}", json={"file_contents": content}
        ) as answer:
            assert answer.status == 204
        async with session.head(f"{second}/files/{file_id}") as answer:
            assert answer.status == 204
        async with session.post(f"{second}/runs", json={"run_spec": spec}) as answer:
            assert (answer.status, (await answer.json())["stdout"]) == (200, "kept\n")
