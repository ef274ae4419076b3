"""Sandboxes for graders: of a driver alone, or of a server's pool."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from assay.agent.session import open_session
from assay.bootstrap.catalogue import Catalogue
from assay.bootstrap.served import ServedEnvironments, configured
from assay.config.server import ConfiguredEnvironment
from assay.domain.errors import InvalidTask
from assay.domain.limits import MIB, SandboxLimits, require_within
from assay.driver.port import Driver, Secret
from assay.environments import Blueprint
from assay.environments.document import Sandbox
from assay.grading.places import Place
from assay.grading.script.rooms import Room
from assay.images import OnProgress, ignore
from assay.pool import Pool, Warm
from assay.runners.backing import keep_interpreter

_STEP: Final = 16 * MIB
_UNCLAIMED_SECONDS: Final = 10
"""If we are killed, a sandbox ends so much later."""


class DriverPlaces:
    """Makes a sandbox for each use, of the environments of this machine's catalogue."""

    def __init__(
        self, driver: Driver, catalogue: Catalogue, *, on_progress: OnProgress = ignore
    ) -> None:
        self._driver = driver
        self._catalogue = catalogue
        self._on_progress = on_progress
        self._known: dict[str, Blueprint] = {}

    async def blueprint(self, environment: str, sandbox: Sandbox | None = None) -> Blueprint:
        """What sandboxes of an environment are made of; its image is pulled if it isn't here."""
        return limited(self._found(environment), sandbox)

    @contextlib.asynccontextmanager
    async def place(
        self, environment: str, *, sandbox: Sandbox | None = None, owner: str = ""
    ) -> AsyncIterator[Place]:
        """Make a sandbox, and destroy it at the end."""
        async with self._made(limited(self._found(environment), sandbox)) as place:
            yield place

    @contextlib.asynccontextmanager
    async def room(self, room: Room) -> AsyncIterator[Place]:
        """Make a room for a grader of a teacher's own, and destroy it at the end."""
        async with self._made(furnished(self._found(room.environment), room)) as place:
            yield place

    def _found(self, environment: str) -> Blueprint:
        if environment not in self._known:
            ready = self._catalogue.ready(
                self._catalogue.named(environment), on_progress=self._on_progress
            )
            written = ConfiguredEnvironment(language=environment)
            served = configured(environment, written, self._catalogue)
            self._known[environment] = Blueprint(
                environment=served, root=ready.root, folder=ready.environment
            )
        return self._known[environment]

    @contextlib.asynccontextmanager
    async def _made(self, blueprint: Blueprint) -> AsyncIterator[Place]:
        started = time.perf_counter()
        spec = replace(
            blueprint.spec(Secret(secrets.token_bytes(32))), unclaimed_seconds=_UNCLAIMED_SECONDS
        )
        async with open_session(self._driver, spec) as session:
            waited = time.perf_counter() - started
            yield Place(session=session, blueprint=blueprint, waited_seconds=waited)


