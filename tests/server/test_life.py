"""From start to stop: what a server refuses, how it drains, what it reads again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from server_process import ServerProcess, until

import assay_client
from assay_client.errors import Unauthenticated

pytestmark = pytest.mark.root

Make = Callable[..., ServerProcess]
SECRET = "sesame-open-yourself"


def refusal(server: ServerProcess, *arguments: str) -> str:
    """The one line of a server that does not start."""
    command = [*server.command(), *arguments]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=60,
        env={**os.environ, "ASSAY_CONFIG": os.devnull},
    )  # fmt: skip
    lines = ended.stderr.splitlines()
    assert ended.returncode != 0
    assert (len(lines), lines[0][:7]) == (1, "assay: "), ended.stderr
    return lines[0]


def test_what_cannot_be_served_is_refused_with_a_remedy(server: Make, tmp_path: Path) -> None:
    alive = server(environments=())
    assert "assay token create" in refusal(alive, "--listen", "0.0.0.0:0")
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    elsewhere = ("--token-file", str(secret), "--listen", "192.0.2.1:0")
    assert "choose one with --listen" in refusal(alive, *elsewhere)
    assert "no environment is called 'pyhton'" in refusal(alive, "--environment", "pyhton")
    assert "no certificate" in refusal(
        alive, "--tls-certificate", "/etc/hostname", "--tls-key", "/etc/hostname"
    )
    alive.start()
    assert f"process {alive.pid}" in refusal(alive)
    assert "another server has it" in refusal(
        ServerProcess(state=tmp_path / "other", environments=(), port=alive.port)
    )


WAITING = ("/bin/bash", "-c", "echo on; read; echo end")
"""It ends when it is told to, however long a busy machine takes for what is done meanwhile."""


async def waiting(runner: assay_client.Runner) -> assay_client.Process:
    process = await runner.spawn(*WAITING, stdin=True)
    assert (await anext(process)).data == b"on\n"
    return process


async def until_it_drains(server: ServerProcess) -> None:
    async with aiohttp.ClientSession() as http:

        async def drains() -> bool:
            async with http.get(f"{server.url}/api/v1/ready") as answer:
                return answer.status == 503

        await until(drains)


async def test_at_sigterm_executions_end_first_and_nothing_new_begins(server: Make) -> None:
    alive = server(destroys=False)
    alive.start()
    async with assay_client.Client(alive.url) as client, aiohttp.ClientSession() as http:
        runner = await client.create_runner("bash", inactivity_seconds=0)
        process = await waiting(runner)
        os.kill(alive.pid, signal.SIGTERM)
        await until_it_drains(alive)
        async with http.post(f"{alive.url}/api/v1/runners", json={"environment": "bash"}) as answer:
            assert answer.status in (500, 503)
        await process.write("\n")
        stdout, _, end = await process.collect()
        assert (stdout, end.outcome.code) == (b"end\n", 0)
        await process.aclose()
        assert await asyncio.to_thread(alive.stop) == 0
        alive.start()  # the lease outlived it
        assert (await runner.run("echo", "on")).stdout == "on\n"


async def test_the_second_sigterm_ends_it_at_once_and_the_execution_goes_on(server: Make) -> None:
    alive = server(destroys=False)
    alive.start()
    async with assay_client.Client(alive.url) as client:
        runner = await client.create_runner("bash", inactivity_seconds=0)
        process = await waiting(runner)
        os.kill(alive.pid, signal.SIGTERM)
        await until_it_drains(alive)
        assert alive.process is not None
        assert alive.process.poll() is None
        started = asyncio.get_running_loop().time()
        assert await asyncio.to_thread(alive.stop) == 0
        # It would have waited for the execution for half a minute.
        assert asyncio.get_running_loop().time() - started < 20
        alive.start()
        await process.write("\n")
        stdout, _, end = await process.collect()
        assert (stdout, end.outcome.code) == (b"end\n", 0)
        await process.aclose()


async def test_sighup_reads_the_secret_again(server: Make, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    alive = server(environments=(), arguments=("--token-file", str(file)))
    alive.start()
    url = f"{alive.url}/api/v1/execution-environments"
    async with aiohttp.ClientSession() as http:

        async def status(secret: str) -> int:
            async with http.get(url, headers={"Authorization": f"Bearer {secret}"}) as answer:
                return answer.status

        assert (await status(SECRET), await status("another-long-secret")) == (200, 401)
        file.write_text("another-long-secret")
        os.kill(alive.pid, signal.SIGHUP)

        async def closed() -> bool:
            return await status(SECRET) == 401

        await until(closed)
        assert await status("another-long-secret") == 200
        file.write_text("short")  # refused, and the server goes on
        os.kill(alive.pid, signal.SIGHUP)
        await asyncio.sleep(0.2)
        assert await status("another-long-secret") == 200
        file.write_text(SECRET)


def make_token(server: ServerProcess) -> str:
    made = subprocess.run(
        [*server.command()[:4], "--state", str(server.state), "token", "create", "moodle"],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "ASSAY_CONFIG": os.devnull},
    )  # fmt: skip
    assert made.stdout.startswith("assay_"), made.stderr
    return made.stdout.strip()


async def test_a_token_made_on_the_command_line_opens_the_server(server: Make) -> None:
    alive = server(environments=("bash=1",))
    token = make_token(alive)
    alive.start()
    async with assay_client.Client(alive.url, token) as client:
        assert (await client.run("bash", "echo in")).stdout == "in\n"
    async with assay_client.Client(alive.url) as client:
        with pytest.raises(Unauthenticated):
            await client.run("bash", "echo in")


async def test_systemd_is_told(server: Make, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"{tmp_path}/notify")
        systemd.settimeout(60)
        alive = server(
            environments=(),
            variables={"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "300000"},
        )
        # It is heard meanwhile: what is more than ten messages is dropped where nobody hears them.
        loop = asyncio.get_running_loop()
        starting = loop.run_in_executor(None, alive.start)
        assert systemd.recv(100) == b"WATCHDOG=1"  # starting may take longer than it has patience
        hear(systemd, b"READY=1")
        await starting
        hear(systemd, b"WATCHDOG=1")
        stopping = loop.run_in_executor(None, alive.stop)
        hear(systemd, b"STOPPING=1")
        await stopping
        alive.variables.clear()


def hear(systemd: socket.socket, wanted: bytes) -> None:
    while systemd.recv(100) != wanted:
        pass
