"""What no database takes is refused at the door, and no answer names what is behind it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from graded_server import GradedServer, graded_server
from tests.storage.conftest import postgres, postgres_url
from tests.storage.postgres import Postgres

from assay.api.openapi import openapi
from assay.api.route import PREFIX
from assay.domain.token import Scope

__all__ = ["postgres", "postgres_url"]

OPERATIONS = [
    (method, path, operation)
    for path, methods in openapi()["paths"].items()
    for method, operation in methods.items()
    if method != "parameters"
]


@pytest.fixture
async def server(tmp_path: Path, postgres_url: str) -> AsyncIterator[GradedServer]:
    async with graded_server(tmp_path, postgres_url) as made:
        yield made


def asked_with(text: str) -> list[tuple[str, str]]:
    """Every method of every path, with the text as each of its parts and its parameters in turn."""
    asked = []
    for method, path, operation in OPERATIONS:
        names = re.findall(r"{(\w+)}", path)
        known = {name: "algebra" if name == "course" else "sum" for name in names}
        for name in names:
            if name != "path":  # that one is the learner's program's
                asked.append((method, path.format(**{**known, name: text})))
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query":
                asked.append((method, f"{path.format(**known)}?{parameter['name']}={text}"))
    return asked


@pytest.mark.parametrize("text", ["a%00b", "%00"])
async def test_a_nul_is_the_askers_mistake_wherever_it_is(
    server: GradedServer, postgres: Postgres, text: str
) -> None:
    everything = await server.token(*Scope)
    asked = asked_with(text)
    assert len(asked) > 70
    for method, path in asked:
        assert path.startswith((PREFIX, "/jobe"))
        url = f"{server.url}{path}"
        async with server.http.request(method, url, headers=everything, json={}) as answer:
            said = await answer.text()
            assert answer.status in (400, 404), (method, path, answer.status, said)
            if method != "head" and answer.status == 400:
                assert "NUL" in said, (method, path, said)
            assert str(postgres.folder) not in said


@pytest.mark.parametrize(
    "text", ["%ED%A0%80", "%FF", "%F4%90%80%80", "99999999999999999999", "%0A"]
)
async def test_other_odd_texts_are_no_failure_of_the_database(
    server: GradedServer, text: str
) -> None:
    everything = await server.token(*Scope)
    for method, path in asked_with(text):
        if "/runners" in path or "/run" in path or "/events" in path or "/jobe" in path:
            continue  # this server has no runners, and events have no end
        async with server.http.request(
            method, f"{server.url}{path}", headers=everything, json={}
        ) as answer:
            assert answer.status < 500, (method, path, answer.status, await answer.text())


async def test_a_database_that_is_away_is_not_named(
    server: GradedServer, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.storage.submissions.store.PATIENCE_SECONDS", 0.2)
    everything = await server.token(*Scope)
    assert (await server.ask("GET", "/submissions", everything))[0] == 200
    postgres.stop()
    try:
        status, answer = await server.ask("GET", "/submissions", everything)
    finally:
        postgres.start()
    assert (status, answer["code"]) == (503, "storage_error")
    assert "database" in answer["detail"]
    assert str(postgres.folder) not in str(answer)
    assert "postgresql" not in str(answer)
