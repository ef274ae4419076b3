"""One client that claims as fast as it can, and another that must not notice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from server_process import ServerProcess

pytestmark = pytest.mark.root

SAMPLES = 20
GREEDY = 24
"""Claims of the greedy client at one time."""
PAUSE_SECONDS = 0.05
NOT_BEHIND_IT = 0.2
"""Seconds: who had to wait for their turn behind the storm waited for 1.2 and more. What the
storm costs exactly, `assay bench load storm` measures on a machine that does nothing else."""


def token(alive: ServerProcess, name: str) -> dict[str, str]:
    """Make a token as an operator does."""
    command = [*alive.command()[:1], "-m", "assay", "--state", str(alive.state)]
    made = subprocess.run(
        [*command, "token", "create", name, "--json"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}


async def claim(http: aiohttp.ClientSession) -> tuple[int, float]:
    """Claim a runner and give it back; the status, and how long the claim took."""
    started = time.perf_counter()
    async with http.post("/api/v1/runners", json={"environment": "bash"}) as answer:
        body, seconds = await answer.json(), time.perf_counter() - started
    if answer.status == 200:
        async with http.delete(f"/api/v1/runners/{body['runnerId']}"):
            pass
    return answer.status, seconds


async def p95(http: aiohttp.ClientSession) -> float:
    """How long a claim takes for somebody who claims now and then."""
    found = []
    for _ in range(SAMPLES):
        status, seconds = await claim(http)
        assert status == 200
        found.append(seconds)
        await asyncio.sleep(PAUSE_SECONDS)
    print(f"p50 {sorted(found)[SAMPLES // 2] * 1e3:.1f} ms, max {max(found) * 1e3:.1f} ms")
    return sorted(found)[int(SAMPLES * 0.95) - 1]


@contextlib.asynccontextmanager
async def storm(http: aiohttp.ClientSession) -> AsyncIterator[list[int]]:
    """Claim without a pause meanwhile."""
    statuses: list[int] = []

    async def greedy() -> None:
        while True:
            statuses.append((await claim(http))[0])

    tasks = [asyncio.create_task(greedy()) for _ in range(GREEDY)]
    try:
        yield statuses
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_who_claims_now_and_then_does_not_wait_behind_a_storm_of_claims(
    server: Callable[..., ServerProcess],
) -> None:
    alive = server(environments=("bash=12",))
    tokens = token(alive, "modest"), token(alive, "greedy")
    alive.start()
    async with (
        aiohttp.ClientSession(alive.url, headers=tokens[0]) as modest,
        aiohttp.ClientSession(alive.url, headers=tokens[1]) as greedy,
    ):
        await p95(modest)
        for _ in range(3):  # others on this machine may disturb one of them, a queue all
            undisturbed = await p95(modest)
            async with storm(greedy) as statuses:
                await asyncio.sleep(1.0)
                disturbed = await p95(modest)
            print(f"p95 {undisturbed * 1e3:.1f} ms, in the storm {disturbed * 1e3:.1f} ms; "
                  f"{len(statuses)} greedy claims, {set(statuses)}")  # fmt: skip
            if disturbed < max(2 * undisturbed, NOT_BEHIND_IT):
                break
        assert disturbed < max(2 * undisturbed, NOT_BEHIND_IT)
