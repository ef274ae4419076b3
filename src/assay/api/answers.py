"""Answers as they are made everywhere: JSON, or nothing."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web

encode: Final = msgspec.json.Encoder().encode
_JSON: Final = {"Content-Type": "application/json"}


def json(value: Any, *, status: int = 200) -> web.Response:
    """An answer with a body of JSON."""
    return web.Response(body=encode(value), status=status, headers=_JSON)


def empty(status: int = 204) -> web.Response:
    """An answer with a body of no length."""
    return web.Response(status=status)
