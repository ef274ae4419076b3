"""The API as an OpenAPI 3.1 document, and its streams as JSON Schema, made from the code.

python -m assay.api.openapi            writes both files beside this module
python -m assay.api.openapi --check    says whether they are what the code says
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec

from assay.api.errors import PROBLEM_JSON, ClientError, Problem, ServerError
from assay.api.route import PREFIX, Parameter, Route
from assay.api.routes import ROUTES
from assay.api.stream_schema import stream_schema
from assay.api.system import OPENAPI, STREAM_SCHEMA

Json = dict[str, Any]
FOLDER: Final = Path(__file__).parent
_VARIABLE: Final = re.compile(r"\{(?P<name>[a-z_]+)(?::(?P<pattern>[^{}]*))?\}")
_TYPES: Final[Mapping[type, str]] = {
    str: "string", int: "integer", float: "number", bool: "boolean",
}  # fmt: skip
_REFERENCE: Final = "#/components/schemas/{name}"
_EVERYWHERE: Final = (400, 500)
"""Statuses that any request can have: its header may be wrong, or the server."""
_AT_THE_DOOR: Final = (401, 403, 429)
_VARIABLES: Final[Mapping[str, str]] = {
    "runner_id": "A runner, as `POST /runners` named it",
    "execution_id": "An execution, as `execute` named it",
    "environment_id": "The number of an environment",
    "port": "A port that the runner's environment exposes",
    "path": "What the learner's program gets as its path",
    "name": "The name of an environment",
    "regrade_id": "A campaign, as `POST /courses/{course}/regrades` named it",
    "token_id": "The id of a token, not its text",
}
DESCRIPTIONS: Final[Mapping[int, str]] = {
    400: "What was asked for makes no sense",
    401: "A token is missing, or not known",
    403: "The token may not do this",
    404: "There is no such thing",
    409: "Something else has changed it, or ended it, meanwhile",
    410: "The lease is over, or never was",
    413: "More bytes than a request may have",
    415: "The body is compressed",
    416: "Output before that offset is no longer kept",
    421: "Another server has the runner by now",
    424: "A file operation failed",
    429: "More, or more often, than the token may",
    500: "The server, or what it drives, failed",
    502: "Nothing usable answers on the port",
    503: "Not now",
    507: "The disk is full",
}


def openapi(routes: Sequence[Route] = ROUTES) -> Json:
    """The document of these routes."""
    components = _components(routes)
    paths: Json = {}
    for route in routes:
        path = PREFIX + _VARIABLE.sub(_variable, route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, components)
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Assay",
            "version": "1",
            "summary": "Runs programs of strangers in warm sandboxes",
            "description": "A superset of Poseidon's API. docs/api.md explains it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"poseidon": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components.schemas,
            "responses": _shared_responses(components),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "poseidon": {"type": "apiKey", "in": "header", "name": "Poseidon-Token"},
            },
        },
    }
    _drop_unused(document)
    return document


def _drop_unused(document: Json) -> None:
    used = msgspec.json.encode(document["paths"]).decode()
    responses = document["components"]["responses"]
    for name in [name for name in responses if f'/{name}"' not in used]:
        del responses[name]


class _Components:
    """Schemas of all types that are sent or received, and references to them."""

    def __init__(self, types: Iterable[Any]) -> None:
        self._types = list(dict.fromkeys(types))
        found, self.schemas = msgspec.json.schema_components(self._types, ref_template=_REFERENCE)
        self._found = list(found)

    def schema(self, kind: Any) -> Json:
        """The schema of a type, a reference where it has a name."""
        found: Json = self._found[self._types.index(kind)]
        return found


def _components(routes: Sequence[Route]) -> _Components:
    types: list[Any] = [Problem, ClientError, ServerError]
    for route in routes:
        types += [route.request] if route.request is not None else []
        types += [kind for kind in route.responses.values() if kind not in (None, bytes)]
    return _Components(types)


def _operation(route: Route, components: _Components) -> Json:
    operation: Json = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [_tag(route)],
        "parameters": [
            *(_path_parameter(match) for match in _VARIABLE.finditer(route.path)),
            *(_query_parameter(parameter) for parameter in route.parameters),
        ],
        "responses": _responses(route, components),
    }
    if route.scope is None:
        operation["security"] = []
    else:
        operation["x-scope"] = str(route.scope)
    if route.request is not None:
        schema = components.schema(route.request)
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _responses(route: Route, components: _Components) -> Json:
    responses = {
        str(status): _success(status, kind, components) for status, kind in route.responses.items()
    }
    for status in _statuses_of_problems(route):
        responses.setdefault(str(status), _problem(route, status))
    if not route.exact:
        responses["default"] = {"description": "What the learner's program answers"}
    return dict(sorted(responses.items()))


def _statuses_of_problems(route: Route) -> list[int]:
    statuses = {*_EVERYWHERE, *route.problems}
    if route.scope is not None:
        statuses |= {*_AT_THE_DOOR, 503}  # the door asks the database
    if route.request is not None:
        statuses |= {413, 415}
    if route.of_runner:
        statuses |= {410, 503}
    return sorted(statuses)


def _success(status: int, kind: Any, components: _Components) -> Json:
    response: Json = {"description": HTTPStatus(status).phrase}
    if kind is bytes:
        response["content"] = {"*/*": {}}
    elif kind is not None:
        response["content"] = {"application/json": {"schema": components.schema(kind)}}
    return response


def _problem(route: Route, status: int) -> Json:
    if not route.poseidon:
        kind = "Problem"
    elif status in route.silent or status == 401:
        kind = "Silent"
    else:
        kind = "Poseidon"
    return {"$ref": f"#/components/responses/{kind}{status}"}


def _shared_responses(components: _Components) -> Json:
    """Answers of errors, alike everywhere: of our shape, of Poseidon's, and empty ones."""
    problem = {"schema": components.schema(Problem)}
    responses: Json = {}
    for status, description in DESCRIPTIONS.items():
        shape = components.schema(ServerError if status >= 500 else ClientError)
        shared = {"description": description, **_fields(status)}
        responses[f"Problem{status}"] = {**shared, "content": {PROBLEM_JSON: problem}}
        responses[f"Poseidon{status}"] = {
            **shared,
            "content": {"application/json": {"schema": shape}, PROBLEM_JSON: problem},
        }
        responses[f"Silent{status}"] = shared
    return responses


