"""What a course of INGInious has graded is told to its platform, as any other course's is."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from server_process import ServerProcess, until
from test_grading import made_token
from test_inginious import TEACHES, Client, course, is_another, script

__all__ = ["course"]

Make = Callable[..., ServerProcess]
SECONDS = 20


class Platform:
    """Whoever is told: it believes only what is signed with its secret."""

    def __init__(self) -> None:
        self.secret = ""
        self._told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        runner = web.ServerRunner(web.Server(self._take), shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()

    async def _take(self, request: web.BaseRequest) -> web.Response:
        body, sent = await request.read(), request.headers
        signed = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        right = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        if not hmac.compare_digest(sent["webhook-signature"], f"v1,{right}"):
            return web.Response(status=401)
        self._told.put_nowait(json.loads(body))
        return web.Response(status=204)

    async def next(self) -> dict[str, Any]:
        """What is told next, if it is told soon."""
        return await asyncio.wait_for(self._told.get(), SECONDS)

    async def hears_nothing_more(self) -> None:
        await asyncio.sleep(0.5)
        assert self._told.empty(), self._told.get_nowait()


@pytest.fixture
def telling(server: Make, course: Path) -> ServerProcess:
    return server(
        environments=("python=2",),
        arguments=("--courses", str(course), "--webhook-networks", "127.0.0.0/8"),
        variables={"ASSAY_SERVER_TOKEN": "a secret that is long enough"},
    )


@pytest.mark.root
async def test_a_platform_is_told_what_a_course_of_inginious_has_graded(
    telling: ServerProcess, course: Path
) -> None:
    # What it is worth is the course's to say, so that a campaign can find it otherwise.
    (course / "$common/worth.txt").write_text("62.5")
    says = "feedback-result failed; feedback-grade $(cat /course/common/worth.txt)"
    telling.start()
    for remark in ("everything: something_new is not known", "shell: environment_type docker-ssh"):
        assert remark in telling.log, "its operator is told what is not done"
    platform = Platform()
    async with aiohttp.ClientSession(telling.url) as http, platform.listening() as address:
        teacher = Client(http, await made_token(telling, "teacher", TEACHES))
        learner = Client(http, await made_token(telling, "learner", ["submit"]))
        wanted = {"url": address, "events": ["submission.graded", "submission.failed"]}
        hook = await teacher.post("/courses/everything/webhooks", wanted, 201)
        platform.secret = hook["secret"]
        name = await _is_told(platform, learner, script(says), "partial", 62.5)
        await _is_told(platform, learner, script("feedback-result success; exit 3"), "error", None)
        right = {"answers": {"one": [0], "more": [0, 1], "word": "42"}}
        await _is_told(platform, learner, right, "passed", 100.0, task="choices")
        (course / "$common/worth.txt").write_text("25")
        await _campaign_is_told(platform, teacher, name)
        log = await teacher.get(f"/courses/everything/webhooks/{hook['id']}/deliveries")
        assert {each["state"] for each in log["deliveries"]} == {"delivered"}


async def _is_told(
    platform: Platform, learner: Client, given: dict[str, Any], verdict: str, grade: float | None,
    task: str = "hostile",
) -> str:  # fmt: skip
    made = await learner.hand_in(task, **given)
    said = await platform.next()
    assert said["type"] == "submission.graded"
    data = said["data"]
    assert (data["submission"], data["course"], data["task"], data["learner"]) == (
        made["id"], "everything", task, "ada",
    )  # fmt: skip
    assert (data["verdict"], data["grade"]) == (verdict, grade)
    assert "feedback-" not in str(said), "what a learner wrote is nobody's but who asks for it"
    return str(made["id"])


async def _campaign_is_told(platform: Platform, teacher: Client, name: str) -> None:
    """When it is applied, and no earlier: before, it only proposes."""
    digest = (await teacher.get(f"/submissions/{name}"))["digest"]
    await until(lambda: is_another(teacher, digest), SECONDS)
    campaign = {"task": "hostile", "version": "newest"}
    started = await teacher.post("/courses/everything/regrades", campaign)
    await teacher.get(f"/regrades/{started['id']}/events")
    await platform.hears_nothing_more()
    await teacher.post(f"/regrades/{started['id']}/apply", {}, 200)
    said = await platform.next()
    assert said["type"] == "submission.graded"
    assert (said["data"]["submission"], said["data"]["grade"]) == (name, 25.0)
    await platform.hears_nothing_more()
