"""What other programs get of a server's results: told by webhooks, and written to files."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import aiohttp
import pytest
from aiohttp import web
from server_process import ServerProcess, until
from test_grading import RIGHT, course, graded, hand_in

__all__ = ["course"]


@pytest.fixture
def telling(server, course: Path) -> ServerProcess:  # type: ignore[no-untyped-def]
    made: ServerProcess = server(
        environments=("python=2",),
        arguments=("--courses", str(course), "--webhook-networks", "127.0.0.0/8"),
    )
    return made


async def assay(server: ServerProcess, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "assay", *arguments, "--server", server.url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.root
async def test_results_are_told_though_the_server_was_killed_and_written_to_files(
    telling: ServerProcess, tmp_path: Path
) -> None:
    told: list[dict[str, object]] = []

    async def take(request: web.BaseRequest) -> web.Response:
        assert request.headers["webhook-signature"].startswith("v1,")
        told.append(await request.json())
        return web.Response(status=204)

    telling.start()
    runner = web.ServerRunner(web.Server(take), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        await site.stop()  # nobody is there until the server was killed
        url = f"http://127.0.0.1:{port}/"
        hook = json.loads(await assay(telling, "webhook", "add", "first", url, "--json"))
        assert hook["secret"].startswith("whsec_")
        async with aiohttp.ClientSession(telling.url) as http:
            name = (await hand_in(http, RIGHT))[1]["id"]
            assert (await graded(http, name))["result"]["grade"] == 100.0
        telling.kill()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        telling.start()

        async def arrived() -> bool:
            return bool(told)

        await until(arrived, 100)  # the third time is a minute later, where all else was slow
        log = json.loads(await assay(telling, "webhook", "log", "first", hook["id"], "--json"))
        assert [each["submission"] for each in log["deliveries"]] == [name]
        assert "works" in await assay(telling, "webhook", "list", "first")
        await assay(telling, "webhook", "remove", "first", hook["id"])
    finally:
        await runner.cleanup()
    (message,) = told
    assert message["type"] == "submission.graded"
    assert message["data"]["grade"] == 100.0  # type: ignore[index]
    rows = list(
        csv.DictReader(io.StringIO(await assay(telling, "results", "first", "--format", "csv")))
    )
    assert [(row["learner"], float(row["grade"])) for row in rows] == [("ada", 100.0)]
    kept = tmp_path / "add.xml"
    await assay(telling, "results", "first/add", "--format", "junit", "-o", str(kept))
    assert ElementTree.parse(kept).getroot().tag == "testsuites"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".add")] == []
