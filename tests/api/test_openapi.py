"""The committed documents say what the code does."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
import schemathesis
from api_server import Serve, services
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from assay.api import stream
from assay.api.errors import STATUS
from assay.api.openapi import documents, main, openapi
from assay.api.route import PREFIX, Route
from assay.api.routes import ROUTES
from assay.api.stream_schema import stream_schema
from assay.api.system import document

METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    paths = openapi()["paths"]
    return {
        (method, path): operation
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method in METHODS
    }


def test_the_committed_documents_are_those_of_the_code() -> None:
    for name, text in documents().items():
        assert document(name).decode() == text, "run: python -m assay.api.openapi"


def test_the_check_finds_a_document_that_is_not(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("assay.api.openapi.FOLDER", tmp_path)
    assert main(["--check"]) == 1
    assert "python -m assay.api.openapi" in capsys.readouterr().err
    assert main([]) == 0
    assert main(["--check"]) == 0


def test_the_document_is_of_openapi_3_1() -> None:
    OPENAPI_31_VALIDATOR.validate(openapi())
    found = schemathesis.openapi.from_dict(openapi()).get_all_operations()
    assert len([each.ok() for each in found]) == len(ROUTES)


def test_every_route_is_in_it_once_and_says_what_it_is_for() -> None:
    assert len(operations()) == len(ROUTES)
    identities = [operation["operationId"] for operation in operations().values()]
    assert len(set(identities)) == len(identities)
    assert all(operation["summary"] for operation in operations().values())


def test_every_variable_of_a_path_is_a_parameter() -> None:
    for (_, path), operation in operations().items():
        named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert set(re.findall(r"\{(\w+)\}", path)) == named


def test_every_status_that_a_route_can_have_is_in_it() -> None:
    for (_, path), operation in operations().items():
        statuses = set(operation["responses"])
        if "security" not in operation:
            assert {"400", "401", "403", "429", "500", "503"} <= statuses
        if "{runner_id}" in path:
            assert "410" in statuses
        if "requestBody" in operation:
            assert {"413", "415"} <= statuses


def test_every_status_of_the_table_has_a_description() -> None:
    from assay.api.openapi import DESCRIPTIONS

    assert set(STATUS.values()) - {405} <= set(DESCRIPTIONS)


def test_only_what_tells_nothing_is_open() -> None:
    opened = {
        path for (_, path), operation in operations().items() if operation.get("security") == []
    }
    names = ("health", "version", "ready", "openapi.json", "stream.schema.json")
    assert opened == {f"{PREFIX}/{name}" for name in names}


def test_a_route_that_changes_changes_the_document() -> None:
    async def handler(call: Any) -> Any:
        raise AssertionError

    route = Route(method="GET", path="/new/{name}", handler=handler, summary="New")
    assert f"{PREFIX}/new/{{name}}" in openapi([route])["paths"]


async def test_the_server_hands_them_out(serve: Serve) -> None:
    client = await serve(services())
    async with client.get("openapi.json") as answer:
        assert (await answer.json())["openapi"] == "3.1.0"
    async with client.get("stream.schema.json") as answer:
        assert "$defs" in await answer.json(content_type=None)


def test_the_streams_schema_is_one_and_knows_every_message() -> None:
    schema = stream_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for message in (*stream.FromServer.__args__, *stream.FromClient.__args__):
        assert message.__name__ in schema["$defs"]


@pytest.mark.parametrize(
    ("side", "message", "good"),
    [
        ("poseidon.server", {"type": "start"}, True),
        ("poseidon.server", {"type": "timeout"}, True),
        ("poseidon.server", {"type": "stdout", "data": "x"}, True),
        ("poseidon.server", {"type": "exit", "data": 255}, True),
        ("poseidon.server", {"type": "exit", "data": 256}, False),
        ("poseidon.server", {"type": "exit"}, False),
        ("poseidon.server", {"type": "start", "data": "x"}, False),
        ("poseidon.server", {"type": "input", "offset": 0, "closed": False}, False),
        ("assay.v1.server", {"type": "input", "offset": 0, "closed": False}, True),
        ("assay.v1.server", {"type": "input", "offset": 0}, False),
        ("assay.v1.server", {"type": "error", "code": "x", "message": "y", "more": 1}, False),
        ("assay.v1.client", {"type": "bye"}, True),
        ("assay.v1.client", {"type": "ack", "offset": 7}, True),
        ("assay.v1.client", {"type": "ack", "offset": -7}, False),
        ("assay.v1.client", {"type": "hello"}, False),
    ],
)
def test_the_streams_schema_tells_messages_from_others(
    side: str, message: dict[str, Any], good: bool
) -> None:
    schema = json.loads(document("stream.schema.json"))
    validator = jsonschema.Draft202012Validator({**schema, "anyOf": [{"$ref": f"#/$defs/{side}"}]})
    assert validator.is_valid(message) is good
