"""Files that clients send once and name in many runs."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from assay.api.endpoint import read_body
from assay.api.errors import HttpError
from assay.api.jobe.face import FACE
from assay.api.jobe.spec import SentFile
from assay.api.route import Call, Route
from assay.api.services import Sent
from assay.domain.errors import InvalidInput
from assay.runners import FileToWrite
from assay.storage.file_cache import SentFiles


async def _put(call: Call) -> web.StreamResponse:
    body = await read_body(call.request, call.services.settings.most_body_bytes)
    content = _content(body)
    key = call.caller.token_id, call.request.match_info["file_id"]
    try:
        await _cache(call).put(*key, content)
        call.services.sent_now.pop(key, None)  # who comes now gets this one
    except OSError as error:
        raise HttpError("file_not_kept", f"the file could not be kept: {error.strerror}") from error
    return web.Response(status=204)


async def _head(call: Call) -> web.StreamResponse:
    there = await _cache(call).has(call.caller.token_id, call.request.match_info["file_id"])
    return web.Response(status=204 if there else 404)


async def files_of(call: Call, sent: tuple[SentFile, ...]) -> Mapping[str, Sent]:
    """What was sent before, by id.

    Raises HttpError with 404: something is missing, so send all again. Raises InvalidInput for
    more than a request may hold: a short list may name a file often.
    """
    known: dict[str, Sent] = {}
    left = call.services.settings.most_body_bytes
    for each in sent:
        if each.id not in known:
            known[each.id] = await _read(call, each.id)
        content = known[each.id].content
        if content is None:
            said = f"the file {each.id} of file_list is not here: PUT it"
            raise HttpError("no_such_file", said)
        left -= len(content)
        if left < 0:
            raise InvalidInput("the files of file_list are too large together")
    return known


async def _read(call: Call, file_id: str) -> Sent:
    key = call.caller.token_id, file_id
    found = call.services.sent_now.setdefault(key, Sent())
    async with found.reading:
        if found.content is None:
            found.content = await _cache(call).get(*key)
    return found


def to_write(sent: tuple[SentFile, ...], known: Mapping[str, Sent]) -> tuple[FileToWrite, ...]:
    """The files of a request."""
    return tuple(
        FileToWrite(path=each.name, content=known[each.id].content or b"") for each in sent
    )


def _cache(call: Call) -> SentFiles:
    assert call.services.sent_files is not None
    return call.services.sent_files


def _content(body: bytes | bytearray) -> bytes:
    try:
        sent: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise InvalidInput("the body is no JSON") from error
    text = sent.get("file_contents") if isinstance(sent, dict) else None
    if not isinstance(text, str):
        raise InvalidInput("the body has no file_contents, a string of base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"file_contents is no base64: {error}") from error


ROUTES: Final = (
    Route(
        method="PUT",
        path="/files/{file_id}",
        handler=_put,
        summary="Keep a file for runs to come",
        responses={204: None},
        problems=(413, 415, 507),
        face=FACE,
    ),
    Route(
        method="HEAD",
        path="/files/{file_id}",
        handler=_head,
        summary="Whether a file is kept",
        responses={204: None},
        problems=(404,),
        face=FACE,
    ),
)
