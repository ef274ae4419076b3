"""What holds for every route: errors, methods, what is open to whom."""

from __future__ import annotations

from api_server import Counts, Offered, Pools, Serve, services

from assay.api import Answered, ApiSettings
from assay.api.errors import STATUS
from assay.domain import errors
from assay.environments.served import ServedEnvironment


def test_every_error_of_the_tree_has_a_status() -> None:
    codes = {
        each.code
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.AssayError)
    }
    assert codes <= set(STATUS)


async def test_the_version_is_a_json_string(serve: Serve) -> None:
    client = await serve(services(version="1.2.3"))
    async with client.get("version") as answer:
        assert (answer.status, await answer.json()) == (200, "1.2.3")


async def test_health_is_silence_until_a_pool_runs_dry(serve: Serve) -> None:
    environment = ServedEnvironment(name="21", image="x", pool_size=10)
    pool = Pools({"21": Counts(idle=5)})
    settings = ApiSettings(depleting_below=0.5)
    offered = Offered({"21": environment})
    client = await serve(services(pool=pool, environments=offered, settings=settings))
    async with client.get("health") as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    pool.counts["21"] = Counts(idle=4)
    async with client.get("health") as answer:
        assert answer.status == 503
        assert await answer.json() == {
            "message": "the prewarming pool is depleting: environments 21",
            "errorCode": "PREWARMING_POOL_DEPLETING",
        }


async def test_unknown_paths_and_methods_have_answers_without_a_body(serve: Serve) -> None:
    client = await serve(services())
    for method, path, status in (
        ("GET", "nowhere", 404),
        ("GET", "/", 404),
        ("POST", "version", 405),
        ("HEAD", "version", 405),
    ):
        async with client.request(method, path) as answer:
            assert (answer.status, await answer.read()) == (status, b"")
    async with client.post("version") as answer:
        assert answer.headers["Allow"] == "GET"


async def test_who_accepts_problem_details_gets_them(serve: Serve) -> None:
    client = await serve(services())
    headers = {"Accept": "application/problem+json"}
    async with client.get("nowhere", headers=headers) as answer:
        assert answer.content_type == "application/problem+json"
        assert (await answer.json(content_type=None))["code"] == "no_such_route"


async def test_every_answer_is_an_event(serve: Serve) -> None:
    seen: list[Answered] = []
    client = await serve(services(on_event=seen.append))
    for path in ("version", "nowhere"):
        async with client.get(path) as answer:
            await answer.read()
    assert [(each.route, each.status) for each in seen] == [("/version", 200), ("", 404)]
