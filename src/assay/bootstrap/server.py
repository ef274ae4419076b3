"""One server: storage, driver, environments, pool, runners and API knitted together, and drained.

lock the state folder and the database -> open storage -> next epoch -> driver
-> bind the address (who connects now, waits) -> adopt runners -> let in -> adopt idle -> ready
SIGTERM -> not ready, nothing new -> executions end, or time is up -> close; sandboxes stay
Given up by other servers of the database -> close at once; what is theirs now stays untouched
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import assay
from assay.api.app import make_app, make_server
from assay.api.auth import Authenticator
from assay.api.origin import networks
from assay.api.services import ApiSettings, Services
from assay.bootstrap.alone import alone_in
from assay.bootstrap.catalogue import Catalogue
from assay.bootstrap.choice import choose_driver
from assay.bootstrap.cluster import Cluster, Epochs, name_of, place_of
from assay.bootstrap.doors import Door, admit
from assay.bootstrap.drivers import owned
from assay.bootstrap.grading import grading
from assay.bootstrap.ownership import Ownership
from assay.bootstrap.process import (
    SECONDS_BETWEEN_THREADS,
    beside,
    raise_descriptor_limit,
    spare_the_collector,
)
from assay.bootstrap.recovery import Recovery
from assay.bootstrap.seats import divided
from assay.bootstrap.sent_files import sent_files
from assay.bootstrap.served import ServedEnvironments
from assay.bootstrap.sharing import Sharing
from assay.bootstrap.systemd import feed_watchdog, notify
from assay.config.server import ServerSettings
from assay.domain.errors import AssayError
from assay.domain.limits import MIB
from assay.driver.port import Driver
from assay.grading.desk import Desk
from assay.observe.observer import Observer
from assay.pool import Pool
from assay.runners.runners import Runners
from assay.storage.database import Storage
from assay.storage.file_cache import SentFiles

_PREPARED: Final = 16
"""Sandboxes of which all is there but what they are of, where the driver can do that: so many
fresh ones are there in a few milliseconds each when a pool has run dry."""
_SECONDS_TO_CLEAN: Final = 15.0
"""How long it is waited at the end for what an earlier server has left: longer than it takes until
a sandbox that nobody has noted is surely nobody's."""
_log: Final = logging.getLogger("assay")


