"""`kill -9` of the server: learners notice a pause, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from server_process import ServerProcess, own_groups, until

import assay_client
from assay.drivers.linux.folder import SandboxFolder
from assay_client.errors import RunnerGone
from assay_client.http import Patience

pytestmark = pytest.mark.root

Make = Callable[..., ServerProcess]

LINES = 4000
COUNT = f"""
for ((round = 0; round < 40; round++)); do
  for ((line = 0; line < {LINES // 40}; line++)); do echo $((round * {LINES // 40} + line)); done
  sleep 0.1
done
echo done >&2
"""
COUNTED = "".join(f"{line}\n" for line in range(LINES)).encode()


def client_of(server: ServerProcess) -> assay_client.Client:
    return assay_client.Client(server.url, patience=Patience(request_seconds=40))


async def idle_of(client: assay_client.Client, environment: str, wanted: int) -> None:
    """Wait until so many sandboxes wait for somebody."""

    async def there_are() -> bool:
        return (await client.pool())[environment].idle == wanted

    await until(there_are)


async def test_a_killed_server_costs_no_runner_no_execution_and_no_byte(server: Make) -> None:
    alive = server(environments=("bash=2",))
    alive.start()
    async with client_of(alive) as client:
        runners = [await client.create_runner("bash", inactivity_seconds=0) for _ in range(3)]
        await runners[0].write({"kept.txt": "still here"})
        running = [await runner.spawn("/bin/bash", "-c", COUNT) for runner in runners]
        collecting = [asyncio.create_task(process.collect()) for process in running]
        for _ in range(4):
            await asyncio.sleep(random.uniform(0.2, 0.8))
            alive.kill()
            await asyncio.to_thread(alive.start)
        for task in collecting:
            stdout, stderr, end = await task
            assert stdout == COUNTED
            assert stderr == b"done\n"
            assert (end.outcome.kind, end.outcome.code) == ("exited", 0)
        assert await runners[0].read("kept.txt") == b"still here"
        assert {each.id for each in await client.runners()} == {each.id for each in runners}
        result = await runners[1].run("echo", "again")
        assert result.stdout == "again\n"
        for process in running:
            await process.aclose()
        for runner in runners:
            await runner.delete()
        await idle_of(client, "bash", 2)

        async def others_gone() -> bool:
            return len(alive.sandboxes()) == 2

        await until(others_gone)


async def test_idle_sandboxes_are_adopted_and_what_nobody_knows_is_destroyed(server: Make) -> None:
    alive = server(environments=("bash=3",))
    alive.start()
    async with client_of(alive) as client:
        await idle_of(client, "bash", 3)
        before = alive.sandboxes()
        alive.kill()
        alive.start()
        await idle_of(client, "bash", 3)
        assert alive.sandboxes() == before

        alive.kill()
        for file in alive.state.glob("server.db*"):  # a new database knows none of them
            file.unlink()
        alive.start()
        await idle_of(client, "bash", 3)

        async def gone() -> bool:
            return not before & alive.sandboxes()

        await until(gone)


async def test_a_server_that_leaves_nothing_waits_for_what_may_be_somebodys(server: Make) -> None:
    """Whose it is, is known some seconds after the start only; this one has not so long."""
    alive = server(environments=("bash=2",))
    alive.start()
    async with client_of(alive) as client:
        await idle_of(client, "bash", 2)
    alive.kill()
    for file in (*alive.state.glob("server.db*"), *alive.state.glob("owners/server-*")):
        file.unlink()  # killed between making them and noting that
    alive.start()
    assert len(alive.sandboxes()) >= 2
    assert alive.stop() == 0
    assert alive.left_over() == []


async def test_what_a_program_has_run_in_is_nobody_elses_if_a_kill_came_before_that_was_written(
    server: Make,
) -> None:
    """It is written some 50 ms after it was given away, and programs start in a few."""
    alive = server(environments=("bash=2",))
    alive.start()
    for delay in (0.0, 0.005, 0.01, 0.02, 0.04, 0.08):
        async with client_of(alive) as client:
            await idle_of(client, "bash", 2)
            before = alive.sandboxes()
            running = asyncio.create_task(
                client.run("bash", argv=["bash", "-c", "echo mine > mark; sleep 60"])
            )
            await until_marked(alive, before)
            await asyncio.sleep(delay)
            alive.kill()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            alive.start()
            await idle_of(client, "bash", 2)
            for _ in range(3):
                assert (await client.run("bash", argv=["ls"])).stdout == ""

            async def gone() -> bool:
                return not marked(alive, alive.sandboxes())

            await until(gone)

    async def swept() -> bool:  # what those who were killed had prepared
        return all(map(has_process, (alive.state / "lean/prepared").iterdir()))

    await until(swept)


def has_process(folder: Path) -> bool:
    process = SandboxFolder(folder).process()
    return process is not None and process.runs()


def marked(server: ServerProcess, sandboxes: set[str]) -> set[str]:
    """Those in which the program has run."""
    found = set()
    for sandbox_id in sandboxes:
        process = SandboxFolder(server.state / "lean/sandboxes" / sandbox_id).process()
        if process and Path(f"/proc/{process.pid}/root/workspace/mark").exists():
            found.add(sandbox_id)
    return found


async def until_marked(server: ServerProcess, sandboxes: set[str]) -> None:
    for _ in range(5000):
        if marked(server, sandboxes):
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


async def test_a_lease_whose_sandbox_vanished_meanwhile_is_over(server: Make) -> None:
    alive = server(environments=("bash=1",))
    alive.start()
    async with client_of(alive) as client:
        await idle_of(client, "bash", 1)
        runner = await client.create_runner("bash", inactivity_seconds=0)
        await idle_of(client, "bash", 1)
        alive.kill()
        for sandbox_id in alive.sandboxes():
            process = SandboxFolder(alive.state / "lean/sandboxes" / sandbox_id).process()
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)
        alive.start()
        await client.pool()  # a request that may be sent twice finds the server again
        with pytest.raises(RunnerGone):
            await runner.run("true")
        await idle_of(client, "bash", 1)


async def test_limits_hold_while_the_server_is_away(server: Make) -> None:
    alive = server(environments=("bash=1",))
    alive.start()
    async with client_of(alive) as client, client.runner("bash") as runner:
        limits = assay_client.Limits(wall_seconds=1.0)
        async with runner.start("sleep", "60", limits=limits) as process:
            await asyncio.sleep(0.2)
            alive.kill()
            await asyncio.sleep(1.5)
            alive.start()
            outcome = (await process.wait()).outcome
            assert (outcome.kind, outcome.clock) == ("timed_out", "wall")


async def test_under_systemds_layout_sandboxes_are_not_in_the_servers_group(server: Make) -> None:
    name = f"assay-test-{os.getpid()}"
    with own_groups(name) as groups:
        alive = server(environments=("bash=1",), groups=groups)
        alive.start()
        async with client_of(alive) as client, client.runner("bash") as runner:
            process = await runner.spawn("sleep", "5")
            await idle_of(client, "bash", 1)  # what is just being made is still in the server's
            assert name in Path(f"/proc/{alive.pid}/cgroup").read_text()
            members = alive.processes(alive.sandboxes())
            assert len(members) >= 2
            for pid in members:
                with contextlib.suppress(FileNotFoundError):
                    assert name not in Path(f"/proc/{pid}/cgroup").read_text()
            alive.kill()
            for group in groups:  # all that systemd would find of the service
                assert (group / "cgroup.procs").read_text() == ""
            alive.start()
            assert (await process.wait()).outcome.code == 0
            await process.aclose()
        assert alive.stop() == 0
    alive.groups = ()
