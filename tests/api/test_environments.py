"""Environments over HTTP: Poseidon's by number, and all of them in full."""

from __future__ import annotations

from typing import Any

import pytest
from api_server import Counts, Offered, Pools, Serve, services

from assay.api import ApiSettings
from assay.environments.served import Origin, ServedEnvironment

POSEIDONS = {
    "id": 7,
    "image": "openhpi/co_execenv_python:3.8",
    "prewarmingPoolSize": 5,
    "cpuLimit": 20,
    "memoryLimit": 100,
    "networkAccess": False,
    "exposedPorts": None,
}
URL = "execution-environments/21"


async def test_put_creates_then_replaces_with_bodies_of_no_length(serve: Serve) -> None:
    offered = Offered()
    client = await serve(services(environments=offered))
    for status in (201, 204):
        async with client.put(URL, json=POSEIDONS) as answer:
            assert (answer.status, await answer.read()) == (status, b"")
    expected = POSEIDONS | {"id": 21, "exposedPorts": []}  # the path's id counts
    async with client.get(f"{URL}?fetch=true") as answer:
        assert await answer.json() == expected
    async with client.get("execution-environments") as answer:
        assert await answer.json() == {"executionEnvironments": [expected]}
    made = offered.get("21")
    assert made.sandbox.memory_bytes == 100 * 2**20
    assert made.sandbox.disk_bytes == 50 * 2**20
    async with client.delete(URL) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    for method in ("DELETE", "GET"):
        async with client.request(method, URL) as answer:
            assert (answer.status, await answer.read()) == (404, b"")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"image": 5}',
        b'{"image": "x", "memoryLimit": "100"}',
        b'{"image": "x", "memoryLimit": 1}',
        b'{"image": "x", "memoryLimit": -1}',
        b'{"image": "x", "memoryLimit": 1e30}',
        b'{"image": "x", "memoryLimit": 99999999999999999999}',
        b'{"image": "x", "prewarmingPoolSize": -1}',
        b'{"image": "x", "prewarmingPoolSize": 99999999999999999999}',
        b'{"image": "x", "cpuLimit": -1}',
        b'{"image": "x", "cpuLimit": NaN}',
        b'{"image": "x", "cpuLimit": 1e308}',
        b'{"image": "x", "exposedPorts": [0]}',
        b'{"image": "x", "exposedPorts": [80, 80]}',
        b'{"image": "x\\u0000"}',
        b'{"image": "host"}',
        b'{"image": "/etc"}',
        b'{"image": "./x"}',
        b'{"image": "\xff"}',
        b"[" * 100_000,
    ],
    ids=repr,
)
async def test_nonsense_is_a_bad_request_with_a_message(serve: Serve, body: bytes) -> None:
    client = await serve(services())
    async with client.put(URL, data=body) as answer:
        assert answer.status == 400
        words = await answer.json()
        assert list(words) == ["message"]
        assert len(words["message"]) > 5


async def test_unknown_fields_are_ignored_and_any_content_type_will_do(serve: Serve) -> None:
    client = await serve(services())
    body = b'{"image": "x", "\\u00e4": [1], "cpuLimit": 20.5, "prewarmingPoolSize": null}'
    async with client.put(URL, data=body, headers={"Content-Type": "text/html"}) as answer:
        assert answer.status == 201


async def test_what_is_no_number_is_not_found(serve: Serve) -> None:
    client = await serve(services())
    for name in ("python", "-1", "1.5", "٣", "1" * 40):
        async with client.put(f"execution-environments/{name}", json=POSEIDONS) as answer:
            assert (answer.status, await answer.read()) == (404, b"")
    async with client.get("execution-environments?fetch=perhaps") as answer:
        assert answer.status == 400


async def test_host_is_an_image_where_the_operator_says_so(serve: Serve) -> None:
    client = await serve(services(settings=ApiSettings(host_image=True)))
    async with client.put(URL, json=POSEIDONS | {"image": "host"}) as answer:
        assert answer.status == 201


async def test_names_are_hidden_from_poseidons_clients_and_shown_in_full(serve: Serve) -> None:
    python = ServedEnvironment(name="python", language="python", origin=Origin.CONFIGURATION)
    offered = Offered({"python": python})
    client = await serve(services(environments=offered))
    async with client.get("execution-environments") as answer:
        assert await answer.json() == {"executionEnvironments": []}
    async with client.get("environments") as answer:
        (shown,) = (await answer.json())["environments"]
    assert (shown["name"], shown["origin"]) == ("python", "configuration")
    assert shown["sandbox"]["memoryBytes"] == python.sandbox.memory_bytes
    definition: dict[str, Any] = {"language": "c", "poolSize": 3, "sandbox": {"processes": 9}}
    async with client.put("environments/c", json=definition) as answer:
        assert answer.status == 201
    async with client.get("environments/c") as answer:
        shown = await answer.json()
    assert (shown["poolSize"], shown["sandbox"]["processes"]) == (3, 9)
    async with client.put("environments/C!", json=definition) as answer:
        assert (answer.status, answer.content_type) == (400, "application/problem+json")
    async with client.delete("environments/nothing") as answer:
        assert answer.status == 404
        assert (await answer.json(content_type=None))["code"] == "unknown_environment"


async def test_statistics_have_numbers_as_texts_for_keys(serve: Serve) -> None:
    offered = Offered({"21": ServedEnvironment(name="21", image="x", pool_size=50)})
    pool = Pools({"21": Counts(target=50, idle=45, used=20, last_error="disk full")})
    client = await serve(services(environments=offered, pool=pool))
    async with client.get("statistics/execution-environments") as answer:
        assert await answer.json() == {
            "21": {"id": 21, "prewarmingPoolSize": 50, "idleRunners": 45, "usedRunners": 20}
        }
    async with client.get("pool") as answer:
        pools = (await answer.json())["environments"]
        assert pools["21"]["lastError"] == "disk full"
