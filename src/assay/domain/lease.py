"""A lease: a sandbox that is one user's runner, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PortMapping:
    """A port inside of the sandbox, and where the host offers it."""

    exposed_port: int
    host: str
    port: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """One sandbox in the hands of one user.

    Each `*_at` is seconds since 1970 on the database's clock.
    """

    runner_id: str
    """"r-" and what nobody can guess; never begins with a digit."""
    sandbox_id: str
    environment: str
    """The name of the execution environment."""
    version: str
    """The environment's, as it was when the sandbox was made."""
    owner: str
    """The id of a token; "" where nobody needs one."""
    generation: int
    """1 at first, and one more with each reset: who names another one gets RunnerGone."""
    created_at: float
    inactivity_seconds: float | None
    """From the end of the last execution or file operation; None is for ever."""
    expires_at: float | None
    """When it ends, whatever happens; None is never."""
    active_at: float
    """The last activity, written lazily: about once a second."""
    ports: tuple[PortMapping, ...] = ()
