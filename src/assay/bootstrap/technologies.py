"""What each technology lacks on this machine, as far as it can be told without making a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from assay.bootstrap.drivers import program_named
from assay.config import Settings
from assay.doctor.facts import TechnologyFacts
from assay.domain.errors import AssayError, InvalidInput, RuntimeMissing
from assay.driver.port import Problem

_SECONDS: Final = 1.0
"""For an engine that does nothing else: one that hangs must not make everybody wait."""
_SOCKET: Final = "unix://"
_KATA: Final = "containerd-shim-kata-v2"
_FOLDERS: Final = "/usr/local/bin:/usr/sbin:/usr/bin:/opt/kata/bin"


def look_at_technologies(settings: Settings) -> tuple[TechnologyFacts, ...]:
    """Each, with what is missing and how to get it. Takes as long as two engines that
    hang, and as nodes that don't answer: four seconds."""
    return tuple(
        TechnologyFacts(name=name, problems=tuple(look(settings, name)))
        for name, look in _LOOKS.items()
    )


def _runtime(settings: Settings, name: str) -> Iterator[Problem]:
    from assay.drivers.linux.program import find
    from assay.drivers.oci import CRUN, RUNC, RUNSC

    runtime = {each.name: each for each in (CRUN, RUNC, RUNSC)}[name]
    yield from _missing(lambda: find(program_named(settings, name), runtime.remedy), runtime.remedy)


def _lxc(settings: Settings, name: str) -> Iterator[Problem]:
    from assay.drivers.linux.program import find
    from assay.drivers.lxc.workshop import REMEDY

    yield from _missing(lambda: find(program_named(settings, name), REMEDY), REMEDY)


def _missing(look: Callable[[], object], remedy: str) -> Iterator[Problem]:
    try:
        look()
    except RuntimeMissing as error:
        yield Problem(summary=error.message, remedy=remedy)


def _engine(settings: Settings, name: str) -> Iterator[Problem]:
    from assay.drivers.engine import DOCKER, PODMAN

    product = {each.name: each for each in (DOCKER, PODMAN)}[name]
    address = settings.runtimes.get(name) or product.usual
    if not address.startswith(f"{_SOCKET}/"):
        elsewhere = f"it is to be at {address}: assay doctor --driver {name} asks there"
        yield Problem(summary=elsewhere)
        return
    place = Path(address.removeprefix(_SOCKET))
    try:
        answers = _answers(place)
    except TimeoutError:
        summary = f"it accepts at {place}, and does not answer"
        yield Problem(summary=summary, remedy=product.start.replace(" start ", " restart "))
    except PermissionError:
        yield Problem(summary=f"{place} is closed to this user: run Assay as root")
    except OSError:
        there = _found("dockerd" if name == "docker" else name)
        remedy = product.start if there else product.remedy
        state = "it is installed, and nobody listens" if there else "nobody listens"
        summary = f"{state} at {place}; where else, {product.variable} says"
        yield Problem(summary=summary, remedy=remedy)
    else:
        if not answers:
            yield Problem(summary=f"what listens at {place} is no engine")


