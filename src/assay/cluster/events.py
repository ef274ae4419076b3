"""What happens between servers, told to whoever records it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ServersChanged:
    """So many servers live, this one with them."""

    living: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TookOver:
    """What another server had is this one's, and can be asked for after so many seconds."""

    server: str
    """The other one's address."""
    epoch: int
    runners: int
    seconds: float


Event = ServersChanged | TookOver
