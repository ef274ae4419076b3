"""One node: a driver of this machine, offered to servers; what an earlier one has left goes on.

lock the state folder -> driver -> whose sandboxes are whose -> listen -> remove what is nobody's
SIGTERM -> be emptied, for as long as that may take -> close all connections
sandboxes that are still there stay, for the next node
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import assay
from assay.bootstrap.alone import alone_in
from assay.bootstrap.catalogue import root_filesystem
from assay.bootstrap.drivers import make_driver, owned, sweep_abandoned
from assay.bootstrap.ownership import Ownership
from assay.bootstrap.process import (
    SECONDS_BETWEEN_THREADS,
    beside,
    raise_descriptor_limit,
    spare_the_collector,
)
from assay.bootstrap.systemd import feed_watchdog, notify
from assay.bootstrap.trust import require_ours
from assay.config import Settings
from assay.config.node import NodeSettings
from assay.domain.errors import AssayError, DriverUnavailable, InUse, Unavailable
from assay.driver.guard import Guard
from assay.driver.port import Driver, Prepares
from assay.images.received import ReceivedRoots
from assay.link.certificates import for_node
from assay.link.machine import machine_now
from assay.link.messages import Facts, Status
from assay.node.owners import Owners
from assay.node.roots import Roots
from assay.node.server import NodeServer

_FOLDER: Final = "node"
_DRAINING: Final = "draining"
_SECONDS_BETWEEN_LOOKS: Final = 0.1


def drain(state: Path, *, wanted: bool) -> None:
    """Have the node of a state folder emptied from now on, or no longer; it need not run.

    Raises Unavailable.
    """
    mark = state / _FOLDER / _DRAINING
    try:
        if wanted:
            mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            mark.touch(mode=0o600)
        else:
            mark.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(
            f"{mark} can't be changed: {error.strerror}; run this as the user who runs the node"
        ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningNode:
    """A node that takes connections."""

    port: int
    driver: str
    context: ssl.SSLContext
    certificates: Path
    guard: Guard
    leaving: asyncio.Event
    """Set: it takes no more sandboxes, and servers move idle ones to others."""

    async def empty(self, seconds: float) -> None:
        """Return when nobody has a sandbox here any more, or after so many seconds."""
        self.leaving.set()
        for _ in range(round(seconds / _SECONDS_BETWEEN_LOOKS)):
            if not self.guard.sandboxes:
                break
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    def reload(self) -> None:
        """Show the certificate that is there by now to who connects from now on."""
        with contextlib.suppress(OSError, ValueError):  # the old one stays
            folder = self.certificates
            self.context.load_cert_chain(folder / "cert.pem", folder / "key.pem")


@contextlib.asynccontextmanager
async def running_node(
    settings: NodeSettings, *, driver: Driver | None = None
) -> AsyncIterator[RunningNode]:
    """Serve from the beginning to the end of the block; sandboxes stay.

    `driver` is another one than the settings': for tests. Raises Unavailable and others, each with
    what to do about it.
    """
    base = settings.base
    async with contextlib.AsyncExitStack() as opened:
        context = for_node(settings.certificates)
        opened.enter_context(alone_in(base.state, "node"))
        raise_descriptor_limit(settings.most_sandboxes)
        made = driver or make_driver(base, settings.driver, stock=settings.stock)
        ownership = Ownership(base.state, made.name, server=_FOLDER)
        guard = await opened.enter_async_context(
            owned(made, ownership, devices=base.devices, most_sandboxes=settings.most_sandboxes)
        )
        owners = Owners(base.state / _FOLDER / "owners")
        leaving = asyncio.Event()
        unwanted = await _adopt(guard, ownership, owners)
        await _require_working(made)
        server = NodeServer(
            guard,
            owners=owners,
            roots=_roots(base),
            facts=await asyncio.to_thread(_facts, base, made),
            status=_status(settings, guard, made, leaving),
        )
        try:
            listening = server.listening(settings.listen.host, settings.listen.port, context)
            port = await opened.enter_async_context(listening)
        except OSError as error:
            kind = InUse if error.errno == errno.EADDRINUSE else Unavailable
            raise kind(
                f"a node can't listen at {settings.listen}: {error.strerror or error}; choose"
                " another address with --listen"
            ) from error
        await opened.enter_async_context(beside(_clean_up(base, guard, unwanted)))
        yield RunningNode(
            port=port, driver=made.name, context=context, certificates=settings.certificates,
            guard=guard, leaving=leaving,
        )  # fmt: skip


async def _require_working(driver: Driver) -> None:
    """Make a sandbox, after which the driver prepares others, too. Raises DriverUnavailable."""
    health = await driver.probe()
    if not health.works:
        why = "; ".join(each.explained for each in health.problems) or "it does not say why"
        raise DriverUnavailable(
            f"the driver {driver.name} does not work here: {why}; `assay doctor` says more"
        )


async def _adopt(guard: Guard, ownership: Ownership, owners: Owners) -> frozenset[str]:
    """Go on with what an earlier node has made for servers; returns what it made for nobody."""
    there = await guard.list()
    owners.forget_vanished(there)
    ownership.forget_vanished(there)
    noted = owners.all()
    for sandbox_id in noted:
        guard.adopt(sandbox_id)
    return ownership.orphans(there, noted) | ownership.strangers(there).difference(noted)


async def _clean_up(base: Settings, guard: Guard, unwanted: frozenset[str]) -> None:
    for sandbox_id in unwanted:
        with contextlib.suppress(AssayError):
            await guard.destroy(sandbox_id)
    await sweep_abandoned(base, guard)


def _roots(base: Settings) -> Roots:
    from assay.drivers.linux.folder import images_in_use
    from assay.drivers.linux.users import read_ids

    folder = base.images / "received"
    with contextlib.suppress(OSError):  # who needs it says why it can't be made
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_ours(folder, "images", "by ASSAY_IMAGES")
    received = ReceivedRoots(folder, owner_offset=1 if read_ids().rootless else 0)
    received.sweep()
    return Roots(
        received,
        host=lambda: root_filesystem(base, "host"),
        in_use=lambda: images_in_use(base.state),
    )


def _facts(base: Settings, driver: Driver) -> Facts:
    from assay.drivers.nodes.abilities import told

    return Facts(
        driver=driver.name,
        capabilities=told(driver.capabilities),
        host=root_filesystem(base, "host").digest,
        machine=machine_now(),
        release=assay.__version__,
    )


def _status(
    settings: NodeSettings, guard: Guard, driver: Driver, leaving: asyncio.Event
) -> Callable[[], Status]:
    processors = len(os.sched_getaffinity(0))
    mark = settings.base.state / _FOLDER / _DRAINING

    def now() -> Status:
        return Status(
            sandboxes=guard.sandboxes,
            most=settings.most_sandboxes,
            stock=driver.prepared if isinstance(driver, Prepares) else 0,
            load=os.getloadavg()[0] / processors,
            draining=leaving.is_set() or mark.exists(),
        )

    return now


async def serve_node(settings: NodeSettings, *, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is told where, once servers can connect."""
    sys.setswitchinterval(SECONDS_BETWEEN_THREADS)
    stop = asyncio.Event()
    async with beside(feed_watchdog()):
        with _on_signals(stop.set, signal.SIGTERM, signal.SIGINT):
            async with running_node(settings) as node:
                with _on_signals(node.reload, signal.SIGHUP):
                    spare_the_collector()
                    place = settings.listen.host, node.port
                    announce(f"{place[0]}:{place[1]} with the driver {node.driver}")
                    notify("READY=1")
                    await stop.wait()
                    notify("STOPPING=1")
                    await node.empty(settings.empty_seconds)


@contextlib.contextmanager
def _on_signals(react: Callable[[], None], *numbers: signal.Signals) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, react)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
