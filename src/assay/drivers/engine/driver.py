"""The driver: sandboxes by a container engine of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from assay.domain.errors import AssayError, InvalidInput
from assay.driver.port import Health, Problem
from assay.drivers.engine.engine import API, Engine
from assay.drivers.engine.product import Product
from assay.drivers.engine.workshop import EngineWorkshop
from assay.drivers.linux import health
from assay.drivers.linux.driver import ThreadedDriver

_UNIX: Final = "unix://"


class EngineDriver(ThreadedDriver):
    """Makes sandboxes with an engine that speaks Docker's API at a UNIX socket of this machine.

    `endpoint` is where, such as unix:///var/run/docker.sock; "": where it usually is. `runtime` is
    one of those that the engine is configured with; "": its default. `state` is a folder of its own
    on this machine, that several servers may share; `agent` is the static program that becomes
    process 1, `lean` the one that it is until then. `parallel` sandboxes are made at a time, others
    wait. Needs root.
    """

    def __init__(
        self,
        *,
        product: Product,
        runtime: str = "",
        endpoint: str = "",
        state: Path,
        agent: Path,
        lean: Path,
        parallel: int = 8,
        seconds: float = 20.0,
    ) -> None:
        name = f"{product.name}:{runtime}" if runtime else product.name
        self._state = state
        self._engine = Engine(product, _socket_of(endpoint or product.usual), seconds=seconds)
        self._containers = EngineWorkshop(
            name=name,
            engine=self._engine,
            runtime=runtime,
            state=state.absolute(),
            agent=agent,
            lean=lean,
        )
        super().__init__(self._containers, parallel)

    @property
    def mark(self) -> str:
        """The label of all containers of this driver and state folder."""
        return self._containers.mark

    async def probe(self) -> Health:
        """Ask the engine, make a sandbox and connect to its agent. Never raises."""
        try:
            version = await asyncio.to_thread(self._engine.version)
            problem = await asyncio.to_thread(self._runtimes_problem)
        except AssayError as error:
            remedy = self._engine.product.remedy
            problem = Problem(summary=error.message, remedy=remedy)
            return Health(works=False, problems=(problem,))
        said = str(version.get("Version", "unknown"))[:64]
        if problem is not None:
            return Health(works=False, version=said, problems=(problem,))
        return await health.probe(self, self._state, said)

    def _runtimes_problem(self) -> Problem | None:
        runtime, product = self._containers.runtime, self._engine.product
        return product.unknown_runtime(runtime, self._engine.runtimes())

    async def list(self) -> Sequence[str]:
        """The ids of all sandboxes of this driver: what has a folder, or a container."""
        folders = await super().list()
        containers = await asyncio.to_thread(self._containers.strays)
        others = set(containers) - set(folders) - self._being_made
        return [*folders, *sorted(others)]


def _socket_of(endpoint: str) -> Path:
    """The path in an address. Raises InvalidInput for one of another kind."""
    if not endpoint.startswith(f"{_UNIX}/"):
        raise InvalidInput(f"{endpoint} is no socket of this machine; say unix:///PATH (API {API})")
    return Path(endpoint.removeprefix(_UNIX))
