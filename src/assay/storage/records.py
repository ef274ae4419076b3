"""What the database keeps, as values; `*_at` is seconds since 1970 on the database's clock."""

from __future__ import annotations

from dataclasses import dataclass, field

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

    def is_good(self, now: float) -> bool:
        """Whether it opens anything: neither revoked nor over."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
