"""What the routes work with; bootstrap makes it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakValueDictionary

from aiohttp import web

from assay.api.auth import Authenticator
from assay.api.forwarding import Forwarder
from assay.api.listeners import Listeners
from assay.api.origin import Network
from assay.api.proxy import PortProxy
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.environments.model import ExecutionEnvironment
from assay.environments.served import Blueprint, ServedEnvironment
from assay.grading.desk import Desk
from assay.runners import Runners
from assay.storage.file_cache import SentFiles
from assay.storage.records import TokenRecord


class PoolCounts(Protocol):
    """How full the pool of one environment is."""

    @property
    def target(self) -> int:
        """Sandboxes that should wait for somebody."""
        ...

    @property
    def idle(self) -> int:
        """Sandboxes that do."""
        ...

    @property
    def creating(self) -> int:
        """Sandboxes that are being made."""
        ...

    @property
    def checking(self) -> int:
        """Idle ones whose health is being looked at."""
        ...

    @property
    def waiting(self) -> int:
        """Requests for one that wait."""
        ...

    @property
    def used(self) -> int:
        """Sandboxes that were claimed and are not given back."""
        ...

    @property
    def last_error(self) -> object:
        """Why the last attempt to make one failed, if it did."""
        ...


class PoolView(Protocol):
    """What is shown of the pool."""

    def statistics(self) -> Mapping[str, PoolCounts]:
        """Counts by the names of environments."""
        ...


class Environments(Protocol):
    """What the server offers, and how that changes."""

    def all(self) -> Sequence[ServedEnvironment]:
        """Every environment, in the order of their names."""
        ...

    def get(self, name: str) -> ServedEnvironment:
        """One of them. Raises UnknownEnvironment."""
        ...

    async def put(self, environment: ServedEnvironment) -> bool:
        """Add or replace one and return when it can be used: its image is there, the pool knows.

        True: it is new. Raises Forbidden for one of the configuration, and what images raise.
        """
        ...

    async def delete(self, name: str) -> bool:
        """Remove one; False: there was none. Raises Forbidden for one of the configuration."""
        ...

    def folder(self, environment: ServedEnvironment) -> ExecutionEnvironment | None:
        """That of its language as it is written, wherever its tools are; None: it has none."""
        ...

    async def resolve(self, environment: ServedEnvironment) -> Blueprint:
        """What its sandboxes are made of, pulled or built first. Raises what images raise."""
        ...

    def varied(
        self, environment: ServedEnvironment, sandbox: SandboxLimits
    ) -> AbstractAsyncContextManager[str]:
        """The name, for the block, of one like it whose sandboxes have these limits."""
        ...


class TokenStore(Protocol):
    """Where tokens are kept; `assay.storage.Storage` is one."""

    def clock(self) -> float:
        """Seconds since 1970, on the database's clock."""
        ...

    async def tokens(self) -> list[TokenRecord]:
        """All of them, the oldest first."""
        ...

    def add_token(self, record: TokenRecord) -> Awaitable[bool]:
        """Keep a new one."""
        ...

    def revoke_token(self, token_id: str) -> Awaitable[bool]:
        """Let it open nothing any more; whether it was there, and not revoked."""
        ...


@dataclass(eq=False, kw_only=True)
class Sent:
    """A file that requests hold while they wait for sandboxes: once, however many they are."""

    content: bytes | None = None
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A request was answered; what is measured of the API is made of these."""

    method: str
    route: str
    """Its path with names in place of values, or "" when no route fits."""
    status: int
    seconds: float
    """Of a WebSocket: until its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiSettings:
    """How the API behaves where that is a matter of taste or of the machine."""

    most_body_bytes: int = 128 * MIB
    """Of a request; CodeOcean sends 60 MB at once."""
    most_message_bytes: int = 4 * MIB
    """Of one WebSocket message of a client."""
    keepalive_seconds: float = 75.0
    """How long an idle connection stays open; pools of clients count on 60."""
    tls: bool = False
    """Whether clients come by TLS: then WebSockets are wss:// even without `X-Forwarded-Proto`."""
    proxies: tuple[Network, ...] = ()
    """Whose `X-Forwarded-…` is believed, see `origin.networks`."""
    host_image: bool = False
    """Whether environments of the API may have the image "host", this machine's own programs."""
    webhook_networks: tuple[str, ...] = ()
    """Networks that are not public, and that webhooks may reach all the same."""
    claim_seconds: float = 10.0
    """How long a request for a sandbox waits for one, unless it says otherwise."""
    depleting_below: float = 0.0
    """/health is 503 when less than this share of an environment's pool is idle."""
    execution: ExecutionLimits = field(
        default_factory=lambda: ExecutionLimits(wall_seconds=60.0, cpu_seconds=60.0)
    )
    """Of environments that the API makes, for executions that ask for nothing else."""
    ceiling: ExecutionLimits = field(
        default_factory=lambda: ExecutionLimits(
            wall_seconds=3600.0, cpu_seconds=14400.0, output_bytes=256 * MIB, open_files=4096
        )
    )
    """Of environments that the API makes; Poseidon's "unlimited" is this."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """All that handlers of requests use."""

    runners: Runners
    pool: PoolView
    environments: Environments
    authenticator: Authenticator
    version: str
    settings: ApiSettings = field(default_factory=ApiSettings)
    metrics: Callable[[], bytes] = bytes
    """Prometheus' text of now."""
    ready: Callable[[], bool] = lambda: True
    """False while the server starts or drains."""
    on_event: Callable[[Answered], None] | None = None
    sent_files: SentFiles | None = None
    """What clients of Jobe have sent ahead; None: this server keeps none."""
    sent_now: WeakValueDictionary[tuple[str, str], Sent] = field(
        default_factory=WeakValueDictionary, repr=False
    )
    """Those of them that requests hold, by owner and id."""
    tokens: TokenStore | None = None
    """What /tokens changes; None: this server keeps none."""
    forwarder: Forwarder | None = None
    """Where there are several servers: the way to the runners of the others."""
    desk: Desk | None = None
    """Where submissions are handed in; None: this server has no courses."""
    proxy: PortProxy = field(default_factory=PortProxy)
    listeners: Listeners = field(default_factory=Listeners)
    versions: dict[tuple[str, tuple[str, ...]], str] = field(default_factory=dict, repr=False)
    """Of languages' tools, by the sandbox's version and what was asked: found once."""
    making: Counter[str] = field(default_factory=Counter, repr=False)
    """Runners that are being made, by owner."""
    running: Counter[str] = field(default_factory=Counter, repr=False)
    """Programs of requests that wait for their end, by owner."""
    sockets: set[web.WebSocketResponse] = field(default_factory=set, repr=False)
    """The connections of those who follow executions."""
