"""The environments that a server offers: those of its configuration, and those made by the API.

What an environment's sandboxes are made of (an image, which may have to be pulled or built) is
looked for in threads of its own, once for all who ask at the same time, and then remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from assay.bootstrap.catalogue import Catalogue, find_image
from assay.bootstrap.devices import with_variables
from assay.bootstrap.images import holding
from assay.bootstrap.variants import ROOMS, Variants, room_of
from assay.config.server import ConfiguredEnvironment, ServerSettings
from assay.domain.devices import Device, devices_of
from assay.domain.errors import (
    AssayError,
    CapabilityMissing,
    Forbidden,
    InvalidInput,
    UnknownEnvironment,
)
from assay.domain.limits import ExecutionLimits, SandboxLimits
from assay.driver.guard import require_devices, require_network
from assay.driver.port import Driver, RootFilesystem
from assay.environments import HOST, Blueprint, ExecutionEnvironment, Origin, ServedEnvironment
from assay.environments.served import from_json, to_json
from assay.images import Image, ignore
from assay.images.reference import FromRegistry, parse
from assay.storage.records import EnvironmentRecord

if TYPE_CHECKING:  # half a second of commands that have no database
    from assay.storage.database import Storage

_LET_GO_SECONDS: Final = 120.0
"""How long an image that nobody wants any more stays: sandboxes of it may be in the making."""


class Stock(Protocol):
    """What is told of environments: the pool."""

    def set_environment(self, environment: ServedEnvironment) -> None:
        """Keep sandboxes of it, in the place of those of its former self."""
        ...

    def remove_environment(self, name: str) -> None:
        """Keep none."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """What sandboxes of an image are made of, which is held on to meanwhile."""

    root: RootFilesystem
    folder: ExecutionEnvironment | None
    held: contextlib.ExitStack


class ServedEnvironments:
    """Offers environments to the API, and finds what they are made of for the pool."""

    def __init__(
        self, settings: ServerSettings, catalogue: Catalogue, storage: Storage, driver: Driver
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._storage = storage
        self._driver = driver
        self._stock: Stock | None = None
        self._variants: Variants | None = None
        self._rooms: Variants | None = None
        self._offered: dict[str, ServedEnvironment] = {}
        self._made: dict[tuple[str, str], asyncio.Task[_Made]] = {}
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="assay-images")
        self._letting_go: dict[contextlib.ExitStack, asyncio.TimerHandle] = {}
        self._kept: dict[str, bytes] = {}
        """Those of the database, as they are written there."""
        self._changes = 0

    async def load(self) -> None:
        """Read those of the configuration, and of the database. Raises InvalidInput and others."""
        for record in await self._storage.environments():
            self._take_up(record)
        for name, written in self._settings.environments.items():
            self._offered[name] = configured(name, written, self._catalogue)
            try:
                self._require_network(self._offered[name])
                self._require_devices(self._offered[name].devices)
            except CapabilityMissing as error:
                where = f"server.environments.{name}"
                raise CapabilityMissing(f"{where}: {error.message}") from error

    def _take_up(self, record: EnvironmentRecord) -> None:
        self._kept[record.name] = record.definition
        with contextlib.suppress(InvalidInput):  # written by another version of Assay
            self._offered[record.name] = from_json(record.definition)

    async def follow(self) -> None:
        """Offer what other servers of the database have changed there. Raises StorageError."""
        changes = self._changes
        found = {
            record.name: record
            for record in await self._storage.environments()
            if record.name not in self._settings.environments
        }
        if changes != self._changes:
            return  # what was read may be older than what was changed here meanwhile
        for name in self._kept.keys() - found.keys() - self._settings.environments.keys():
            del self._kept[name]
            self._withdraw(name)
        for name, record in found.items():
            if self._kept.get(name) != record.definition:
                self._take_up(record)
                if name in self._offered:
                    self._stock_up(self._offered[name])
                self._forget_unused()

    def _withdraw(self, name: str) -> None:
        if self._offered.pop(name, None) is not None and self._stock is not None:
            self._stock.remove_environment(name)
            self._forget_derived(name)
        self._forget_unused()

    def _stock_up(self, environment: ServedEnvironment) -> None:
        """Tell the pool of one that has changed, or is new."""
        if self._stock is not None:
            self._stock.set_environment(environment)
            self._forget_derived(environment.name)

    def _forget_derived(self, name: str) -> None:
        """What was derived from it is of another image, or of one that goes."""
        for variants in (self._variants, self._rooms):
            if variants is not None:
                variants.forget(name)

    def supply(self, stock: Stock) -> None:
        """Tell the pool of all, now and whenever they change."""
        self._stock = stock
        self._variants = Variants(stock)
        self._rooms = Variants(stock, most=ROOMS)
        for environment in self._offered.values():
            stock.set_environment(environment)

    def all(self) -> list[ServedEnvironment]:
        """All that are offered, by name."""
        return [self._offered[name] for name in sorted(self._offered)]

    def get(self, name: str) -> ServedEnvironment:
        """One of them. Raises UnknownEnvironment."""
        if name not in self._offered:
            raise UnknownEnvironment(f"no environment is called {name[:80]!r}")
        return self._offered[name]

    def folder(self, environment: ServedEnvironment) -> ExecutionEnvironment | None:
        """That of its language as it is written; None: it has none, or one that isn't here."""
        with contextlib.suppress(InvalidInput):
            return self._catalogue.named(environment.language) if environment.language else None
        return None

    @contextlib.asynccontextmanager
    async def varied(
        self, environment: ServedEnvironment, sandbox: SandboxLimits
    ) -> AsyncIterator[str]:
        """The name, for the block, of an environment like this one with so much of a sandbox.

        Raises what `resolve` does.
        """
        if self._variants is None or sandbox == environment.sandbox:
            yield environment.name
            return
        await self.resolve(environment)  # what it may not have, no variant of it has
        with self._variants.using(environment, sandbox) as name:
            yield name

    @contextlib.asynccontextmanager
    async def roomy(self, wanted: ServedEnvironment) -> AsyncIterator[str]:
        """The name, for the block, of what is derived from one of these for a grader.

        Some of its sandboxes are kept warm from now on, for as long as it is among those that were
        wanted last. Raises what `resolve` does.
        """
        await self.resolve(wanted)
        assert self._rooms is not None  # somebody claims: there is a pool
        with self._rooms.known(room_of(wanted)) as name:
            yield name

    async def put(self, environment: ServedEnvironment) -> bool:
        """Offer an environment from now on; returns when its image is here: whether it is new.

        Raises Forbidden for one of the configuration, InvalidInput, and what images raise.
        """
        environment = replace(environment, origin=Origin.API)
        async with self._changing[environment.name]:
            before = self._offered.get(environment.name)
            self._require_free(environment.name, "changed")
            self._require_room(environment)
            self._forget(environment)  # a tag may stand for something else by now
            await self.resolve(environment)
            now, definition = self._storage.clock(), to_json(environment)
            await self._storage.put_environment(EnvironmentRecord(
                name=environment.name, definition=definition, updated_at=now
            ))  # fmt: skip
            self._changes += 1
            self._kept[environment.name] = definition
            self._offered[environment.name] = environment
            self._stock_up(environment)
            self._forget_unused()
            return before is None

    async def delete(self, name: str) -> bool:
        """Offer it no longer; runners of it go on. Returns False if there is none.

        Raises Forbidden for one of the configuration.
        """
        async with self._changing[name]:
            if name not in self._offered:
                return False
            self._require_free(name, "removed")
            await self._storage.remove_environment(name)
            self._changes += 1
            self._kept.pop(name, None)
            self._withdraw(name)
            return True

    def _require_free(self, name: str, what: str) -> None:
        if name in self._settings.environments:
            raise Forbidden(
                f"the environment {name!r} belongs to the server's configuration, and can be"
                f" {what} there only"
            )

    def _require_room(self, environment: ServedEnvironment) -> None:
        others = sum(each.pool_size for each in self._offered.values()
                     if each.name != environment.name)  # fmt: skip
        most = self._settings.most_sandboxes
        if others + environment.pool_size > most:
            raise InvalidInput(
                f"this server has room for {most} sandboxes, and other pools take {others}:"
                f" at most {max(0, most - others)} are left for {environment.name!r}"
            )

    async def resolve(self, environment: ServedEnvironment) -> Blueprint:
        """Find what its sandboxes are made of; pulls or builds an image that is not here.

        Raises InvalidInput, Unavailable (CapabilityMissing, DeviceUnavailable), DiskFull, and
        their like.
        """
        key = _key(environment)
        if environment.origin is Origin.API:
            self._require_allowed(environment)
        self._require_network(environment)  # rather than that nobody ever gets a sandbox
        if key not in self._made:
            self._made[key] = asyncio.get_running_loop().create_task(self._make(environment))
        try:
            made = await asyncio.shield(self._made[key])
        except AssayError:
            self._made.pop(key, None)  # next time it may be there
            raise
        root = environment.within(made.root)
        blueprint = Blueprint(environment=environment, root=root, folder=made.folder)
        self._require_devices(blueprint.devices)
        return replace(blueprint, root=with_variables(root, blueprint.devices))

    def _require_network(self, environment: ServedEnvironment) -> None:
        able = self._driver.capabilities
        require_network(self._driver.name, able, wanted=environment.network)

    def _require_devices(self, devices: tuple[Device, ...]) -> None:
        self._settings.base.devices.require(devices)
        require_devices(devices, self._driver.name, self._driver.capabilities)

    def _require_allowed(self, environment: ServedEnvironment) -> None:
        """The API's users can't make a server show them its files, unless the operator says so."""
        image = environment.image or self._catalogue.named(environment.language or "").image
        if self._settings.allow_host_images or isinstance(_source(image), FromRegistry):
            return
        raise Forbidden(
            f"the image {image!r} is made of files of the server's machine; its operator can"
            " allow that (--allow-host-images), or configure the environment"
        )

    async def _make(self, environment: ServedEnvironment) -> _Made:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._find, environment)

    def _find(self, environment: ServedEnvironment) -> _Made:
        folder, image = None, environment.image
        if environment.language is not None:
            ready = self._catalogue.ready(
                self._catalogue.named(environment.language), image=image or None,
                on_progress=ignore,
            )  # fmt: skip
            folder, root, found = ready.environment, ready.root, ready.image
        else:
            root, found = find_image(self._settings.base, image, ignore)
        return _Made(root=root, folder=folder, held=self._hold(found))

    def _hold(self, image: Image | None) -> contextlib.ExitStack:
        held = contextlib.ExitStack()
        held.enter_context(holding(self._settings.base, image))
        return held

    def _forget_unused(self) -> None:
        used = {_key(environment) for environment in self._offered.values()}
        for key in [key for key in self._made if key not in used]:
            self._drop(key)

    def _forget(self, environment: ServedEnvironment) -> None:
        if (task := self._made.get(_key(environment))) and task.done():
            self._drop(_key(environment))

    def _drop(self, key: tuple[str, str]) -> None:
        task = self._made.pop(key)
        if task.done() and not task.cancelled() and task.exception() is None:
            held = task.result().held
            loop = asyncio.get_running_loop()
            self._letting_go[held] = loop.call_later(_LET_GO_SECONDS, self._let_go, held)

    def _let_go(self, held: contextlib.ExitStack) -> None:
        self._letting_go.pop(held).cancel()
        held.close()

    async def aclose(self) -> None:
        """Wait for what is being pulled or built, and let go of all images."""
        await asyncio.gather(*self._made.values(), return_exceptions=True)
        for key in list(self._made):
            self._drop(key)
        for held in list(self._letting_go):
            self._let_go(held)
        self._threads.shutdown(wait=False)


