"""A face of the API for clients of another system: where they call, how they show who they are, and
what they are told when something goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Face:
    """What routes of one prefix have in common."""

    prefix: str
    credentials: Callable[[Mapping[str, str]], Mapping[str, str]]
    """From their header fields to those that the authenticator knows."""
    answer: Callable[[Exception, web.Request], web.Response]
    """To an error."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of every answer."""
