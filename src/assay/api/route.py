"""What a route is, as data, and one call of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

import msgspec
from aiohttp import web

from assay.api.auth import Caller
from assay.api.face import Face
from assay.api.origin import ANYWHERE, Origin, origin_of
from assay.api.services import Services
from assay.domain.errors import InvalidInput
from assay.runners import Runner

PREFIX: Final = "/api/v1"
MOST_LISTED: Final = 1000


@dataclass(slots=True, eq=False)
class Call:
    """One request on its way to its handler."""

    request: web.Request
    services: Services
    caller: Caller
    body: Any
    """What was sent, decoded as the route says; None where it takes nothing."""
    found: Runner | None
    """The runner that the path names, if it names one."""
    by_server: bool = False
    """Another server has passed it on, and says from where it comes."""
    began: float = field(default_factory=perf_counter)
    """When its head was there, on this process' own clock."""

    @property
    def seconds(self) -> float:
        """How long ago it began to arrive."""
        return perf_counter() - self.began

    @property
    def most(self) -> int:
        """How many the question wants at most, of what is listed. Raises InvalidInput."""
        text = self.request.query.get("most", "100")
        if not (
            text.isascii() and text.isdecimal() and len(text) < 5 and 1 <= int(text) <= MOST_LISTED
        ):
            raise InvalidInput(f"most is from 1 to {MOST_LISTED}")
        return int(text)

    @property
    def runner(self) -> Runner:
        """The runner that the path names."""
        assert self.found is not None
        return self.found

    @property
    def origin(self) -> Origin:
        """The address under which the client sees this server. Raises InvalidInput."""
        request, settings = self.request, self.services.settings
        return origin_of(
            request.headers,
            scheme="https" if settings.tls else request.scheme,
            peer=request.remote or "",
            proxies=ANYWHERE if self.by_server else settings.proxies,
        )


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter of a query."""

    name: str
    summary: str
    type: type = str
    default: Any = None
    required: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    """Beneath the prefix; `{name}` is one segment of any text."""
    handler: Handler
    summary: str
    scope: str | None = "run"
    """What a token must be good for; None: open to everybody."""
    request: type[msgspec.Struct] | None = None
    """What the body is decoded to."""
    parameters: tuple[Parameter, ...] = ()
    responses: Mapping[int, Any] = field(default_factory=dict)
    """Statuses of success -> the type of the JSON body, None for no body, bytes for any bytes."""
    problems: tuple[int, ...] = ()
    """Other statuses besides those that every route has."""
    poseidon: bool = False
    """Its errors have Poseidon's shape."""
    silent: tuple[int, ...] = ()
    """Statuses of errors that have no body there."""
    face: Face | None = None
    """Whose clients it is for; None: our own, and Poseidon's."""
    exact: bool = True
    """False: `path` is a pattern of aiohttp's router, such as one with a rest of any length."""

    @property
    def prefix(self) -> str:
        """What `path` is beneath."""
        return PREFIX if self.face is None else self.face.prefix

    @property
    def label(self) -> str:
        """What it is called where answers are counted."""
        return self.path if self.face is None or not self.path else self.face.prefix + self.path

    @property
    def of_runner(self) -> bool:
        """Whether its path names a runner, which is looked up before anything else."""
        return "{runner_id}" in self.path
