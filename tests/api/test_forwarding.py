"""Requests for runners of another server: passed on once, counted once, and whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
from api_server import Serve, services
from scripted import Scripted, ScriptedRunners, outputs, settled

from assay.api import forwarding
from assay.api.auth import Authenticator
from assay.api.forwarding import FORWARDED, Forwarded, Forwarder
from assay.domain.errors import RunnerGone, Unavailable
from assay.driver.port import Secret
from assay.runners import Moved
from assay.storage.records import NOTHING, Held, ServerRecord, TokenRecord
from assay.storage.tokens import issue_token

A = ServerRecord(id="a", address="", place="here", secret=Secret(b"a" * 32), heartbeat_at=1.0)
B = replace(A, id="b", secret=Secret(b"b" * 32))
V1 = ("assay.v1",)


@dataclass
class Servers:
    """Which server has the one runner, as one of them is told."""

    me: ServerRecord
    owner: ServerRecord | None = None
    silent: bool = False
    taken: list[str] = field(default_factory=list)
    held: Held = NOTHING

    async def locate(self, runner_id: str) -> ServerRecord | None:
        return self.owner if runner_id == "r-1" else None

    def is_silent(self, server: ServerRecord) -> bool:
        return self.silent

    async def take_over(self, server: ServerRecord) -> None:
        self.taken.append(server.id)
        self.owner = self.me

    async def settled(self) -> None:
        pass

    def is_peer(self, shown: str) -> bool:
        return shown == self.me.secret.reveal().hex()

    def others_hold(self, token_id: str) -> Held:
        return self.held


class Nobodys:
    """A server without runners."""

    def get(self, runner_id: str, *, owner: str | None, generation: int | None = None) -> Any:
        raise RunnerGone("there is none")


class OneRunner(ScriptedRunners):
    """The one runner."""

    def all(self, *, owner: str | None = None) -> list[Any]:
        return []


async def address_of(client: aiohttp.ClientSession) -> str:
    assert client._base_url is not None
    return str(client._base_url.origin())


@dataclass
class Two:
    """The server that is asked, and the one that has the runner."""

    asked: aiohttp.ClientSession
    owner: aiohttp.ClientSession
    at_asked: Servers
    at_owner: Servers
    attachment: Scripted
    events: list[Forwarded] = field(default_factory=list)


@pytest.fixture
async def two(serve: Serve) -> Two:
    return await make(serve)


async def make(serve: Serve, **changes: Any) -> Two:
    attachment = Scripted(outputs("stdout", b"hello"))
    at_owner, at_asked, events = Servers(A, A), Servers(B), []
    owner = await serve(
        services(
            runners=OneRunner(attachment),
            forwarder=Forwarder(at_owner, on_event=events.append),
            **changes,
        )
    )
    at_asked.owner = replace(A, address=await address_of(owner))
    asked = await serve(
        services(
            runners=Nobodys(), forwarder=Forwarder(at_asked, on_event=events.append), **changes
        )
    )
    return Two(asked, owner, at_asked, at_owner, attachment, events)


async def test_a_request_is_answered_by_the_server_of_its_runner(two: Two) -> None:
    async with two.asked.get("runners/r-1/executions") as answer:
        assert answer.status == 200
        assert await answer.json() == {"executions": []}
    assert [each.status for each in two.events] == [200]


async def test_answers_that_are_errors_pass_as_they_are(two: Two) -> None:
    accepted = {"Accept": "application/problem+json"}
    url = "runners/r-1/executions/none"
    async with two.owner.delete(url, headers=accepted) as direct:
        expected = (direct.status, await direct.json(), direct.content_type)
    async with two.asked.delete(url, headers=accepted) as answer:
        assert (answer.status, await answer.json(), answer.content_type) == expected


async def test_a_stream_passes_both_ways_and_its_close_too(two: Two) -> None:
    url = "runners/r-1/websocket?executionID=e"
    async with two.asked.ws_connect(url, protocols=V1) as socket:
        assert socket.protocol == "assay.v1"
        assert json.loads((await socket.receive()).data)["type"] == "start"
        assert (await socket.receive()).data[9:] == b"hello"
        await socket.send_json({"type": "cancel"})
        assert json.loads((await socket.receive()).data)["type"] == "end"
        await socket.send_json({"type": "bye"})
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1000
    assert two.attachment.done == ["cancel", "finish"]


async def test_who_vanishes_has_detached_there_and_nothing_is_killed(two: Two) -> None:
    url = "runners/r-1/websocket?executionID=e"
    socket = await two.asked.ws_connect(url, protocols=V1)
    assert json.loads((await socket.receive()).data)["type"] == "start"
    assert socket._response.connection is not None
    assert socket._response.connection.transport is not None
    socket._response.connection.transport.abort()
    await settled(two.attachment, "detach")
    assert two.attachment.done == ["detach"]
    await socket.close()


async def test_a_refusal_of_a_stream_has_its_status(two: Two) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await two.asked.ws_connect("runners/r-1/websocket?executionID=other", protocols=V1)
    assert refused.value.status == 404


async def test_a_stream_of_a_server_that_is_given_up_ends_with_come_again(
    serve: Serve, two: Two
) -> None:
    forwarder = Forwarder(two.at_asked, on_event=two.events.append)
    asked = await serve(services(runners=Nobodys(), forwarder=forwarder))
    async with asked.ws_connect("runners/r-1/websocket?executionID=e", protocols=V1) as socket:
        for _ in range(2):
            await socket.receive()
        forwarder.cut("a")
        assert (await socket.receive(timeout=20)).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1012


async def test_a_moved_execution_ends_with_come_again(serve: Serve) -> None:
    client = await serve(services(runners=ScriptedRunners(Scripted([Moved()]))))
    for protocols in (V1, ()):
        url = "runners/r-1/websocket?executionID=e"
        async with client.ws_connect(url, protocols=protocols) as socket:
            await socket.receive()
            await socket.receive()
            assert socket.close_code == 1012


async def test_two_that_take_each_other_for_the_owner_do_not_pass_it_on_for_ever(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "PATIENCE_SECONDS", 0.5)
    two.at_owner.owner = replace(B, address=await address_of(two.asked))
    accepted = {"Accept": "application/problem+json"}
    url = "runners/r-1/executions"
    shown = {FORWARDED: A.secret.reveal().hex()}
    async with two.owner.get(url, headers=shown) as direct:
        assert direct.status == 200  # it has the runner, whatever the database says
    async with two.asked.get(url, headers={FORWARDED: "anything"}) as answer:
        assert answer.status == 421
    two.at_asked.owner = replace(B, id="c", address=await address_of(two.asked))
    async with two.asked.get(url, headers=accepted) as answer:
        assert (answer.status, (await answer.json())["code"]) == (503, "unavailable")


async def test_a_silent_server_is_taken_over_from_and_the_request_answered_here(
    two: Two,
) -> None:
    two.at_asked.silent = True
    async with two.asked.get("runners/r-1/executions") as answer:
        assert answer.status == 410  # this stand-in has no runner after it either
    assert two.at_asked.taken == ["a"]


async def test_one_that_cannot_be_taken_over_from_is_unavailable(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(server: ServerRecord) -> None:
        raise Unavailable("it is far away")

    two.at_asked.silent = True
    monkeypatch.setattr(two.at_asked, "take_over", refuse)
    async with two.asked.get("runners/r-1/executions") as answer:
        assert answer.status == 503


async def test_a_runner_that_nobody_has_is_gone(two: Two) -> None:
    async with two.asked.get("runners/r-2/executions") as answer:
        assert answer.status == 410


async def test_what_a_token_has_at_other_servers_counts(serve: Serve) -> None:
    text, record = issue_token(name="t", scopes=["run"], now=0.0, most_runners=2, most_executions=1)
    servers = Servers(A, A, held=Held(runners=2, executions=1))
    client = await serve(
        services(
            runners=OneRunner(Scripted()),
            forwarder=Forwarder(servers, on_event=lambda _: None),
            authenticator=Authenticator(Tokens(record)),
        )
    )
    token = {"Authorization": f"Bearer {text}"}
    async with client.post("runners", json={"environment": "a"}, headers=token) as answer:
        assert answer.status == 429
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect("runners/r-1/websocket?executionID=e", headers=token)
    assert refused.value.status == 429


@dataclass
class Tokens:
    record: TokenRecord

    async def token_by_hash(self, digest: bytes) -> TokenRecord | None:
        return self.record if digest == self.record.hash else None

    def clock(self) -> float:
        return 0.0


async def test_a_request_is_counted_by_the_server_that_was_asked_alone(serve: Serve) -> None:
    text, record = issue_token(
        name="t", scopes=["run"], now=0.0, requests_per_second=0.001, burst=2
    )
    two = await make(serve, authenticator=Authenticator(Tokens(record)))
    token = {"Authorization": f"Bearer {text}"}
    url = "runners/r-1/executions"
    statuses = []
    for client in (two.asked, two.asked, two.owner, two.asked):
        async with client.get(url, headers=token) as answer:
            statuses.append(answer.status)
    assert statuses[2] == statuses[3] == 429  # they have one authenticator here, and two requests
    assert statuses[:2] == [200, 200]


async def test_nobody_gets_in_or_around_the_rate_by_naming_a_wrong_secret(serve: Serve) -> None:
    text, record = issue_token(
        name="t", scopes=["run"], now=0.0, requests_per_second=0.001, burst=1
    )
    two = await make(serve, authenticator=Authenticator(Tokens(record)))
    shown = {FORWARDED: B.secret.reveal().hex()}
    url = "runners/r-1/executions"
    async with two.owner.get(url, headers=shown) as answer:
        assert answer.status == 401
    token = {"Authorization": f"Bearer {text}", **shown}
    statuses = []
    for _ in range(2):
        async with two.owner.get(url, headers=token) as answer:
            statuses.append(answer.status)
    assert statuses == [200, 429]


async def test_what_a_client_says_of_servers_does_not_go_along() -> None:
    passed = dict(
        forwarding._passing(
            {
                "Assay-Forwarded": "x", "X-Forwarded-For": "1.2.3.4", "Forwarded": "for=1",
                "Connection": "x", "Authorization": "Bearer t", "Cookie": "a=b", "Accept": "*/*",
            }.items()
        )
    )  # fmt: skip
    assert set(passed) == {"Authorization", "Cookie", "Accept"}
