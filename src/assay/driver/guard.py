"""Safety around any driver, written once: drivers themselves stay simple."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from assay.domain.devices import AllowedDevices, Device
from assay.domain.errors import (
    AssayError,
    CapabilityMissing,
    CapacityExceeded,
    CreateTimeout,
    DriverError,
    InvalidInput,
    SandboxGone,
)
from assay.driver.port import (
    ByteStream,
    Capabilities,
    Driver,
    Health,
    Leaves,
    Sandbox,
    SandboxSpec,
    SandboxState,
)

NO_DEVICES: Final = AllowedDevices()
CREATE_SECONDS: Final = 30.0
"""For a driver to make a sandbox, unless a guard is told otherwise."""
COPY_SECONDS: Final = 300.0
"""The same, where the first sandbox of an image waits until that has been copied."""
STOP_SECONDS: Final = 5.0
"""For a driver to stop creating when told to; what it makes later is destroyed."""
AGAIN_SECONDS: Final = 5.0
"""Between tries to destroy what nobody knows of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxCreated:
    """A sandbox was made, in so many seconds."""

    sandbox_id: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxConnected:
    """A byte stream to a sandbox was opened, in so many seconds."""

    sandbox_id: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxDestroyed:
    """A sandbox was destroyed, in so many seconds."""

    sandbox_id: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverFailed:
    """The driver could not do something."""

    operation: Literal["create", "connect", "destroy"]
    error: AssayError
    sandbox_id: str = ""


Event = SandboxCreated | SandboxConnected | SandboxDestroyed | DriverFailed


