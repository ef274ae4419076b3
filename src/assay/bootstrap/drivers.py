"""Names of drivers -> drivers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Final

from assay.agent.native import program
from assay.bootstrap.ownership import Ownership, sweep
from assay.config import Settings
from assay.domain.devices import AllowedDevices
from assay.domain.errors import RuntimeMissing, UnknownDriver
from assay.driver.guard import Event, Guard
from assay.driver.port import Driver

if TYPE_CHECKING:
    from assay.drivers.engine import Endpoint, Kind, Product
    from assay.drivers.nodes import NodesDriver

OURS: Final = "lean"
"""Needs no program but those that come with Assay."""
PREFERRED: Final = (OURS, "crun", "runc", "lxc", "runsc")
"""Those that isolate. The first that works is the default: the fastest, then what runs anything;
who wants a kernel for each sandbox, at its price, says so."""


def _oci(settings: Settings, name: str, stock: int) -> Driver:
    from assay.drivers.oci import CRUN, RUNC, RUNSC, OciDriver

    runtime = {each.name: each for each in (CRUN, RUNC, RUNSC)}[name]
    runtime = replace(runtime, program=program_named(settings, name))
    return OciDriver(runtime=runtime, state=settings.state, agent=program("agent"))


def _lean(settings: Settings, name: str, stock: int) -> Driver:
    from assay.drivers.lean import LeanDriver

    return LeanDriver(
        program=lean_program(settings), state=settings.state, agent=program("agent"), stock=stock
    )


def program_named(settings: Settings, name: str) -> str:
    """The program that a driver calls: a name on PATH, or the one that the settings name."""
    return settings.runtimes.get(name, "lxc-start" if name == "lxc" else name)


def lean_program(settings: Settings) -> Path:
    """The helper that makes sandboxes: ours, or the one that the settings name."""
    named = settings.runtimes.get(OURS)
    return Path(named) if named else program(OURS)


def _lxc(settings: Settings, name: str, stock: int) -> Driver:
    from assay.drivers.lxc import LxcDriver

    return LxcDriver(
        program=program_named(settings, name),
        lean=lean_program(settings),
        state=settings.state,
        agent=program("agent"),
    )


def _engine(settings: Settings, name: str, stock: int) -> Driver:
    from assay.drivers.engine import EngineDriver, is_gvisor, is_kata

    engine, _, runtime = name.partition(_OF)
    product, address, place = _where(settings, engine)
    if not place.is_here or is_gvisor(runtime) or is_kata(runtime):
        return _distant(settings, engine, runtime)
    return EngineDriver(
        product=product,
        runtime=runtime,
        endpoint=address,
        state=settings.state,
        agent=program("agent"),
        lean=lean_program(settings),
    )


def bridged(settings: Settings, engine: str) -> Driver:
    """The driver of an engine of this machine as if that were elsewhere, to measure the bridge."""
    return _distant(settings, engine, "")


def _distant(settings: Settings, engine: str, runtime: str) -> Driver:
    from assay.drivers.engine import DistantDriver, Engine

    product, _, place = _where(settings, engine)
    return DistantDriver(
        engine=Engine(product, place),
        runtime=runtime,
        kind=_kind_of(runtime),
        state=settings.state,
        agents=lambda machine: program("agent", machine=machine),
    )


def _where(settings: Settings, engine: str) -> tuple[Product, str, Endpoint]:
    """Which engine it is, its address, and what that means."""
    from assay.drivers.engine import DOCKER, PODMAN, endpoint

    product = {each.name: each for each in (DOCKER, PODMAN)}[engine]
    address = settings.runtimes.get(engine, "") or product.usual
    return product, address, endpoint(address, product.usual, settings.state / engine)


def _kind_of(runtime: str) -> Kind:
    from assay.drivers.engine import KATA, SHARED, is_gvisor, is_kata

    if is_gvisor(runtime):
        return _gvisor_by_engine()
    return KATA if is_kata(runtime) else SHARED


def _gvisor_by_engine() -> Kind:
    """gVisor as it is without an engine, but for what an engine can't do."""
    from assay.drivers.engine import NAMED_SOCKET, Kind
    from assay.drivers.linux.seccomp import profile_of_own_kernel
    from assay.drivers.oci import RUNSC

    assert RUNSC.own_kernel is not None
    return Kind(
        capabilities=replace(
            RUNSC.able(),
            images_in_place=False,
            oom_facts=False,
            direct_stream=False,
            prompt_ends=False,
        ),
        room=RUNSC.own_kernel.room,
        filter=profile_of_own_kernel,
        socket=NAMED_SOCKET,
        masks=False,
    )


def _machines(settings: Settings, name: str, stock: int) -> Driver:
    from assay.drivers.microvm import Firecracker, MicroVmDriver, Qemu

    program_of_it = settings.runtimes.get(name, "")
    return MicroVmDriver(
        monitor=Qemu(program_of_it) if name == "qemu" else Firecracker(program_of_it),
        state=settings.state,
        disks=settings.images / "disks",
        agent=program("agent"),
        guest=program("guest"),
        kernel=settings.guest_kernel,
    )


def _nomad(settings: Settings, name: str, stock: int) -> Driver:
    from assay.drivers.nomad import NomadDriver, read_options

    return NomadDriver(
        options=read_options(settings.nomad), state=settings.state, agent=program("agent")
    )


