"""What a token has at one time is counted once, and before it begins."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from assay.api.auth import Caller
from assay.api.following import follow
from assay.api.quotas import require_execution, running
from assay.api.route import Call
from assay.api.runners import ROUTES, RunnerRequest
from assay.domain.errors import QuotaExceeded, UnknownEnvironment
from assay.runners import ASSAY_V1, POSEIDON, RUN, State


class Runner:
    """Has executions, and starts none."""

    def __init__(self, *states: tuple[str, State]) -> None:
        self._listed = [
            SimpleNamespace(execution_id=f"e{number}", mode=mode, state=state)
            for number, (mode, state) in enumerate(states)
        ]

    def executions(self) -> list[Any]:
        return self._listed

    async def follow(self, execution_id: str, *, offset: int | None) -> None:
        raise AssertionError(f"{execution_id} would have begun")


def call_of(runner: Runner, *, most: int) -> Call:
    services = SimpleNamespace(
        running=Counter(), forwarder=None, runners=SimpleNamespace(all=lambda owner: [runner])
    )
    return cast("Call", SimpleNamespace(caller=Caller(most_executions=most), services=services))


def test_what_a_request_waits_for_is_counted_once() -> None:
    call = call_of(Runner((RUN, State.RUNNING), (ASSAY_V1, State.PREPARED)), most=2)
    with running(call):
        require_execution(call)
        with running(call), pytest.raises(QuotaExceeded):
            require_execution(call)


def test_what_is_followed_counts_while_it_runs() -> None:
    states = ((ASSAY_V1, State.RUNNING), (POSEIDON, State.RUNNING), (ASSAY_V1, State.ENDED))
    require_execution(call_of(Runner(*states), most=3))
    with pytest.raises(QuotaExceeded):
        require_execution(call_of(Runner(*states), most=2))


async def test_naming_an_offset_starts_nothing_beyond_the_quota() -> None:
    runner = Runner((ASSAY_V1, State.RUNNING), (ASSAY_V1, State.PREPARED))
    call = call_of(runner, most=1)
    call.services.settings = SimpleNamespace(most_message_bytes=1024)  # type: ignore[misc, assignment]

    async def handle(request: web.Request) -> web.StreamResponse:
        cast("Any", call).request, cast("Any", call).runner = request, runner
        with pytest.raises(QuotaExceeded):
            await follow(call)
        return web.Response(status=204)

    application = web.Application()
    application.router.add_get("/", handle)
    server = web.AppRunner(application)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    port = server.addresses[0][1]
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect("/?executionID=e1&offset=0", protocols=[ASSAY_V1])
        assert refused.value.status == 204
    finally:
        await server.cleanup()


async def test_what_is_derived_for_graders_is_nobodys_to_lease() -> None:
    class Environments:
        def get(self, name: str) -> None:
            raise UnknownEnvironment(f"no environment is called {name}")

    call = call_of(Runner(), most=1)
    services = cast("Any", call.services)
    services.making, services.environments = Counter(), Environments()
    services.runners.create = None
    services.settings = SimpleNamespace(claim_seconds=1.0)
    cast("Any", call).body = RunnerRequest(environment="python~256m-mark")
    with pytest.raises(UnknownEnvironment):
        await ROUTES[0].handler(call)
    assert services.making.total() == 0