class Server:
    """A running server; `running_server` makes it."""

    def __init__(
        self, settings: ServerSettings, door: Door, pool: Pool, runners: Runners,
        admit_again: Callable[[], Awaitable[None]], cluster: Cluster,
    ) -> None:  # fmt: skip
        self.cluster = cluster
        self.pool = pool
        self.runners = runners
        self.ready = False
        """Whether it takes requests for runners."""
        self._settings = settings
        self._door = door
        self._admit_again = admit_again
        self._at_once = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return self._door.url

    async def reload(self) -> None:
        """Read the certificate, the secret and tokens again. Raises InvalidInput: the old stay."""
        self._door.reload()
        self.cluster.authorities.reload()
        await self._admit_again()

    def hurry(self) -> None:
        """Don't wait for executions at the end, or any longer."""
        self._at_once.set()

    async def drain(self) -> None:
        """Take nothing new, and wait for executions for as long as the settings say."""
        self.ready = False
        await self.cluster.drain()
        await self.pool.drain()
        await self._unless_hurried(
            self.runners.drain(self._settings.drain_seconds, heir=self.cluster.has_heir)
        )

    async def finish(self, cleaned: asyncio.Event) -> None:
        """Wait until what an earlier server has left is destroyed, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS_TO_CLEAN):
                await self._unless_hurried(cleaned.wait())

    async def _unless_hurried(self, work: Coroutine[Any, Any, object]) -> None:
        """Do it, and break it off when told to hurry."""
        doing = asyncio.ensure_future(work)
        hurried = asyncio.ensure_future(self._at_once.wait())
        try:
            await asyncio.wait((doing, hurried), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (doing, hurried):
                task.cancel()
            await asyncio.wait((doing, hurried))


@asynccontextmanager
async def running_server(
    settings: ServerSettings, *, driver: Driver | None = None
) -> AsyncIterator[Server]:
    """Serve from the beginning to the end of the block; at its end executions get time to end.

    `driver` is another one than the settings': for tests. Raises Unavailable, InvalidInput,
    StorageError and others, each with what to do about it.
    """
    async with AsyncExitStack() as opened:
        among_others = settings.advertise is not None
        opened.enter_context(alone_in(settings.base.state, among_others=among_others))
        raise_descriptor_limit(settings.most_sandboxes)
        observer = Observer()
        storage = await Storage.open(settings.database, on_event=observer.on_event)
        opened.push_async_callback(storage.aclose)
        sharing = await Sharing.of(settings.base, storage)
        cluster = Cluster(storage, settings, observer)
        opened.push_async_callback(cluster.aclose)
        authenticator = Authenticator()
        admit_again = partial(admit, authenticator, settings, storage)
        await admit_again()
        door = opened.enter_context(Door(settings))
        if driver is None:
            name = await choose_driver(settings.base)
            driver = sharing.make(name, stock=_PREPARED)
        else:
            sharing.share(driver)
        address, shared = door.advertised, sharing.applies_to(driver)
        ownership = Ownership(settings.base.state, driver.name, server=name_of(settings, address))
        guard = await opened.enter_async_context(
            owned(
                driver,
                ownership,
                devices=settings.base.devices,
                most_sandboxes=settings.most_sandboxes,
                on_event=observer.on_event,
            )
        )
        environments = ServedEnvironments(settings, Catalogue(settings.base), storage, guard)
        opened.push_async_callback(environments.aclose)
        await environments.load()

        if among_others:
            place = place_of(settings.base.state, driver.name, shared=shared)
            epochs = await cluster.join(address, place, ownership)
        else:
            epochs = Epochs(await storage.next_epoch())
        pool = Pool(
            guard, environments.resolve, storage, epochs=epochs,
            parallel=settings.parallel_creations, on_event=observer.on_event,
            condemn=storage.condemn_sandbox if among_others else None,
        )  # fmt: skip
        opened.push_async_callback(_close_pool, pool, settings, cluster)
        division = divided(pool, environments, most_sandboxes=settings.most_sandboxes)
        runners = Runners(
            division.stock if settings.courses else pool, storage, guard, epochs=epochs,
            resolve=pool.blueprint, port_host=settings.port_host,
            retain_seconds=settings.retain_seconds, detached_seconds=settings.detached_seconds,
            on_event=observer.on_event,
        )  # fmt: skip
        observer.metrics.describe(version=assay.__version__, driver=driver.name)
        observer.metrics.watch(pool.statistics, runners)
        opened.push_async_callback(runners.aclose)
        server = Server(settings, door, pool, runners, admit_again, cluster)
        if settings.destroy_on_exit:
            opened.push_async_callback(_delete_all, runners, cluster)
        environments.supply(pool)
        recovery = Recovery(
            settings.base, guard=guard, ownership=ownership, storage=storage, pool=pool,
            runners=runners, sharing=sharing, shared=shared,
        )  # fmt: skip
        await recovery.adopt_runners()
        runners.start()
        if among_others:
            await cluster.start(
                epochs=epochs, environments=environments, pool=pool, runners=runners,
                recovery=recovery, ownership=ownership, authenticator=authenticator,
            )  # fmt: skip
        kept = kept_folder(settings)
        graded = await opened.enter_async_context(
            grading(
                settings,
                division,
                offered=[each.name for each in environments.all()],
                kept=kept,
                on_event=observer.on_event,
            )
        )
        files = await opened.enter_async_context(sent_files(settings.database, kept))
        services = _services(
            settings, server, environments, authenticator, door, storage, observer, graded.desk,
            files,
        )  # fmt: skip
        web = make_server(make_app(services), services)
        await web.setup()
        opened.push_async_callback(web.cleanup)
        await door.open(web)
        await recovery.adopt_idle()
        pool.start()
        await opened.enter_async_context(beside(recovery.clean_up()))
        if settings.destroy_on_exit:
            opened.push_async_callback(server.finish, recovery.cleaned)
        opened.push_async_callback(server.drain)
        opened.push_async_callback(graded.drain)  # before: it takes new sandboxes to the end
        server.ready = True
        yield server


def _services(
    settings: ServerSettings,
    server: Server,
    environments: ServedEnvironments,
    authenticator: Authenticator,
    door: Door,
    storage: Storage,
    observer: Observer,
    desk: Desk | None,
    files: SentFiles,
) -> Services:
    return Services(
        runners=server.runners,
        pool=server.pool,
        environments=environments,
        authenticator=authenticator,
        version=assay.__version__,
        settings=ApiSettings(
            most_body_bytes=settings.request_mib * MIB,
            tls=door.tls,
            host_image=settings.allow_host_images,
            depleting_below=settings.depletion_threshold,
            proxies=networks(settings.trusted_proxies),
            claim_seconds=settings.claim_seconds,
            webhook_networks=settings.webhook_networks,
        ),
        ready=lambda: server.ready and not server.cluster.given_up.is_set(),
        tokens=storage,
        forwarder=server.cluster.forwarder,
        metrics=observer.metrics.text,
        on_event=observer.on_event,
        desk=desk,
        sent_files=files,
    )


def kept_folder(settings: ServerSettings) -> Path:
    """Where is kept what outlives the machine's restart: beside the database, or the images."""
    kind, _, path = settings.database.partition(":///")
    on_disk = kind == "sqlite" and path and not path.startswith(":")
    return Path(path).parent if on_disk else settings.base.images.parent


