"""What happens in a pool, for who measures it."""

from __future__ import annotations

from dataclasses import dataclass

from assay.domain.errors import AssayError


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolStatistics:
    """One environment's pool at a moment."""

    name: str
    target: int
    """Idle sandboxes that are wanted."""
    idle: int
    """Idle sandboxes that can be claimed."""
    creating: int
    waiting: int
    """Claims that wait for a sandbox."""
    checking: int
    """Idle sandboxes that are being asked whether they are well; they can be claimed, too."""
    used: int
    """Claimed, and not given back yet."""
    last_error: str = ""
    """Why no sandbox could be made, when the last attempt failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxAdded:
    """A sandbox was made, so many seconds after it was begun with."""

    environment: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxFailed:
    """No sandbox could be made, nor what it is made of be found."""

    environment: str
    error: AssayError
    retry_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxUnhealthy:
    """An idle sandbox was lost, or did not answer, and is removed."""

    environment: str
    sandbox_id: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxNotDestroyed:
    """A sandbox could not be destroyed; it is tried again."""

    sandbox_id: str
    error: AssayError


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """Somebody got a sandbox."""

    environment: str
    owner: str
    waited_seconds: float
    from_stock: bool
    """It was there already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimFailed:
    """Somebody got none."""

    environment: str
    owner: str
    waited_seconds: float
    error: AssayError


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolChanged:
    """A pool's numbers are others than before."""

    statistics: PoolStatistics


Event = (
    SandboxAdded
    | SandboxFailed
    | SandboxUnhealthy
    | SandboxNotDestroyed
    | Claimed
    | ClaimFailed
    | PoolChanged
)
