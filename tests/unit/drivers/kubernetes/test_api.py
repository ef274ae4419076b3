"""Requests to an API server that is well, ill, or none at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from assay.domain.errors import CapacityExceeded, DriverUnavailable, RuntimeFailed
from assay.drivers.kubernetes.api import Kubernetes, NotThere, Outdated
from assay.drivers.kubernetes.client import address_of
from assay.drivers.kubernetes.options import Options


class Server:
    """Gives the answers that it has, one after the other; the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[web.Request] = []
        self.bodies: list[Any] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        if request.can_read_body:
            self.bodies.append(await request.json())
        status, answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        text = answer if isinstance(answer, str) else json.dumps(answer)
        return web.Response(status=status, text=text)


def kubeconfig(folder: Path, address: str) -> Options:
    file = folder / "kubeconfig"
    file.write_text(json.dumps({
        "current-context": "c", "users": [{"name": "u", "user": {"token": "t0ken"}}],
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }))  # fmt: skip
    return Options(kubeconfig=str(file), namespace="n")


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def server() -> Server:
    return Server()


@pytest_asyncio.fixture
async def kubernetes(server: Server, tmp_path: Path) -> AsyncIterator[Kubernetes]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with TestServer(app, host="127.0.0.1") as listening:
        made = Kubernetes(kubeconfig(tmp_path, str(listening.make_url("")).rstrip("/")))
        yield made
        await made.aclose()


async def test_requests_say_who_asks(server: Server, kubernetes: Kubernetes) -> None:
    server.answers = [(200, {"gitVersion": "v1.34.4"})]
    assert await kubernetes.version() == "v1.34.4"
    assert server.asked[0].headers["Authorization"] == "Bearer t0ken"


async def test_no_connection_stays_of_many_requests_at_once(
    server: Server, kubernetes: Kubernetes
) -> None:
    server.answers = [(200, {})]
    await kubernetes.version()
    await asyncio.sleep(0.1)
    before = open_descriptors()
    await asyncio.gather(*(kubernetes.version() for _ in range(20)))
    await asyncio.sleep(0.1)
    assert open_descriptors() <= before


async def test_long_lists_come_in_parts(server: Server, kubernetes: Kubernetes) -> None:
    server.answers = [
        (200, {"items": [{"a": 1}, 7], "metadata": {"continue": "more"}}),
        (200, {"items": [{"a": 2}], "metadata": {}}),
    ]
    assert await kubernetes.pods("x=y") == [{"a": 1}, {"a": 2}]
    assert server.asked[1].query["continue"] == "more"


async def test_a_pod_that_is_there_already_is_the_one(
    server: Server, kubernetes: Kubernetes
) -> None:
    server.answers = [(409, {"message": "already exists"}), (200, {"found": True})]
    assert await kubernetes.create({"metadata": {"name": "p"}}) == {"found": True}


async def test_a_server_with_too_much_to_do_is_asked_again(
    server: Server, kubernetes: Kubernetes
) -> None:
    server.answers = [(429, {"message": "later"}), (200, {"gitVersion": "v"})]
    assert await kubernetes.version() == "v"


async def test_a_token_that_has_run_out_is_looked_for_once(
    server: Server, kubernetes: Kubernetes
) -> None:
    server.answers = [(401, {"message": "Unauthorized"})]
    with pytest.raises(DriverUnavailable, match="renew"):
        await kubernetes.version()
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "said", "kind", "words"),
    [
        (403, {"message": 'pods is forbidden: User "x" cannot'}, DriverUnavailable, "access.yaml"),
        (403, {"message": "forbidden: exceeded quota: q"}, CapacityExceeded, "quota"),
        (403, {"message": "violates PodSecurity baseline"}, DriverUnavailable, "privileged"),
        (404, {"message": "not found"}, NotThere, "not know"),
        (410, {"message": "too old"}, Outdated, "forgotten"),
        (422, "<html>a proxy</html>", RuntimeFailed, "could not do it"),
        (200, "<html>a proxy</html>", RuntimeFailed, "no JSON"),
    ],
)
async def test_each_refusal_says_what_to_do(
    server: Server, kubernetes: Kubernetes, status: int, said: Any, kind: type, words: str
) -> None:
    server.answers = [(status, said)]
    with pytest.raises(kind, match=words):
        await kubernetes.ask("GET", "/api/v1/whatever")


@pytest.mark.parametrize("answer", [[], 7, None, {"items": 7}, {"items": [None], "metadata": 1}])
async def test_an_answer_of_no_sense_is_an_empty_one(
    server: Server, kubernetes: Kubernetes, answer: Any
) -> None:
    server.answers = [(200, answer)]
    assert await kubernetes.pods("x=y") == []


async def test_events_end_with_an_error_of_theirs(server: Server, kubernetes: Kubernetes) -> None:
    event = {"type": "MODIFIED", "object": {"metadata": {"name": "p"}}}
    error = {"type": "ERROR", "object": {"message": "too old resource version"}}
    lines = f"{json.dumps(event)}\n{json.dumps(error)}\n"
    server.answers = [(200, {"metadata": {"resourceVersion": "5"}}), (200, lines)]
    changes = kubernetes.changes("x=y", 5)
    assert [await anext(changes), await anext(changes)] == ["", "p"]
    with pytest.raises(Outdated, match="ended"):
        await anext(changes)
    assert server.asked[1].query["resourceVersion"] == "5"


async def test_the_rights_that_are_lacking_are_named(
    server: Server, kubernetes: Kubernetes
) -> None:
    server.answers = [(201, {"status": {"allowed": False}})]
    assert "create pods/exec" in await kubernetes.denied()


async def test_cordoned_nodes_are_asked_for_and_pods_of_one_node(
    server: Server, kubernetes: Kubernetes
) -> None:
    server.answers = [(200, {"items": [{"metadata": {"name": "node2"}}]})]
    assert await kubernetes.cordoned() == ["node2"]
    assert (server.asked[0].path, server.asked[0].query["fieldSelector"]) == (
        "/api/v1/nodes", "spec.unschedulable=true",
    )  # fmt: skip
    await kubernetes.pods("x=y", node="node2")
    assert server.asked[1].query["fieldSelector"] == "spec.nodeName=node2"


async def test_a_right_to_see_nodes_is_of_no_namespace(
    server: Server, kubernetes: Kubernetes
) -> None:
    server.answers = [(201, {"status": {"allowed": True}})]
    assert await kubernetes.may_see_nodes()
    (asked,) = server.bodies
    assert asked["spec"]["resourceAttributes"] == {"verb": "list", "resource": "nodes"}


async def test_no_server_at_all_is_said_with_where_it_should_be(tmp_path: Path) -> None:
    kubernetes = Kubernetes(kubeconfig(tmp_path, "http://127.0.0.1:9"))
    with pytest.raises(DriverUnavailable, match=r"no Kubernetes listens at http://127\.0\.0\.1:9"):
        await kubernetes.version()
    await kubernetes.aclose()


@pytest.mark.parametrize("text", ["", "{", "[]", "clusters: 7", "current-context: x", "\0"])
async def test_a_kubeconfig_that_is_none_is_said(text: str, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    kubernetes = Kubernetes(Options(kubeconfig=str(file)))
    with pytest.raises(DriverUnavailable, match="KUBECONFIG"):
        await kubernetes.version()


async def test_a_missing_kubeconfig_is_said_once_and_by_us(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DriverUnavailable, match="KUBECONFIG"):
        await address_of(Options(kubeconfig=str(tmp_path / "none")))
    assert caplog.records == []
