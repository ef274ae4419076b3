"""What machines ask the server about itself: whether it is ready, metrics, documents."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

from aiohttp import web

from assay.api.answers import empty
from assay.api.route import Call, Route
from assay.domain.errors import Draining

OPENAPI: Final = "openapi.json"
STREAM_SCHEMA: Final = "stream.schema.json"
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


@cache
def document(name: str) -> bytes:
    """One of the documents beside this module, as it was committed."""
    return (files("assay.api") / name).read_bytes()


async def _ready(call: Call) -> web.StreamResponse:
    if not call.services.ready():
        raise Draining("the server starts, or is about to stop")
    return empty()


async def _metrics(call: Call) -> web.StreamResponse:
    return web.Response(body=call.services.metrics(), headers={"Content-Type": _PROMETHEUS})


async def _openapi(call: Call) -> web.StreamResponse:
    return web.Response(body=document(OPENAPI), content_type="application/json")


async def _stream_schema(call: Call) -> web.StreamResponse:
    return web.Response(body=document(STREAM_SCHEMA), content_type="application/schema+json")


ROUTES: Final = (
    Route(
        method="GET",
        path="/ready",
        handler=_ready,
        summary="Whether the server takes new work: it has started, and does not drain",
        scope=None,
        responses={204: None},
        problems=(503,),
    ),
    Route(
        method="GET",
        path="/metrics",
        handler=_metrics,
        summary="Metrics for Prometheus",
        scope="read",
        responses={200: bytes},
    ),
    Route(
        method="GET",
        path=f"/{OPENAPI}",
        handler=_openapi,
        summary="This document",
        scope=None,
        responses={200: bytes},
    ),
    Route(
        method="GET",
        path=f"/{STREAM_SCHEMA}",
        handler=_stream_schema,
        summary="The messages of both WebSocket protocols, as JSON Schema",
        scope=None,
        responses={200: bytes},
    ),
)
