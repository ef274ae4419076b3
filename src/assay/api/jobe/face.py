"""Where Jobe's clients call, how they show a key, and what they understand of errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from assay.api.answers import encode
from assay.api.errors import STATUS, HttpError, log_unexpected, told
from assay.api.face import Face
from assay.api.limits import refusal_fields
from assay.api.route import Call, Route
from assay.domain.errors import AssayError, Busy, NotAllowed, UnknownEnvironment

PREFIX: Final = "/jobe/index.php/restapi"
KEY: Final = "X-API-KEY"
_JSON: Final = "application/json"


def credentials(headers: Mapping[str, str]) -> Mapping[str, str]:
    """A key is a token, sent under another name."""
    key = headers.get(KEY)
    if not key:
        return headers
    shown = CIMultiDict(headers)
    shown.popall("Poseidon-Token", None)
    shown["Authorization"] = f"Bearer {key}"
    return shown


def answer(error: Exception, request: web.Request) -> web.Response:
    """A status that its clients know, and a JSON string for a person to read."""
    if not isinstance(error, AssayError):
        log_unexpected(error, request)
        error = AssayError("an error inside of the server; its log says more")
    headers = dict(error.headers) if isinstance(error, HttpError) else {}
    if isinstance(error, Busy):
        headers |= refusal_fields(error)
    return web.Response(
        body=encode(told(error)),
        status=_status(error),
        headers=headers,
        content_type=_JSON,
    )


def _status(error: AssayError) -> int:
    if isinstance(error, NotAllowed):
        return 403
    if isinstance(error, UnknownEnvironment):
        return 400
    return STATUS[error.http_code if isinstance(error, HttpError) else error.code]


async def _preflight(_: Call) -> web.StreamResponse:
    return web.Response(status=204)


FACE: Final = Face(
    prefix=PREFIX,
    credentials=credentials,
    answer=answer,
    # A page that has a key may call; one without a key gets nothing that it could not get anyhow.
    headers={
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Headers": f"{KEY}, Authorization, Content-Type, Accept",
        "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS, POST, PUT",
    },
)
preflight: Final = Route(
    method="OPTIONS",
    path="/{rest:.*}",
    handler=_preflight,
    summary="What a page of another origin may do here",
    scope=None,
    responses={204: None},
    face=FACE,
    exact=False,
)
