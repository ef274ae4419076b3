"""Where graders get sandboxes from: the pool of a server, or a driver alone."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from assay.agent.session import Session
from assay.environments.document import Sandbox
from assay.environments.served import Blueprint


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One sandbox in the hands of one grading, nothing ever run in it before."""

    session: Session
    blueprint: Blueprint
    waited_seconds: float = 0.0
    """Until it was there."""


class Places(Protocol):
    """Gives sandboxes for one use each."""

    def blueprint(self, environment: str, sandbox: Sandbox | None = None) -> Awaitable[Blueprint]:
        """What sandboxes of an environment are made of. Raises UnknownEnvironment and others."""
        ...

    def place(
        self, environment: str, *, sandbox: Sandbox | None = None, owner: str = ""
    ) -> AbstractAsyncContextManager[Place]:
        """Take a sandbox, destroyed at the end.

        `sandbox`: with other limits than the environment's. Raises PoolExhausted,
        UnknownEnvironment, LimitOverCeiling, and what drivers raise.
        """
        ...