def _answers(place: Path) -> bool:
    """Whether an engine does. Raises OSError, of which one is TimeoutError."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(_SECONDS)
        connection.connect(str(place))
        connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return b" 200 " in connection.recv(64)


def _qemu(settings: Settings, name: str) -> Iterator[Problem]:
    from assay.drivers.microvm import Qemu
    from assay.drivers.microvm.disk import REMEDY
    from assay.drivers.microvm.guest_kernel import REMEDY as KERNELS
    from assay.drivers.microvm.guest_kernel import find_kernel

    yield from Qemu(settings.runtimes.get(name, "")).problems()
    yield from _missing(lambda: find_kernel(settings.guest_kernel), KERNELS)
    if not _found("mkfs.erofs"):
        yield Problem(summary="the program mkfs.erofs is not on this machine", remedy=REMEDY)


def _firecracker(settings: Settings, name: str) -> Iterator[Problem]:
    from assay.drivers.microvm import Firecracker

    yield from Firecracker(settings.runtimes.get(name, "")).problems()


def _kata(settings: Settings, name: str) -> Iterator[Problem]:
    from assay.drivers.microvm import no_virtualization

    if not _found(_KATA):
        yield Problem(
            summary=f"the program {_KATA} is not on this machine",
            remedy="unpack kata-static of a release from"
            " https://github.com/kata-containers/kata-containers/releases in /, and name"
            f" /opt/kata/bin/{_KATA} in the runtimes of a container engine",
        )
    yield from no_virtualization()


def _nomad(settings: Settings, name: str) -> Iterator[Problem]:
    from assay.drivers.nomad import read_options

    try:
        options = read_options(settings.nomad)
    except InvalidInput as error:
        remedy = "mend NOMAD_ADDR and its like, or the table [nomad]: docs/nomad.md"
        yield Problem(summary=error.message, remedy=remedy)
        return
    if not any(_listens(address) for address in options.addresses):
        yield Problem(
            summary=f"nobody listens at {options.address}; where else, NOMAD_ADDR says",
            remedy="see docs/nomad.md for how to get it",
        )
    yield from _images_of(options.registry, "nomad")


def _kubernetes(settings: Settings, name: str) -> Iterator[Problem]:
    try:
        from assay.drivers.kubernetes import read_options
        from assay.drivers.kubernetes.client import address_of

        options = read_options(settings.kubernetes)
        address = asyncio.run(address_of(options))
    except ModuleNotFoundError as error:
        summary = f"the library {error.name} is not installed"
        yield Problem(summary=summary, remedy="pip install 'assay[kubernetes]'")
        return
    except AssayError as error:
        remedy = "mend KUBECONFIG and its like, or the table [kubernetes]: docs/kubernetes.md"
        yield Problem(summary=error.message, remedy=remedy)
        return
    if not _listens(address):
        yield Problem(
            summary=f"nobody listens at {address}; where else, KUBECONFIG says",
            remedy="see docs/kubernetes.md for how to get it",
        )
    yield from _images_of(options.registry, "kubernetes")


def _images_of(registry: str, table: str) -> Iterator[Problem]:
    """What an orchestrator's machines need to have images."""
    if not registry:
        yield Problem(
            summary="no registry is named that its machines have images from",
            remedy=f"say registry in the table [{table}], or ASSAY_{table.upper()}_REGISTRY",
        )
    if not _found("skopeo"):
        summary = "the program skopeo is not on this machine"
        yield Problem(summary=summary, remedy="apt-get install skopeo")


def _listens(address: str) -> bool:
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with contextlib.suppress(OSError):
        socket.create_connection((parts.hostname or "", port), timeout=_SECONDS).close()
        return True
    return False


def _nodes(settings: Settings, name: str) -> Iterator[Problem]:
    named = settings.nodes
    if not (named.addresses or named.file or named.dns):
        yield Problem(
            summary="no nodes are named", remedy="name them in ASSAY_NODES: docs/nodes.md"
        )
        return
    from assay.bootstrap.nodes import ask_nodes

    try:
        reports = asyncio.run(ask_nodes(settings))
    except AssayError as error:
        yield Problem(summary=error.message)
        return
    yield from (Problem(summary=each.problem) for each in reports if each.problem)


def _found(program: str) -> bool:
    return bool(shutil.which(program) or shutil.which(program, path=_FOLDERS))


_LOOKS: Final[Mapping[str, Callable[[Settings, str], Iterator[Problem]]]] = {
    "crun": _runtime,
    "runc": _runtime,
    "runsc": _runtime,
    "lxc": _lxc,
    "docker": _engine,
    "podman": _engine,
    "qemu": _qemu,
    "firecracker": _firecracker,
    "kata": _kata,
    "nomad": _nomad,
    "kubernetes": _kubernetes,
    "nodes": _nodes,
}
