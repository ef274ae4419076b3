"""Answers as they are made everywhere: JSON, or nothing; and times in them."""

from __future__ import annotations

from datetime import UTC, datetime
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


def time_of(seconds: float) -> datetime:
    """A moment of the database's clock, in seconds since 1970, as answers have it."""
    return datetime.fromtimestamp(seconds, UTC)


def time_or_none(seconds: float | None) -> datetime | None:
    """The same, for what may not have been yet."""
    return None if seconds is None else time_of(seconds)
