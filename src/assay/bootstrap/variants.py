"""Environments with less of a sandbox, for requests that ask for less: made when wanted.

The pool keeps none of their sandboxes warm, but serves who waits for one as it does everybody. They
are no more than names there: one is forgotten when others were wanted more recently.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Protocol

from assay.domain.limits import MIB, SandboxLimits
from assay.environments.served import Origin, ServedEnvironment

MOST: Final = 64


class Stock(Protocol):
    """What is told of them: the pool."""

    def set_environment(self, environment: ServedEnvironment) -> None:
        """Know it."""
        ...

    def remove_environment(self, name: str) -> None:
        """Forget it."""
        ...


class Variants:
    """Those that the pool knows now."""

    def __init__(self, stock: Stock, *, most: int = MOST) -> None:
        self._stock = stock
        self._most = most
        self._known: dict[str, ServedEnvironment] = {}
        """The least recently wanted first."""
        self._users: dict[str, int] = {}

    @contextlib.contextmanager
    def using(self, base: ServedEnvironment, sandbox: SandboxLimits) -> Iterator[str]:
        """The name, for the block, of an environment like `base` with this sandbox."""
        if sandbox == base.sandbox:
            yield base.name
            return
        variant = variant_of(base, sandbox)
        name = variant.name
        if self._known.pop(name, None) != variant:
            self._stock.set_environment(variant)
        self._known[name] = variant
        self._users[name] = self._users.get(name, 0) + 1
        try:
            self._forget_some()
            yield name
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name]

    def _forget_some(self) -> None:
        for name in list(self._known)[: max(0, len(self._known) - self._most)]:
            if name not in self._users:
                del self._known[name]
                self._stock.remove_environment(name)


def variant_of(base: ServedEnvironment, sandbox: SandboxLimits) -> ServedEnvironment:
    """The same environment with another sandbox, of which none waits."""
    memory, disk = sandbox.memory_bytes // MIB, sandbox.disk_bytes // MIB
    return replace(
        base,
        name=f"{base.name}~{memory}m-{sandbox.processes}p-{disk}m",
        sandbox=sandbox,
        pool_size=0,
        origin=Origin.REQUEST,
    )
