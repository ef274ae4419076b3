"""Who has a sandbox, since when, and until when."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PortMapping:
    """A TCP port of a sandbox, and where on this machine it can be connected to."""

    exposed_port: int
    host: str
    port: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """A sandbox in the hands of one user, who alone gets it, ever.

    Every time ending in `_at` is in seconds since 1970 on the database's clock.
    """

    runner_id: str
    """Unguessable; "r-" and 32 hexadecimal digits, so that it never begins with a digit."""
    sandbox_id: str
    environment: str
    """The environment's name."""
    version: str
    """What of: see `Blueprint.version`."""
    owner: str
    """A token's id, or "" on a server without authentication."""
    generation: int
    """1 at first; grows with each reset; who names another than the current has nothing here."""
    created_at: float
    inactivity_seconds: float | None
    """It ends so long after its last execution or file operation has; None: never."""
    expires_at: float | None
    """It ends then, whatever goes on."""
    active_at: float
    """The end of the last activity, written about once a second."""
    ports: tuple[PortMapping, ...] = ()

    def idle_at(self) -> float | None:
        """When it ends for want of activity, if nothing happens before."""
        if self.inactivity_seconds is None:
            return None
        return self.active_at + self.inactivity_seconds

    def ends_at(self, *, busy: bool) -> float | None:
        """When it ends by the clock; `busy`: something goes on that counts as activity."""
        times = (None if busy else self.idle_at(), self.expires_at)
        return min((time for time in times if time is not None), default=None)