def configured(
    name: str, written: ConfiguredEnvironment, catalogue: Catalogue
) -> ServedEnvironment:
    """An environment of the configuration, with the limits of its language where it has none.

    Raises UnknownEnvironment, LimitOverCeiling or InvalidInput, which name it.
    """
    try:
        folder = catalogue.named(written.language) if written.language else None
        return ServedEnvironment(
            name=name,
            image=written.image,
            language=written.language,
            sandbox=written.sandbox.over(folder.sandbox if folder else SandboxLimits()),
            execution=written.execution.over(folder.run.limits if folder else ExecutionLimits()),
            ceiling=written.ceiling.over(folder.ceilings.run if folder else _UNLIMITED),
            network=written.network,
            devices=devices_of(written.devices) or (folder.devices if folder else ()),
            exposed_ports=tuple(written.exposed_ports),
            pool_size=written.pool_size,
            variables=dict(written.variables),
            cpu_shares=written.cpu_shares,
            origin=Origin.CONFIGURATION,
        )
    except InvalidInput as error:
        raise type(error)(f"server.environments.{name}: {error.message}") from error


_UNLIMITED: Final = ExecutionLimits(
    wall_seconds=None, cpu_seconds=None, output_bytes=None, open_files=None
)


def _key(environment: ServedEnvironment) -> tuple[str, str]:
    return environment.image, environment.language or ""


def _source(image: str) -> object:
    return HOST if image == HOST else parse(image)
