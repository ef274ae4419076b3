"""Sandboxes for graders of a teacher's own and for students' programs, of a driver alone."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from assay.agent.session import open_session
from assay.bootstrap.catalogue import Catalogue
from assay.bootstrap.served import configured
from assay.config import ConfiguredEnvironment
from assay.domain.limits import SandboxLimits
from assay.driver.port import Driver, Secret
from assay.environments import Blueprint
from assay.grading.places import Place
from assay.grading.script.rooms import Room
from assay.images import OnProgress, ignore

_UNCLAIMED_SECONDS: Final = 10
"""If we are killed, a sandbox ends so much later."""


class DriverRooms:
    """Makes a sandbox for each use, of the environments of this machine's catalogue."""

    def __init__(
        self, driver: Driver, catalogue: Catalogue, *, on_progress: OnProgress = ignore
    ) -> None:
        self._driver = driver
        self._catalogue = catalogue
        self._on_progress = on_progress
        self._known: dict[str, Blueprint] = {}

    def blueprint(self, environment: str) -> Blueprint:
        """What its sandboxes are made of; its image is pulled if it isn't here."""
        if environment not in self._known:
            ready = self._catalogue.ready(
                self._catalogue.named(environment), on_progress=self._on_progress
            )
            served = configured(
                environment, ConfiguredEnvironment(language=environment), self._catalogue
            )
            self._known[environment] = Blueprint(
                environment=served, root=ready.root, folder=ready.environment
            )
        return self._known[environment]

    @contextlib.asynccontextmanager
    async def room(self, room: Room) -> AsyncIterator[Place]:
        """Make a sandbox, and destroy it at the end."""
        blueprint = furnished(self.blueprint(room.environment), room)
        started = time.perf_counter()
        spec = replace(
            blueprint.spec(Secret(secrets.token_bytes(32))), unclaimed_seconds=_UNCLAIMED_SECONDS
        )
        async with open_session(self._driver, spec) as session:
            waited = time.perf_counter() - started
            yield Place(session=session, blueprint=blueprint, waited_seconds=waited)


def furnished(blueprint: Blueprint, room: Room) -> Blueprint:
    """With the room's folders and limits, as far as the environment allows them."""
    served = blueprint.environment
    most = served.sandbox if blueprint.folder is None else blueprint.folder.ceilings.sandbox
    disk = min(room.disk_bytes, most.disk_bytes)
    memory = min(room.memory_bytes + min(room.files_bytes, disk), most.memory_bytes)
    limits = SandboxLimits(
        memory_bytes=memory,
        processes=min(room.processes, most.processes),
        cpus=served.sandbox.cpus,
        disk_bytes=min(disk, memory // 2) if room.files_bytes < memory // 2 else disk,
        inodes=min(max(served.sandbox.inodes, 32768), most.inodes),
    )
    root = replace(blueprint.root, working_folder=room.working_folder, folders=room.folders)
    return replace(blueprint, environment=replace(served, sandbox=limits), root=root)
