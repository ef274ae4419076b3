"""The synchronous shell, in a thread of its own; the server is in this one."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading

import pytest
from wire_server import TOKEN, WireServer

import assay_client
from assay_client import errors


async def test_the_journey_without_an_event_loop(server: WireServer) -> None:
    def journey() -> str:
        with assay_client.connect(server.url, TOKEN) as client, client.runner("python") as runner:
            runner.write({"hello.py": "print('hi')"})
            result = runner.run("python3", "hello.py")
            with runner.start("cat", stdin=True) as process:
                process.write("talk")
                process.end_input()
                talked = b"".join(chunk.data for chunk in process)
                assert process.wait().success
            assert talked == b"talk"
            return result.stdout

    assert await asyncio.to_thread(journey) == "python3 hello.py "
    assert server.runners == {}
    assert not [t for t in threading.enumerate() if t.name == "assay-client"]


async def test_errors_are_the_same(server: WireServer) -> None:
    def journey() -> None:
        with assay_client.connect(server.url, TOKEN) as client:
            client.create_runner("cobol")

    with pytest.raises(errors.UnknownEnvironment):
        await asyncio.to_thread(journey)


def test_a_client_that_is_not_open_says_so() -> None:
    client = assay_client.connect("http://127.0.0.1:1")
    with pytest.raises(errors.InvalidRequest, match="closed"):
        client.version()


async def test_ctrl_c_cancels_what_is_waited_for(server: WireServer) -> None:
    """In a process of its own, for signals go to main threads."""
    code = f"""
import assay_client
with assay_client.connect({server.url!r}, {TOKEN!r}) as client:
    with client.runner("python") as runner:
        with runner.start("forever") as process:
            try:
                print("waiting", flush=True)
                process.wait()
            except KeyboardInterrupt:
                print("interrupted", flush=True)
"""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    assert await program.stdout.readline() == b"waiting\n"
    program.send_signal(signal.SIGINT)
    assert await program.stdout.read() == b"interrupted\n"
    assert await program.wait() == 0
    assert server.programs["e0"].outcome == {"kind": "cancelled"}
    assert server.runners == {}
