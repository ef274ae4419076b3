"""The text messages of both WebSocket protocols as one JSON Schema, made from their types.

Binary messages (assay.v1's output and input) have no JSON; docs/api.md says what their bytes are.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from assay.api import stream

_REFERENCE: Final = "#/$defs/{name}"
_EXTRA: Final = {"additionalProperties": False}
_POSEIDON: Final[dict[str, Any]] = {
    "title": "What a client without a subprotocol gets, as Poseidon sends it",
    "oneOf": [
        {
            "type": "object",
            "properties": {"type": {"enum": ["start", "timeout"]}},
            "required": ["type"],
            **_EXTRA,
        },
        {
            "type": "object",
            "properties": {
                "type": {"enum": ["stdout", "stderr", "error"]},
                "data": {"type": "string"},
            },
            "required": ["type", "data"],
            **_EXTRA,
        },
        {
            "type": "object",
            "properties": {
                "type": {"const": "exit"},
                "data": {"type": "integer", "minimum": 0, "maximum": 255},
            },
            "required": ["type", "data"],
            **_EXTRA,
        },
    ],
}
Side = Literal["poseidon.server", "assay.v1.server", "assay.v1.client"]


def stream_schema() -> dict[str, Any]:
    """The schema: one definition for each protocol and side that sends JSON."""
    (server, client), definitions = msgspec.json.schema_components(
        (stream.FromServer, stream.FromClient), ref_template=_REFERENCE
    )
    for definition in definitions.values():
        definition.update(_EXTRA)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Text messages of Assay's WebSockets",
        "description": "Validate against #/$defs/poseidon.server, assay.v1.server, assay.v1.client",
        "anyOf": [
            {"$ref": "#/$defs/poseidon.server"},
            {"$ref": "#/$defs/assay.v1.server"},
            {"$ref": "#/$defs/assay.v1.client"},
        ],
        "$defs": {
            "poseidon.server": _POSEIDON,
            "assay.v1.server": {"title": "What a client of assay.v1 gets", **server},
            "assay.v1.client": {"title": "What a client of assay.v1 sends", **client},
            **dict(sorted(definitions.items())),
        },
    }
