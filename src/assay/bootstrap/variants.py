"""Environments that are derived from others when somebody wants them, and forgotten after a while.

With less of a sandbox, for requests that ask for less: the pool keeps none of these warm, but
serves who waits for one as it does everybody. And rooms for graders of teachers' own, with folders
that other sandboxes do not have: of those that were wanted last a few sandboxes are kept warm.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Protocol

from assay.domain.limits import MIB, SandboxLimits
from assay.environments.served import Origin, ServedEnvironment

MOST: Final = 64
ROOMS: Final = 8
"""Kinds of rooms that are kept warm at a time: a grader's and its students' are two."""
_WARM_MOST: Final = 8


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
        with self.known(variant_of(base, sandbox)) as name:
            yield name

    @contextlib.contextmanager
    def known(self, variant: ServedEnvironment) -> Iterator[str]:
        """The name, for the block, of one that was derived."""
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

    def forget(self, base: str) -> None:
        """What was derived from an environment: it has changed, or is gone."""
        for name, variant in list(self._known.items()):
            if name.partition("~")[0] != base:
                continue
            if name in self._users:
                self._stock.set_environment(variant)  # to be looked for again
            else:
                del self._known[name]
                self._stock.remove_environment(name)

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


def room_of(wanted: ServedEnvironment) -> ServedEnvironment:
    """An environment with a room's limits and folders, under a name of its own, and kept warm."""
    sandbox = wanted.sandbox
    memory, disk = sandbox.memory_bytes // MIB, sandbox.disk_bytes // MIB
    folders = "\0".join((wanted.working_folder, *wanted.folders))
    mark = hashlib.sha256(folders.encode()).hexdigest()[:8]
    count = min(max(2, len(os.sched_getaffinity(0))), _WARM_MOST)
    return replace(
        wanted,
        name=f"{wanted.name}~{memory}m-{sandbox.processes}p-{disk}m-{mark}",
        pool_size=count,
        origin=Origin.REQUEST,
    )