def _fields(status: int) -> Json:
    if status != 429:
        return {}
    left = "What is left (r), and in how many seconds there is more (t)"
    return {
        "headers": {
            "Retry-After": {"description": "Seconds", "schema": {"type": "integer"}},
            "RateLimit": {"description": left, "schema": {"type": "string"}},
        }
    }


def _path_parameter(match: re.Match[str]) -> Json:
    name, pattern = match["name"], match["pattern"]
    schema: Json = {"type": "string"}
    if pattern is not None and name != "path":
        schema["pattern"] = f"^(?:{pattern})$"
    elif name == "port":
        schema = {"type": "integer", "minimum": 1, "maximum": 65535}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": _VARIABLES.get(name, name),
        "schema": schema,
    }


def _query_parameter(parameter: Parameter) -> Json:
    schema: Json = {"type": _TYPES[parameter.type]}
    if parameter.type is int:
        schema["minimum"] = 0
    if parameter.default is not None:
        schema["default"] = parameter.default
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.summary,
        "schema": schema,
    }


def _variable(match: re.Match[str]) -> str:
    """A variable as OpenAPI writes it; a rest of any length begins with a slash of its own."""
    return "/{path}" if match["name"] == "path" else f"{{{match['name']}}}"


def _operation_id(route: Route) -> str:
    words = re.findall(r"[a-z0-9]+", _VARIABLE.sub(lambda match: f"by_{match['name']}", route.path))
    return "_".join((route.method.lower(), *words))


def _tag(route: Route) -> str:
    return route.path.split("/")[1].partition("{")[0]


def text_of(document: Json) -> str:
    """A document as it is committed."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def documents() -> Mapping[str, str]:
    """What the files beside this module should hold."""
    return {OPENAPI: text_of(openapi()), STREAM_SCHEMA: text_of(stream_schema())}


def main(arguments: Sequence[str]) -> int:
    """Write both files, or with --check say whether they are right."""
    status = 0
    for name, text in documents().items():
        path = FOLDER / name
        if "--check" not in arguments:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.stderr.write(f"{path} is not what the code says: python -m assay.api.openapi\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