def _kubernetes(settings: Settings, name: str, stock: int) -> Driver:
    try:
        from assay.drivers.kubernetes import KubernetesDriver, read_options
    except ModuleNotFoundError as error:
        raise RuntimeMissing(
            f"the driver kubernetes needs a library that is not installed ({error.name}):"
            " pip install 'assay[kubernetes]'"
        ) from error
    return KubernetesDriver(
        options=read_options(settings.kubernetes), state=settings.state, agent=program("agent")
    )


def _nodes(settings: Settings, name: str, stock: int) -> Driver:
    return nodes_driver(settings)


def nodes_driver(settings: Settings) -> NodesDriver:
    """The driver of the nodes that the settings name."""
    from assay.drivers.nodes import NodesDriver, Sources

    named = settings.nodes
    return NodesDriver(
        sources=Sources(addresses=named.addresses, file=named.file, dns=named.dns),
        certificates=named.certificates,
        state=settings.state,
    )


def _fake(settings: Settings, name: str, stock: int) -> Driver:
    from assay.drivers.fake import FakeDriver

    return FakeDriver()


_FACTORIES: Final[Mapping[str, Callable[[Settings, str, int], Driver]]] = {
    "lean": _lean,
    "crun": _oci,
    "runc": _oci,
    "runsc": _oci,
    "lxc": _lxc,
    "docker": _engine,
    "podman": _engine,
    "qemu": _machines,
    "firecracker": _machines,
    "nomad": _nomad,
    "kubernetes": _kubernetes,
    "nodes": _nodes,
    "fake": _fake,
}
NODES: Final = "nodes"
_MODELS: Final = ("fake", NODES)
"""No technologies: what nothing runs in, and what others' technologies run in."""
_ORCHESTRATORS: Final = ("nomad", "kubernetes", NODES)
_ENGINES: Final = ("docker", "podman")
_OTHER_RUNTIMES: Final = ("docker:crun", "docker:runsc", "docker:io.containerd.kata.v2")
_OF: Final = ":"
"""Between an engine's name and that of one of its runtimes."""
_RUNTIME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def driver_names() -> tuple[str, ...]:
    """Every name that `--driver` takes; an engine's may be followed by one of its runtimes."""
    return tuple(_FACTORIES)


def every_technology() -> tuple[str, ...]:
    """Every driver of a technology, engines with each runtime that makes a difference."""
    return (*(name for name in _FACTORIES if name not in _MODELS), *_OTHER_RUNTIMES)


def orchestrators() -> tuple[str, ...]:
    """Every driver whose sandboxes are on as many machines as there are."""
    return _ORCHESTRATORS


def is_driver(name: str) -> bool:
    """Whether there is a driver of this name: `crun`, `docker`, or `docker:crun`, say."""
    engine, separator, runtime = name.partition(_OF)
    if separator:
        return engine in _ENGINES and _RUNTIME.fullmatch(runtime) is not None
    return name in _FACTORIES


def make_driver(settings: Settings, name: str, *, stock: int = 0) -> Driver:
    """A driver without a guard, for who puts one around it or measures without.

    `stock`: how many sandboxes a driver keeps prepared, but for what they are of, if it can.

    Raises UnknownDriver, or Unavailable when the agent was not built.
    """
    if not is_driver(name):
        close = get_close_matches(name.lower(), _FACTORIES, n=1)
        advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(_FACTORIES)}"
        raise UnknownDriver(f"no driver is called {name!r}; {advice}")
    return _FACTORIES[name.partition(_OF)[0]](settings, name, stock)


@contextlib.asynccontextmanager
async def open_driver(
    settings: Settings, name: str, *, on_event: Callable[[Event], None] | None = None
) -> AsyncIterator[Guard]:
    """A driver with a guard around it, closed at the end.

    What it makes belongs to this process: when that is gone, the next one destroys it.
    """
    async with guarded(settings, make_driver(settings, name), on_event=on_event) as guard:
        yield guard


@contextlib.asynccontextmanager
async def guarded(
    settings: Settings,
    driver: Driver,
    *,
    create_seconds: float | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> AsyncIterator[Guard]:
    """The same with a driver that was made already, and is closed at the end."""
    ownership = Ownership(settings.state, driver.name)
    async with owned(
        driver,
        ownership,
        devices=settings.devices,
        create_seconds=create_seconds,
        on_event=on_event,
    ) as guard:
        yield guard


@contextlib.asynccontextmanager
async def owned(
    driver: Driver,
    ownership: Ownership,
    *,
    devices: AllowedDevices,
    most_sandboxes: int = 1000,
    create_seconds: float | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> AsyncIterator[Guard]:
    """The same, with whom its sandboxes are to belong to, and which devices they may have."""

    def observe(event: Event) -> None:
        ownership.observe(event)
        if on_event is not None:
            on_event(event)

    try:
        with ownership:
            guard = Guard(
                driver,
                most_sandboxes=most_sandboxes,
                create_seconds=create_seconds,
                devices=devices,
                on_event=observe,
            )
            try:
                yield guard
            finally:
                await guard.aclose()
    finally:
        await driver.aclose()


async def sweep_abandoned(
    settings: Settings, driver_in_use: Driver, *, shared: bool = False
) -> None:
    """Destroy what processes of the state folder that are gone have left. Never raises.

    Runs beside whatever else happens: sandboxes that belong to anybody alive aren't touched.
    `shared`: the driver in use has others than theirs, those of all servers of a database.
    """

    @contextlib.asynccontextmanager
    async def opened(name: str) -> AsyncIterator[Driver]:
        if name == driver_in_use.name and not shared:
            yield driver_in_use
            return
        driver = make_driver(settings, name)
        try:
            yield driver
        finally:
            await driver.aclose()

    await sweep(settings.state, driver_in_use.name, opened)
