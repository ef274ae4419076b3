"""Who is let in, over real HTTP, with a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from api_server import Serve, services

from assay.api import Services
from assay.api.auth import Authenticator
from assay.domain.token import Scope
from assay.storage.database import Storage
from assay.storage.tokens import issue_token

SECRET = "the-shared-secret-of-poseidon"
GUARDED = ("statistics/execution-environments", "metrics", "tokens", "events")


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    tmp_path.chmod(0o700)
    storage = await Storage.open(f"sqlite:///{tmp_path}/server.db")
    yield storage
    await storage.aclose()


@pytest.fixture
def guarded(storage: Storage) -> Services:
    authenticator = Authenticator(storage, shared_secret=SECRET)
    return services(authenticator=authenticator, tokens=storage)


async def token_of(storage: Storage, *scopes: str, **quotas: float) -> dict[str, str]:
    text, record = issue_token(name="a test", scopes=scopes, now=storage.clock(), **quotas)
    await storage.add_token(record)
    return {"Authorization": f"Bearer {text}"}


async def ask(
    client: aiohttp.ClientSession, path: str, headers: dict[str, str] | None = None
) -> tuple[int, bytes, aiohttp.ClientResponse]:
    async with client.get(path, headers=headers) as answer:
        return answer.status, await answer.read(), answer


async def test_only_health_version_ready_and_documents_are_open(
    serve: Serve, guarded: Services
) -> None:
    client = await serve(guarded)
    for path in ("health", "version", "ready"):
        assert (await ask(client, path))[0] in (200, 204)
    for path in GUARDED:
        for headers in ({}, {"Poseidon-Token": "wrong"}, {"Authorization": "Bearer wrong"}):
            assert (await ask(client, path, headers))[0] == 401


async def test_poseidons_routes_say_nothing_to_strangers_and_others_say_why(
    serve: Serve, guarded: Services
) -> None:
    client = await serve(guarded)
    status, body, _ = await ask(client, "statistics/execution-environments")
    assert (status, body) == (401, b"")
    status, body, answer = await ask(client, "metrics")
    assert status == 401
    assert answer.content_type == "application/problem+json"
    assert b"unauthenticated" in body


async def test_poseidons_header_and_the_shared_secret_open_everything_but_tokens(
    serve: Serve, guarded: Services
) -> None:
    client = await serve(guarded)
    headers = {"Poseidon-Token": SECRET}
    assert (await ask(client, "statistics/execution-environments", headers))[0] == 200
    assert (await ask(client, "metrics", headers))[0] == 200
    status, body, _ = await ask(client, "tokens", headers)
    assert status == 403
    assert b"tokens" in body


async def test_every_scope_opens_its_own_routes_only(
    serve: Serve, guarded: Services, storage: Storage
) -> None:
    client = await serve(guarded)
    opened = {"read": {"metrics"}, "tokens": {"tokens"}, "run": set()}
    for scope, paths in opened.items():
        headers = await token_of(storage, scope)
        for path in ("metrics", "tokens", "events"):
            assert (await ask(client, path, headers))[0] == (200 if path in paths else 403)


async def test_a_token_is_made_used_listed_and_revoked(
    serve: Serve, guarded: Services, storage: Storage
) -> None:
    client = await serve(guarded)
    admin = await token_of(storage, *Scope)
    asked = {"name": "course 7", "scopes": ["read"], "requestsPerSecond": 50, "burst": 3}
    async with client.post("tokens", json=asked, headers=admin) as answer:
        assert answer.status == 201
        assert answer.headers["Cache-Control"] == "no-store"
        made = await answer.json()
    assert made["token"].startswith(made["prefix"])
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert (await ask(client, "metrics", headers))[0] == 200
    status, body, _ = await ask(client, "tokens", admin)
    assert status == 200
    assert made["token"].encode() not in body
    assert made["id"].encode() in body
    async with client.delete(f"tokens/{made['id']}", headers=admin) as answer:
        assert answer.status == 204
    assert (await ask(client, "metrics", headers))[0] == 401
    async with client.delete(f"tokens/{made['id']}", headers=admin) as answer:
        assert answer.status == 404


async def test_nobody_gives_what_they_have_not(
    serve: Serve, guarded: Services, storage: Storage
) -> None:
    client = await serve(guarded)
    clerk = await token_of(storage, "tokens", "read")
    for scopes, status in ((["read"], 201), (["admin"], 403), (["read", "run"], 403), ([], 400)):
        async with client.post(
            "tokens", json={"name": "x", "scopes": scopes}, headers=clerk
        ) as answer:
            assert answer.status == status


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"name": "x"},
        {"name": "x", "scopes": ["everything"]},
        {"name": "x", "scopes": "read"},
        {"name": "", "scopes": ["read"]},
        {"name": " ", "scopes": ["read"]},
        {"name": "x" * 101, "scopes": ["read"]},
        {"name": "a\nb", "scopes": ["read"]},
        {"name": "x", "scopes": ["read"], "burst": 0},
        {"name": "x", "scopes": ["read"], "burst": 2**31},
        {"name": "x", "scopes": ["read"], "lifetimeSeconds": -1},
        {"name": "x", "scopes": ["read"], "requestsPerSecond": 1e400},
    ],
)
async def test_tokens_that_make_no_sense_are_not_made(
    serve: Serve, guarded: Services, storage: Storage, asked: dict[str, object]
) -> None:
    client = await serve(guarded)
    admin = await token_of(storage, *Scope)
    async with client.post("tokens", json=asked, headers=admin) as answer:
        assert answer.status == 400, await answer.text()
        assert (await answer.json(content_type=None))["code"] == "invalid_input"


async def test_a_rate_is_kept_and_its_refusal_says_when_to_come_again(
    serve: Serve, guarded: Services, storage: Storage
) -> None:
    client = await serve(guarded)
    headers = await token_of(storage, "read", requests_per_second=0.5, burst=2)
    statuses = [(await ask(client, "metrics", headers))[0] for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    _, body, answer = await ask(client, "metrics", headers)
    assert 1 <= int(answer.headers["Retry-After"]) <= 2
    assert answer.headers["RateLimit"].startswith('"requests";r=0;t=')
    assert b"rate_limited" in body
    status, body, _ = await ask(client, "statistics/execution-environments", headers)
    assert status == 429
    assert set(__import__("json").loads(body)) >= {"message"}


async def test_guessing_tokens_is_slowed_down(serve: Serve, guarded: Services) -> None:
    client = await serve(guarded)
    statuses = [
        (await ask(client, "metrics", {"Poseidon-Token": f"guess {number}"}))[0]
        for number in range(30)
    ]
    assert statuses[:20] == [401] * 20
    assert statuses[25:] == [429] * 5
    assert (await ask(client, "version"))[0] == 200


async def test_no_token_is_in_any_log(
    serve: Serve, guarded: Services, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    client = await serve(guarded)
    await ask(client, "metrics", {"Poseidon-Token": SECRET})
    await ask(client, "metrics", {"Poseidon-Token": "assay_" + "x" * 32})
    assert SECRET not in caplog.text
    assert "x" * 32 not in caplog.text


async def test_a_server_without_tokens_is_closed_to_pages_of_strangers(serve: Serve) -> None:
    client = await serve(services(authenticator=Authenticator()))
    assert (await ask(client, "metrics"))[0] == 200
    assert (await ask(client, "metrics", {"Origin": "https://evil.example"}))[0] == 403
    assert (await ask(client, "metrics", {"Host": "evil.example"}))[0] == 403
