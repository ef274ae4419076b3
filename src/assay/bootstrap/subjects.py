"""What `assay bench` measures: drivers as everybody uses them, and their technologies alone."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from assay.agent.native import program
from assay.bench import Peer, Restored, Subject, bare, most, prepared
from assay.bench.sample_images import essential_system, write_layout
from assay.bootstrap.catalogue import root_filesystem
from assay.bootstrap.drivers import NODES, OURS, bridged, guarded, make_driver
from assay.config import Settings
from assay.domain.errors import Unavailable
from assay.driver.port import Capabilities, Health, RootFilesystem
from assay.images import Images

_SECONDS_TO_CREATE: Final = 180.0
"""One of a hundred that were asked for at once waits for ninety-nine others."""
_LOCAL: Final = ("crun", "runc")
"""Besides ours: of these it is promised what an idle sandbox costs."""
_RESTORED: Final = "qemu"
_SMALL: Final = (
    "its sandboxes are of this machine's Debian packages that Python needs, and those that every"
    " system has: all of /usr would be copied into a disk first"
)
_TIMES_AHEAD: Final[Mapping[str, float]] = MappingProxyType({"docker": 40})
_PREPARED: Final = "prepared"
FROM_AFAR: Final = "from afar"
"""As an orchestrator has an engine: that does it all, and its exec sessions are the connections."""
_IDLE_SECONDS: Final = MappingProxyType({"nomad": 10.0, NODES: 1.0})
_TIMES_OF_ITS_ENGINE: Final = 1.3
_NOTHING: Final[Mapping[str, float]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """A driver, and what it says of itself on this machine."""

    name: str
    capabilities: Capabilities
    health: Health


async def probe_driver(settings: Settings, name: str) -> Probed:
    """Ask a driver whether it works here. Raises UnknownDriver."""
    driver = make_driver(settings, name)
    try:
        health = await driver.probe()
        return Probed(name=name, capabilities=driver.capabilities, health=health)
    finally:
        await driver.aclose()


def peers() -> Sequence[Peer]:
    """Technologies that are no drivers, to compare with."""
    from assay.drivers.alone import BubblewrapAlone, LxcAlone

    floor = program("floor")
    return (BubblewrapAlone(floor=floor), LxcAlone(floor=floor))


@contextlib.contextmanager
def _small() -> Iterator[RootFilesystem]:
    """The root of an image that is copied in seconds. Raises Unavailable where there is none."""
    system = essential_system("python3")
    if system is None:
        raise Unavailable("an image of this machine's packages needs Debian or Ubuntu")
    with tempfile.TemporaryDirectory(prefix="assay-bench-images-") as folder:
        reference = write_layout(Path(folder, "layout"), [system])
        yield Images(Path(folder, "store")).get(reference).root


def _idle_bytes(name: str) -> float | None:
    promised = {OURS: 0.8e6, _RESTORED: 40e6, **dict.fromkeys(_LOCAL, 1.2e6)}
    return promised.get(name)


@contextlib.asynccontextmanager
async def open_subject(
    settings: Settings, name: str, *, stock: int = 0, manner: str = ""
) -> AsyncIterator[Subject]:
    """A driver to measure, guarded and owned as in `assay run`, with the machine's own programs.

    With `stock`, as in a server: so many sandboxes are prepared but for what they are of. With
    FROM_AFAR, an engine of this machine is used as if it were elsewhere. Raises UnknownDriver,
    Unavailable or DiskFull.
    """
    afar = manner == FROM_AFAR
    driver = bridged(settings, name) if afar else make_driver(settings, name, stock=stock)
    # A node shows its own programs, so that nothing is sent.
    in_place = name == NODES or driver.capabilities.images_in_place
    ours = name == OURS
    async with contextlib.AsyncExitStack() as stack:
        guard = await stack.enter_async_context(
            guarded(settings, driver, create_seconds=_SECONDS_TO_CREATE)
        )
        yield Subject(
            driver=guard,
            root=root_filesystem(settings, "host") if in_place else stack.enter_context(_small()),
            image="" if in_place else _SMALL,
            bare=bare(driver),
            times_alone=3 if ours and stock else None if ours else 2,
            idle_bytes=_idle_bytes(name),
            own_bytes=None if name == _RESTORED else 0.4e6,
            restored=Restored() if name == _RESTORED else None,
            prepared=prepared(driver) if stock else None,
            most=most(driver),
            leads=bool(ours and stock),
            times_ahead=_TIMES_AHEAD if ours and stock else _NOTHING,
            idle_seconds=0.2 if ours and stock else _IDLE_SECONDS.get(name),
            times_of=_times_of(settings, name),
            manner=_PREPARED if stock else manner,
        )


def _times_of(settings: Settings, name: str) -> Mapping[str, float]:
    """What an orchestrator's sandboxes may take of what its engine takes for the same ones."""
    if name != "nomad":
        return _NOTHING
    from assay.drivers.nomad import read_options

    engine = read_options(settings.nomad).task_driver
    return MappingProxyType({f"{engine}, {FROM_AFAR}": _TIMES_OF_ITS_ENGINE})


@contextlib.asynccontextmanager
async def open_bridged(settings: Settings, engine: str) -> AsyncIterator[tuple[Subject, Subject]]:
    """An engine of this machine, reached by its sandboxes' sockets, and as if it were elsewhere.

    Raises Unavailable or DiskFull.
    """
    near, far = make_driver(settings, engine), bridged(settings, engine)
    async with contextlib.AsyncExitStack() as stack:
        root = stack.enter_context(_small())
        guards = [
            await stack.enter_async_context(
                guarded(settings, driver, create_seconds=_SECONDS_TO_CREATE)
            )
            for driver in (near, far)
        ]
        socket, bridge = (Subject(driver=guard, root=root) for guard in guards)
        yield socket, bridge