class Guard:
    """A driver around a driver.

    - `create` has a deadline and a cap on the number of sandboxes; a sandbox that comes too late,
      or for nobody, is destroyed, however often it must be tried.
    - `destroy` runs once for all who ask at the same time, and to its end when they are cancelled.
    - Devices of the host are for sandboxes whose driver can show them, and only those that the
      operator allows, whoever asks; a network is for those whose driver can give one.
    - `connect` to a sandbox that is being destroyed raises SandboxGone.
    - Whatever the driver raises is a DriverError or another AssayError.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        most_sandboxes: int = 1000,
        create_seconds: float | None = None,
        devices: AllowedDevices = NO_DEVICES,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        if create_seconds is None:
            in_place = driver.capabilities.images_in_place
            create_seconds = CREATE_SECONDS if in_place else COPY_SECONDS
        if most_sandboxes < 1 or create_seconds <= 0:
            raise InvalidInput("a guard needs room for a sandbox, and time to make it")
        self._driver = driver
        self._most = most_sandboxes
        self._create_seconds = create_seconds
        self._devices = devices
        self._on_event = on_event
        self._sandboxes: set[str] = set()
        self._creating: set[asyncio.Task[Sandbox]] = set()
        self._destroying: dict[str, asyncio.Task[None]] = {}
        self._unwanted: dict[str, asyncio.TimerHandle] = {}
        """Those that nobody knows of, and that could not be destroyed so far."""
        self._closing = False

    @property
    def name(self) -> str:
        """The driver's name."""
        return self._driver.name

    @property
    def capabilities(self) -> Capabilities:
        """What the driver can do."""
        return self._driver.capabilities

    @property
    def create_seconds(self) -> float:
        """How long a sandbox may take to be made."""
        return self._create_seconds

    @property
    def sandboxes(self) -> int:
        """How many there are, those that are being made included."""
        return len(self._sandboxes) + len(self._creating)

    async def probe(self) -> Health:
        """Say whether the technology works here."""
        return await self._driver.probe()

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox.

        Raises CapacityExceeded, CreateTimeout or another DriverError; CapabilityMissing or
        DeviceUnavailable for devices, or a network, that it can't have.
        """
        require_network(self.name, self.capabilities, wanted=spec.network)
        require_devices(spec.devices, self.name, self.capabilities)
        self._devices.require(spec.devices)
        if self.sandboxes >= self._most:
            raise CapacityExceeded(
                f"there are {self._most} sandboxes already, as many as are allowed"
            )
        started = _now()
        task = asyncio.ensure_future(self._driver.create(spec))
        self._creating.add(task)
        try:
            sandbox = await self._created_in_time(task)
        except AssayError as error:
            self._tell(DriverFailed(operation="create", error=error))
            raise
        self._tell(SandboxCreated(sandbox_id=sandbox.id, seconds=_now() - started))
        return sandbox

    async def _created_in_time(self, task: asyncio.Task[Sandbox]) -> Sandbox:
        try:
            done, _ = await asyncio.wait((task,), timeout=self._create_seconds)
            if not done:
                raise CreateTimeout(f"no sandbox was ready in {self._create_seconds:g} seconds")
        except BaseException:
            await self._stop_creating(task)
            raise
        self._creating.discard(task)
        try:
            sandbox = task.result()
        except Exception as error:
            raise _as_driver_error(error, "create a sandbox") from error
        self._sandboxes.add(sandbox.id)
        return sandbox

    async def _stop_creating(self, task: asyncio.Task[Sandbox]) -> None:
        task.cancel()
        # Until the driver has stopped, what it makes counts, and nobody waits for it.
        task.add_done_callback(self._on_unwanted)
        await asyncio.wait((task,), timeout=STOP_SECONDS)
        if task.done() and (sandbox := _result(task)) and sandbox.id in self._destroying:
            await asyncio.wait((self._destroying[sandbox.id],), timeout=STOP_SECONDS)

    def _on_unwanted(self, task: asyncio.Task[Sandbox]) -> None:
        self._creating.discard(task)
        if sandbox := _result(task):
            self._sandboxes.add(sandbox.id)
            self._end_unwanted(sandbox.id)

    def _end_unwanted(self, sandbox_id: str) -> None:
        """Whoever asked for it does not know of it: nobody else would try again."""
        self._unwanted.pop(sandbox_id, None)
        task = self._destroying.get(sandbox_id) or self._destroy_task(sandbox_id)
        task.add_done_callback(lambda _done: self._look_after(sandbox_id))

    def _look_after(self, sandbox_id: str) -> None:
        if sandbox_id in self._sandboxes and not self._closing:
            self._unwanted[sandbox_id] = asyncio.get_running_loop().call_later(
                AGAIN_SECONDS, self._end_unwanted, sandbox_id
            )

    def adopt(self, sandbox_id: str) -> None:
        """Count a sandbox of an earlier server, until it is destroyed."""
        self._sandboxes.add(sandbox_id)

    async def connect(self, sandbox_id: str) -> ByteStream:
        """Open a byte stream to a sandbox's agent. Raises SandboxGone when there is none."""
        self._require_not_destroyed(sandbox_id)
        started = _now()
        try:
            stream = await self._driver.connect(sandbox_id)
        except Exception as error:
            failure = _as_driver_error(error, "connect to a sandbox")
            self._tell(DriverFailed(operation="connect", error=failure, sandbox_id=sandbox_id))
            raise failure from error
        try:
            self._require_not_destroyed(sandbox_id)
        except SandboxGone:
            await stream.aclose()
            raise
        self._tell(SandboxConnected(sandbox_id=sandbox_id, seconds=_now() - started))
        return stream

    def _require_not_destroyed(self, sandbox_id: str) -> None:
        if sandbox_id in self._destroying:
            raise SandboxGone(f"the sandbox {sandbox_id} is being destroyed")

    async def list(self) -> Sequence[str]:
        """The ids of the driver's sandboxes."""
        return await self._driver.list()

    async def examine(self, sandbox_id: str) -> SandboxState | None:
        """What the host knows of a sandbox."""
        return await self._driver.examine(sandbox_id)

    def leaving(self) -> Collection[str]:
        """The sandboxes that are not to stay where they are, if the driver says so."""
        return self._driver.leaving() if isinstance(self._driver, Leaves) else ()

    async def destroy(self, sandbox_id: str) -> None:
        """End a sandbox. To be repeated when it fails; it counts until it is gone."""
        task = self._destroying.get(sandbox_id) or self._destroy_task(sandbox_id)
        await asyncio.shield(task)

    def _destroy_task(self, sandbox_id: str) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._destroy(sandbox_id))
        self._destroying[sandbox_id] = task
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _destroy(self, sandbox_id: str) -> None:
        started = _now()
        try:
            await self._driver.destroy(sandbox_id)
        except Exception as error:
            failure = _as_driver_error(error, "destroy a sandbox")
            self._tell(DriverFailed(operation="destroy", error=failure, sandbox_id=sandbox_id))
            raise failure from error
        else:
            self._sandboxes.discard(sandbox_id)
            self._tell(SandboxDestroyed(sandbox_id=sandbox_id, seconds=_now() - started))
        finally:
            del self._destroying[sandbox_id]

    async def aclose(self) -> None:
        """Wait for what is being created for nobody or destroyed, then close the driver."""
        self._closing = True
        for sandbox_id, timer in list(self._unwanted.items()):
            timer.cancel()
            self._end_unwanted(sandbox_id)
        while unfinished := (*self._creating, *self._destroying.values()):
            _, late = await asyncio.wait(unfinished, timeout=STOP_SECONDS)
            if late:
                break
        await self._driver.aclose()

    def _tell(self, event: Event) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception as error:  # an observer's fault must not cost a sandbox
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"the observer of {event} failed", "exception": error}
            )


def require_devices(devices: Sequence[Device], driver: str, able: Capabilities) -> None:
    """Raise CapabilityMissing if a driver can't show devices, and there are some to show."""
    if devices and not able.devices:
        raise CapabilityMissing(
            f"the driver {driver} can't show {devices[0].name}, nor any other device, in its"
            " sandboxes; take a driver that can: `assay driver list`"
        )


def require_network(driver: str, able: Capabilities, *, wanted: bool) -> None:
    """Raise CapabilityMissing if a network is wanted, and a driver can't give any."""
    if wanted and not able.network_on:
        raise CapabilityMissing(
            f"the driver {driver} makes sandboxes without network only: `network` (Poseidon's"
            " `networkAccess`) must be false"
        )


def _result(done: asyncio.Task[Sandbox]) -> Sandbox | None:
    return None if done.cancelled() or done.exception() else done.result()


def _as_driver_error(error: Exception, what: str) -> AssayError:
    if isinstance(error, AssayError):
        return error
    return DriverError(f"the driver could not {what}", detail=repr(error))


def _now() -> float:
    return asyncio.get_running_loop().time()
