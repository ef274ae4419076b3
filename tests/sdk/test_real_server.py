"""The client and a real server, with real sandboxes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from real_server import SECRET, Server

from assay_client import Client, Limits, Runner, TerminalSize, errors

sys.path.insert(0, str(Path(__file__).parent))

from test_readme import PROGRAMS

LACKING = os.geteuid() != 0
pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(LACKING and not os.environ.get("CI"), reason="needs root"),
]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    try:
        yield made
    finally:
        made.stop()
    assert list(made.state.glob("*/sandboxes/*")) == []


@pytest.fixture
async def connected(real: Server) -> AsyncIterator[Client]:
    async with Client(real.url, SECRET) as made:
        yield made


@pytest.fixture
async def leased(connected: Client) -> AsyncIterator[Runner]:
    async with connected.runner("bash") as made:
        yield made


@pytest.mark.parametrize("program", PROGRAMS, ids=["asynchronous", "synchronous"])
async def test_the_journey_of_five_lines(real: Server, program: str) -> None:
    ran = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program.replace("http://127.0.0.1:7200", real.url),
        env={**os.environ, "ASSAY_TOKEN": SECRET}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await ran.communicate()
    assert output == b"Hello, world!\n exited(0)\n"


async def test_files_programs_and_measurements(leased: Runner) -> None:
    await leased.write({"a/b.txt": "text", "c": bytes(range(256))})
    assert await leased.read("c") == bytes(range(256))
    assert "./a/b.txt" in [file.name for file in await leased.files()]
    with pytest.raises(errors.FileError):
        await leased.read("missing")
    result = await leased.run(
        "bash", "-c", "cat; echo $NAME >&2; exit 3", stdin=b"\xff\0", environment={"NAME": "ü"}
    )
    assert (result.stdout_bytes, result.stderr, str(result.outcome)) == (
        b"\xff\0",
        "ü\n",
        "exited(3)",
    )
    assert result.measurements.cpu_ns is not None
    late = await leased.run("sleep", "5", limits=Limits(wall_seconds=0.3))
    assert str(late.outcome) == "timed_out(wall)"


async def test_a_terminal_has_a_size_and_answers(leased: Runner) -> None:
    async with leased.start(
        "bash", "-c", "stty size; read x; stty size", terminal=TerminalSize(rows=7, columns=33)
    ) as process:
        assert (await anext(process)).data == b"7 33\r\n"
        await process.resize(9, 44)
        await process.write("\n")
        stdout, _, end = await process.collect()
    assert stdout.split() == [b"9", b"44"]
    assert end.success


async def test_a_stream_goes_on_over_kill_9_of_the_server(real: Server, leased: Runner) -> None:
    """Not a byte of either direction is lost or doubled."""
    count = 200_000
    async with leased.start("cat", stdin=True, limits=Limits(wall_seconds=100)) as process:

        async def feed() -> None:
            for number in range(count):
                await process.write(f"{number}\n")
                if number in (count // 4, count // 2):
                    await asyncio.to_thread(real.kill)
                    await asyncio.to_thread(real.start)
            await process.end_input()

        feeding = asyncio.ensure_future(feed())
        stdout, _, end = await process.collect()
        await feeding
    assert stdout == b"".join(b"%d\n" % number for number in range(count))
    assert end.success


async def test_a_source_in_one_request(connected: Client) -> None:
    result = await connected.run("c", '#include <stdio.h>\nint main() { puts("hi"); return 4; }')
    assert (result.stdout, str(result.outcome), result.step) == ("hi\n", "exited(4)", "run")
    wrong = await connected.run("c", "int main() { return x; }")
    assert wrong.step == "compile"
    assert "error" in wrong.stderr


async def test_leases_are_listed_reset_and_over_once_given_back(connected: Client) -> None:
    async with connected.runner("bash") as runner:
        await runner.write({"old": "x"})
        assert runner.id in [each.id for each in await connected.runners()]
        await runner.reset()
        assert runner.lease.generation == 2
        assert await runner.files() == []
        async with runner.start("sleep", "100") as process:
            (listed,) = await runner.executions()
            assert listed.execution_id == process.execution_id
            await runner.cancel(process.execution_id)
            assert str((await process.wait()).outcome) == "cancelled"
    with pytest.raises(errors.RunnerGone):
        await runner.run("true")
    await runner.delete()
    assert (await connected.pool())["bash"].target == 1


async def test_refusals_have_their_own_classes(connected: Client, real: Server) -> None:
    with pytest.raises(errors.UnknownEnvironment):
        await connected.create_runner("cobol")
    async with connected.runner("bash") as runner:
        with pytest.raises(errors.LimitOverCeiling):
            await runner.run("true", limits=Limits(wall_seconds=1e6))
        with pytest.raises(errors.UnknownExecution):
            await runner.attach("no-such-execution").wait()
    async with Client(real.url, "a-token-that-nobody-knows") as stranger:
        with pytest.raises(errors.Unauthenticated):
            await stranger.create_runner("bash")
