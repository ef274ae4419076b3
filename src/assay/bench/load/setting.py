"""Where a profile is measured: which server, who hears of progress, and how it is ended early."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from assay.bench.load.accounts import Moment, group_of_sandboxes, look
from assay.bench.load.control import Generator, Told, open_generator
from assay.bench.load.report import Points, Series
from assay.bench.load.target import OwnServer, Target, open_server

SECONDS_BETWEEN_LOOKS: Final = 1.0


@dataclass(kw_only=True, slots=True)
class Setting:
    """What the command line says, but for the profile's own options."""

    told: Told
    server: str | None = None
    """Another one's server; None: one of our own."""
    token: str = ""
    driver: str | None = None
    _generators: list[Generator] = field(default_factory=list)
    _stopped: bool = False

    def stop(self) -> None:
        """End what is being measured early, and report what there is."""
        self._stopped = True
        for generator in self._generators:
            generator.stop()

    @property
    def stopped(self) -> bool:
        """Whether somebody has ended it early."""
        return self._stopped

    @contextlib.asynccontextmanager
    async def target(
        self, environments: Mapping[str, int], *, options: Sequence[str] = ()
    ) -> AsyncIterator[Target]:
        """The server; one of our own has these environments, with so many warm sandboxes."""
        if self.server is not None:
            target = Target(self.server, self.token)
            await target.runner_ids()
            yield target
            return
        async with open_server(environments, driver=self.driver, options=options) as own:
            await self._until_warm(own, environments)
            yield own

    async def _until_warm(self, own: OwnServer, environments: Mapping[str, int]) -> None:
        whole = sum(environments.values())
        while not self._stopped:
            pool = await own.pool()
            idle = sum(pool[name]["idle"] for name in environments)
            self.told({"what": "warm sandboxes", "done": idle, "whole": whole})
            if idle >= whole:
                return
            await asyncio.sleep(0.2)

    @contextlib.asynccontextmanager
    async def generator(self, target: Target) -> AsyncIterator[Generator]:
        """A generator that loads it."""
        async with open_generator(target.url, target.token, self.told) as generator:
            self._generators.append(generator)
            if self._stopped:
                generator.stop()
            try:
                yield generator
            finally:
                self._generators.remove(generator)


class Watch:
    """Looks every second at what server, generator and sandboxes take, until the block ends."""

    def __init__(self, target: Target, generator: Generator) -> None:
        self._target, self._generator = target, generator
        self._group: Path | None = None
        self._began = 0.0
        self.moments: list[tuple[float, Moment]] = []

    async def __aenter__(self) -> Watch:
        self._group = group_of_sandboxes(self._target.sandbox_ids()[:1])
        self._began = asyncio.get_running_loop().time()
        self._look()
        self._task = asyncio.ensure_future(self._look_again())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))
        self._look()

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            self._look()

    def _look(self) -> None:
        now = asyncio.get_running_loop().time() - self._began
        moment = look(self._target.pid, self._generator.pid, self._group, self._target.spent())
        self.moments.append((now, moment))

    @property
    def seconds(self) -> float:
        """From the first look to the last."""
        return self.moments[-1][0] - self.moments[0][0]

    @property
    def spent(self) -> Mapping[str, float | None]:
        """Seconds of processor time, apart."""
        first, last = self.moments[0][1], self.moments[-1][1]
        server = last.server.since(first.server)
        generator = last.generator.since(first.generator)
        ours = self._target.pid is not None
        sandboxes = (
            None
            if first.sandboxes is None or last.sandboxes is None
            else last.sandboxes - first.sandboxes
        )
        return {
            "server": server.own if ours else None,
            "runtime, started by the server": server.children if ours else None,
            "sandboxes": sandboxes,
            "generator": generator.own,
            "the whole machine": last.machine - first.machine,
        }

    def cores(self) -> Series:
        """Processors' worth of time, each second."""
        lines: dict[str, list[tuple[float, float]]] = {"server": [], "generator": []}
        for (before, one), (after, other) in zip(self.moments, self.moments[1:], strict=False):
            for name, spent in (
                ("server", other.server.since(one.server).own),
                ("generator", other.generator.since(one.generator).own),
            ):
                lines[name].append((after, spent / max(after - before, 1e-3)))
        return _series("processors' worth of time", "cores", lines)

    def memory(self) -> Series:
        """The server's, and the generator's."""
        lines = {
            "server": [(at, float(moment.server_bytes)) for at, moment in self.moments],
            "generator": [(at, float(moment.generator_bytes)) for at, moment in self.moments],
        }
        return _series("memory that is not shared with files", "B", lines)


def _series(name: str, unit: str, lines: Mapping[str, list[tuple[float, float]]]) -> Series:
    found: dict[str, Points] = {key: tuple(points) for key, points in lines.items()}
    return Series(name=name, unit=unit, lines=found)
