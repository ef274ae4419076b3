"""Campaigns of a server that is a process of its own, which is killed in the middle."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from server_process import ServerProcess, until
from test_grading import RIGHT, TASK, course, graded, grading, hand_in

__all__ = ["course", "grading"]


async def assay(server: ServerProcess, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "assay", "--state", str(server.state), *arguments,
        "--server", server.url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def regrade(server: ServerProcess, *arguments: str) -> Any:
    code, out, err = await assay(server, "regrade", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.root
async def test_a_campaign_survives_the_server_and_changes_grades_when_it_is_applied(
    grading: ServerProcess, course: Path
) -> None:
    grading.start()
    async with aiohttp.ClientSession(grading.url) as http:
        names = [(await hand_in(http, RIGHT, learner=who))[1]["id"] for who in ("ada", "bob")]
        before = [(await graded(http, name))["result"] for name in names]
        assert [each["grade"] for each in before] == [100.0, 100.0]
        used = before[0]["record"]["used"][0]
        assert (used["environment"], used["sandbox"]["memoryBytes"]) == ("python", 96 * 1024**2)
        assert used["digest"]
        # What is right now is another answer.
        (course / "add" / "task.toml").write_text(TASK.replace('"42"', '"43"'))
        await until(lambda: _is_read(http, before[0]["record"]["digest"]), 10)
        async with http.post("/api/v1/courses/first/regrades", json={"task": "add"}) as answer:
            started = (await answer.json())["id"]
    grading.kill()
    grading.start()
    async with aiohttp.ClientSession(grading.url) as http:
        async with http.get(f"/api/v1/regrades/{started}/events") as answer:
            told = (await answer.text()).split("\n\n")
        assert '"finished":true' in told[-2]
        found = await regrade(grading, "diff", started)
        assert [each["change"] for each in found["differences"]] == ["down", "down"]
        assert found["differences"][0]["parts"][0]["id"] == "hidden"
        assert found["differences"][0]["remarks"] == ["another version of the task"]
        assert (await graded(http, names[0]))["result"]["grade"] == 100.0
        async with http.get(f"/api/v1/regrades/{started}/report?format=csv") as answer:
            assert (await answer.text()).count(",down,100,50,") == 2
        applied = await regrade(grading, "apply", started)
        assert applied["applied"]["applied"] == 2
        async with http.post(f"/api/v1/regrades/{started}/apply", json={}) as answer:
            assert (await answer.json())["applied"] == applied["applied"]
        async with http.delete(f"/api/v1/regrades/{started}") as answer:
            assert answer.status == 409
        assert (await graded(http, names[0]))["result"]["grade"] == 50.0
        async with http.get(f"/api/v1/submissions/{names[0]}/history") as answer:
            (former,) = (await answer.json())["history"]
        assert former["result"]["grade"] == 100.0
        async with http.get("/api/v1/submissions") as answer:
            assert len((await answer.json())["submissions"]) == 2
    # As it is recorded now, on this machine, without the server's sandboxes.
    code, out, err = await assay(grading, "grade", "--json", "--record", names[0])
    assert code == 1, err
    assert (json.loads(out)["grade"], json.loads(out)["remarks"]) == (50.0, [])


async def _is_read(http: aiohttp.ClientSession, digest: str) -> bool:
    async with http.get("/api/v1/courses/first/tasks/add") as answer:
        return bool((await answer.json())["digest"] != digest)
