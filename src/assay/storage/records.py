"""What the database keeps, as values; `*_at` is seconds since 1970 on the database's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from assay.domain.token import Scope
from assay.driver.port import Secret


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxRecord:
    """A sandbox that a server made, and what opens its agent."""

    id: str
    driver: str
    environment: str
    """The name of the execution environment that it was made for."""
    version: str
    """The environment's, as it was then."""
    secret: Secret
    created_at: float
    taken: bool = False
    """It was handed to somebody; whatever became of that, it is nobody else's ever."""
    server: str | None = None
    """The id of the server that has it; None where a database has one server."""
    epoch: int | None = None
    """Since which epoch that one has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionRecord:
    """An execution that was asked for, and is not over, or its client doesn't know it yet."""

    id: str
    runner_id: str
    number: int
    """The agent's number of it."""
    command: bytes = field(repr=False)
    """The domain's Command as JSON."""
    mode: str
    """"poseidon" or "assay.v1": whether a client may come back to it."""
    created_at: float
    started: bool = False


class Held(NamedTuple):
    """How much of one token's is at a server."""

    runners: int
    executions: int
    """That run."""
    spent: float = 0.0
    """Seconds of its rate that requests there have taken: counted from 0 when it begins to ask."""


NOTHING: Final = Held(runners=0, executions=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerRecord:
    """One server of several that share a database."""

    id: str
    """Made anew at each start."""
    address: str
    """The URL by which the other servers reach it."""
    place: str
    """Servers of the same place reach the same sandboxes."""
    secret: Secret
    """What another server shows when it passes a request on to this one."""
    epoch: int = 0
    heartbeat_at: float = 0.0
    """When it was last heard of; 0.0: it has let go of all that was its."""
    draining: bool = False
    held: Mapping[str, Held] = field(default_factory=dict)
    """By the ids of tokens."""

    def is_free_for(self, successor: ServerRecord) -> bool:
        """Whether another server may have what this one had, without waiting for its silence."""
        has_let_go = self.heartbeat_at == 0.0 and self.place == successor.place
        return has_let_go or self.address == successor.address


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvironmentRecord:
    """An execution environment that was set by the API."""

    name: str
    definition: bytes = field(repr=False)
    """A ServedEnvironment as JSON."""
    updated_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRecord:
    """What is known of a token: never the token itself. A quota that is None is no quota."""

    id: str
    name: str
    hash: bytes = field(repr=False)
    """SHA-256 of the token."""
    prefix: str
    """The token's first letters, by which people know it again."""
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    most_runners: int | None = None
    """At one time."""
    most_executions: int | None = None
    """At one time."""
    requests_per_second: float | None = None
    burst: int | None = None
    """Requests at once, after a time of quiet; None is two seconds' worth."""
    courses: frozenset[str] = frozenset()
    """The ids of those that its scope `teach` is for; none: all of them."""

    def is_good(self, now: float) -> bool:
        """Whether it opens anything: neither revoked nor over."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
