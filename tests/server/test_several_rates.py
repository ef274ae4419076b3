"""A token that asks two servers of one database: its rate is that of both together."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from server_process import ServerProcess, free_port
from tests.storage.postgres import postgres_of_tests

pytestmark = pytest.mark.slow

PER_SECOND = 4
BURST = 4
SECONDS = 10


@pytest.fixture
def database() -> Iterator[str]:
    with postgres_of_tests() as postgres:
        yield postgres.empty_database()


@pytest.fixture
def token(database: str) -> str:
    command = [
        sys.executable, "-m", "assay", "token", "create", "somebody", "--database", database,
        "--requests-per-second", str(PER_SECOND), "--burst", str(BURST), "--json",
    ]  # fmt: skip
    said = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=60,
        env={**os.environ, "ASSAY_CONFIG": os.devnull},
    )  # fmt: skip
    return str(json.loads(said.stdout)["token"])


@pytest.fixture
def servers(database: str, token: str) -> Iterator[list[ServerProcess]]:
    made = []
    for _ in range(2):
        port = free_port()
        shared = ("--database", database, "--advertise", f"127.0.0.1:{port}")
        state = Path(tempfile.mkdtemp(prefix="assay-server-"))
        made.append(
            ServerProcess(
                state=state,
                driver="fake",
                port=port,
                arguments=shared,
                destroys=False,
                environments=("bash=0",),
            )
        )
    try:
        for each in made:
            each.start()
        yield made
    finally:
        for each in made:
            each.end()
            shutil.rmtree(each.state)


async def test_what_one_of_them_let_in_counts_at_the_other(
    servers: list[ServerProcess], token: str
) -> None:
    let_in = [0, 0]
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:

        async def ask(number: int) -> None:
            until = asyncio.get_running_loop().time() + SECONDS
            while asyncio.get_running_loop().time() < until:
                async with session.get(f"{servers[number].url}/api/v1/runners") as answer:
                    assert answer.status in (200, 429)
                    let_in[number] += answer.status == 200
                await asyncio.sleep(0.05)

        await asyncio.gather(ask(0), ask(1))
    # A burst at each, and what a second's delay lets through; each alone would have let in as much.
    assert sum(let_in) <= PER_SECOND * (SECONDS + 2) + 2 * BURST, let_in
    assert sum(let_in) >= PER_SECOND * SECONDS / 2, let_in
