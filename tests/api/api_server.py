"""A server on a port of the loopback, and stand-ins for what a test is not about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from assay.api import Caller, Services, make_app, make_server
from assay.domain.errors import UnknownEnvironment
from assay.domain.limits import SandboxLimits
from assay.driver.port import RootFilesystem
from assay.environments import Blueprint, ExecutionEnvironment, bundled_folder, load
from assay.environments.served import ServedEnvironment

Serve = Callable[[Services], Awaitable[aiohttp.ClientSession]]


class Everybody:
    """Lets everybody in, as a server without tokens does."""

    async def authenticate(
        self, headers: Mapping[str, str], address: str, *, counted: bool = False
    ) -> Caller:
        return Caller()


@dataclass(frozen=True)
class Counts:
    target: int = 0
    idle: int = 0
    creating: int = 0
    checking: int = 0
    waiting: int = 0
    used: int = 0
    last_error: str = ""


@dataclass
class Pools:
    """The counts of a pool, as data."""

    counts: dict[str, Counts] = field(default_factory=dict)

    def statistics(self) -> Mapping[str, Counts]:
        return self.counts


@dataclass
class Offered:
    """Environments in a dict."""

    environments: dict[str, ServedEnvironment] = field(default_factory=dict)

    def all(self) -> Sequence[ServedEnvironment]:
        return [self.environments[name] for name in sorted(self.environments)]

    def get(self, name: str) -> ServedEnvironment:
        if name not in self.environments:
            raise UnknownEnvironment(f"no environment is called {name!r}")
        return self.environments[name]

    async def put(self, environment: ServedEnvironment) -> bool:
        new = environment.name not in self.environments
        self.environments[environment.name] = environment
        return new

    async def delete(self, name: str) -> bool:
        return self.environments.pop(name, None) is not None

    def folder(self, environment: ServedEnvironment) -> ExecutionEnvironment | None:
        return load(bundled_folder() / environment.language) if environment.language else None

    async def resolve(self, environment: ServedEnvironment) -> Blueprint:
        root = RootFilesystem(digest="", path=Path("/nowhere"))
        return Blueprint(environment=environment, root=root, folder=self.folder(environment))

    @asynccontextmanager
    async def varied(
        self, environment: ServedEnvironment, sandbox: SandboxLimits
    ) -> AsyncIterator[str]:
        yield environment.name if sandbox == environment.sandbox else f"{environment.name}~less"


def services(**changes: Any) -> Services:
    """Services of a server that offers nothing."""
    given: dict[str, Any] = {
        "runners": None,
        "pool": Pools(),
        "environments": Offered(),
        "authenticator": Everybody(),
        "version": "test",
    }
    return Services(**{**given, **changes})


@asynccontextmanager
async def served(services: Services) -> AsyncIterator[str]:
    """Serve on a port of the loopback, and say where."""
    server = make_server(make_app(services), services)
    await server.setup()
    try:
        site = web.TCPSite(server, "127.0.0.1", 0)
        await site.start()
        host, port = server.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await server.cleanup()