class PoolPlaces:
    """Takes sandboxes of a server's pool. Where a task's limits differ, made for it."""

    def __init__(self, pool: Pool, environments: ServedEnvironments, *, seconds: float) -> None:
        """`seconds`: how long to wait for one."""
        self._pool = pool
        self._environments = environments
        self._seconds = seconds
        self._ending: set[asyncio.Task[None]] = set()
        self.claimed = 0
        """How many of the pool's used sandboxes gradings have."""
        self.on_claimed: Callable[[], object] = lambda: None

    async def blueprint(self, environment: str, sandbox: Sandbox | None = None) -> Blueprint:
        """What sandboxes of an environment are made of."""
        return limited(await self._pool.blueprint(environment), sandbox)

    @contextlib.asynccontextmanager
    async def place(
        self, environment: str, *, sandbox: Sandbox | None = None, owner: str = ""
    ) -> AsyncIterator[Place]:
        """Claim a sandbox, and destroy it at the end; nobody waits for that."""
        started = time.perf_counter()
        base = (await self._pool.blueprint(environment)).environment
        wanted = (await self.blueprint(environment, sandbox)).environment.sandbox
        warm = await self._claim(self._environments.varied(base, wanted), owner)
        try:
            waited = time.perf_counter() - started
            keep_interpreter(warm)  # more than one program may run here
            yield Place(session=warm.session, blueprint=warm.blueprint, waited_seconds=waited)
        finally:
            self._discard(warm)

    @contextlib.asynccontextmanager
    async def room(self, room: Room) -> AsyncIterator[Place]:
        """Claim a room, of which some are kept warm once one was wanted."""
        started = time.perf_counter()
        wanted = furnished(await self._pool.blueprint(room.environment), room).environment
        warm = await self._claim(self._environments.roomy(wanted), room.owner)
        try:
            waited = time.perf_counter() - started
            yield Place(session=warm.session, blueprint=warm.blueprint, waited_seconds=waited)
        finally:
            self._discard(warm)

    async def _claim(self, named: AbstractAsyncContextManager[str], owner: str) -> Warm:
        async with named as name:
            warm = await self._pool.claim(name, owner=owner, deadline_seconds=self._seconds)
        self.claimed += 1
        self.on_claimed()
        return warm

    def _discard(self, warm: Warm) -> None:
        task = asyncio.get_running_loop().create_task(self._end(warm))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, warm: Warm) -> None:
        self.claimed -= 1  # in the same step as the pool's count
        await self._pool.discard(warm)

    async def aclose(self) -> None:
        """Wait until what was used is destroyed."""
        if self._ending:
            await asyncio.wait(self._ending)


def limited(blueprint: Blueprint, sandbox: Sandbox | None) -> Blueprint:
    """The same with a task's limits of sandboxes. Raises LimitOverCeiling."""
    served = blueprint.environment
    if sandbox is None or (limits := sandbox.over(served.sandbox)) == served.sandbox:
        return blueprint
    ceiling = served.sandbox if blueprint.folder is None else blueprint.folder.ceilings.sandbox
    require_within(limits, ceiling)
    return replace(blueprint, environment=replace(served, sandbox=limits))


def furnished(blueprint: Blueprint, room: Room) -> Blueprint:
    """With the room's folders and limits, as far as the environment allows them.

    Raises InvalidTask where the room needs a network or devices, and the environment has none.
    """
    served = blueprint.environment
    _require_given(blueprint, room)
    most = served.sandbox if blueprint.folder is None else blueprint.folder.ceilings.sandbox
    disk = min(_rounded(room.disk_bytes), most.disk_bytes)
    memory = min(_rounded(room.memory_bytes + min(room.files_bytes, disk)), most.memory_bytes)
    limits = SandboxLimits(
        memory_bytes=memory,
        processes=min(room.processes, most.processes),
        cpus=served.sandbox.cpus,
        disk_bytes=min(disk, memory // 2) if room.files_bytes < memory // 2 else disk,
        inodes=min(max(served.sandbox.inodes, 32768), most.inodes),
    )
    wanted = replace(
        served, sandbox=limits, working_folder=room.working_folder, folders=room.folders
    )
    return replace(blueprint, environment=wanted, root=wanted.within(blueprint.root))


def _rounded(size: int) -> int:
    """Up, so that sandboxes of tasks that are nearly alike are the same."""
    return -(-size // _STEP) * _STEP


def _require_given(blueprint: Blueprint, room: Room) -> None:
    name = blueprint.environment.name
    if room.network and not blueprint.environment.network:
        raise InvalidTask(
            f"the task's grader is to have a network (network_grading), and the environment {name}"
            " has none: let an environment with `network = true` stand for its container, or take"
            " network_grading out"
        )
    if room.devices and not blueprint.devices:
        raise InvalidTask(
            f"the task wants devices of the host (environment_type: nvidia), and the environment"
            f" {name} has none: let one with `devices` stand for its container"
        )