async def _close_pool(pool: Pool, settings: ServerSettings, cluster: Cluster) -> None:
    given_up = cluster.given_up.is_set()
    await pool.aclose(keep_idle=given_up or not settings.destroy_on_exit)


async def _delete_all(runners: Runners, cluster: Cluster) -> None:
    if cluster.given_up.is_set():
        return
    for runner in runners.all():
        with contextlib.suppress(AssayError):
            await runners.delete(runner.lease.runner_id)


async def serve(settings: ServerSettings, *, announce: Callable[[str], None]) -> None:
    """Serve until a signal says to stop; `announce` is told where, once requests are taken."""
    sys.setswitchinterval(SECONDS_BETWEEN_THREADS)
    signals = _Signals()
    async with beside(feed_watchdog()):
        with signals.watched():
            async with running_server(settings) as server:
                signals.server = server
                spare_the_collector()
                announce(server.url)
                notify("READY=1")
                await _either(signals.stop, server.cluster.given_up)
                notify("STOPPING=1")
                if server.cluster.given_up.is_set():
                    server.hurry()
                    server.cluster.require_own()


async def _either(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


class _Signals:
    """SIGTERM and SIGINT: drain, and the second one: at once. SIGHUP: read secrets again."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.server: Server | None = None
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._reloading: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """React to them during the block."""
        reactions = {
            signal.SIGTERM: self._on_stop, signal.SIGINT: self._on_stop,
            signal.SIGHUP: self._on_reload,
        }  # fmt: skip
        for number, reaction in reactions.items():
            self._loop.add_signal_handler(number, reaction)
        try:
            yield
        finally:
            for number in reactions:
                self._loop.remove_signal_handler(number)

    def _on_stop(self) -> None:
        if self.server is None:
            assert self._task is not None
            self._task.cancel()  # it has not even begun
        elif self.stop.is_set():
            self.server.hurry()
        self.stop.set()

    def _on_reload(self) -> None:
        if self.server is not None:
            self._reloading = self._loop.create_task(self._reload(self.server))

    async def _reload(self, server: Server) -> None:
        try:
            await server.reload()
        except AssayError as error:
            _log.error("could not reload: %s", error.message)
