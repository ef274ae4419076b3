"""Safety around a driver: deadlines, caps, idempotent destroying, nothing left behind."""

import asyncio
from dataclasses import replace

import pytest

from assay.domain.devices import AllowedDevices, Device
from assay.domain.errors import (
    AssayError,
    CapabilityMissing,
    CapacityExceeded,
    CreateTimeout,
    DeviceUnavailable,
    DiskFull,
    DriverError,
    InvalidInput,
    RuntimeFailed,
    SandboxGone,
)
from assay.driver.guard import DriverFailed, Guard, SandboxCreated, SandboxDestroyed
from assay.driver.port import ByteStream, Capabilities, Driver, Sandbox, SandboxSpec
from assay.drivers.fake import FakeDriver


class Slow(FakeDriver):
    """A driver that counts, takes its time, and can be told to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.destroyed: list[str] = []
        self.destroy_error: Exception | None = None
        self.stubborn = False

    async def create(self, spec: SandboxSpec) -> Sandbox:
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            if not self.stubborn:
                raise
            await asyncio.sleep(0.05)
        return await super().create(spec)

    async def connect(self, sandbox_id: str) -> ByteStream:
        await asyncio.sleep(0.01)
        return await super().connect(sandbox_id)

    async def destroy(self, sandbox_id: str) -> None:
        self.destroyed.append(sandbox_id)
        await asyncio.sleep(0.01)
        if self.destroy_error is not None:
            raise self.destroy_error
        await super().destroy(sandbox_id)


async def test_a_guard_is_a_driver_that_passes_things_on(spec) -> None:
    inner = FakeDriver()
    guard = Guard(inner)
    assert isinstance(guard, Driver)
    assert guard.name == "fake"
    assert guard.capabilities is inner.capabilities
    assert (await guard.probe()).works
    sandbox = await guard.create(spec)
    assert await guard.list() == [sandbox.id]
    assert (await guard.examine(sandbox.id)).running
    stream = await guard.connect(sandbox.id)
    await stream.aclose()
    await guard.destroy(sandbox.id)
    assert await guard.examine(sandbox.id) is None
    await guard.aclose()


async def test_events_say_what_happened(spec) -> None:
    events = []
    driver = Slow()
    guard = Guard(driver, on_event=events.append)
    sandbox = await guard.create(spec)
    await guard.destroy(sandbox.id)
    driver.create_faults.error = DiskFull("no room")
    with pytest.raises(DiskFull):
        await guard.create(spec)
    created, destroyed, failed = events
    assert isinstance(created, SandboxCreated)
    assert created.sandbox_id == sandbox.id
    assert created.seconds >= 0.02
    assert isinstance(destroyed, SandboxDestroyed)
    assert failed == DriverFailed(operation="create", error=driver.create_faults.error)


async def test_an_observer_that_fails_costs_nothing(spec) -> None:
    def observe(event: object) -> None:
        raise RuntimeError("oops")

    seen = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
    guard = Guard(FakeDriver(), on_event=observe)
    await guard.destroy((await guard.create(spec)).id)
    assert len(seen) == 2


async def test_as_many_sandboxes_as_allowed_and_no_more(spec) -> None:
    guard = Guard(Slow(), most_sandboxes=3)
    results = await asyncio.gather(*(guard.create(spec) for _ in range(5)), return_exceptions=True)
    made = [result for result in results if isinstance(result, Sandbox)]
    assert len(made) == 3
    assert [type(result) for result in results[3:]] == [CapacityExceeded] * 2
    await guard.destroy(made[0].id)
    made[0] = await guard.create(spec)
    for sandbox in made:
        await guard.destroy(sandbox.id)


async def test_a_failed_create_takes_no_room(spec) -> None:
    driver = Slow()
    guard = Guard(driver, most_sandboxes=1)
    driver.create_faults.error = RuntimeFailed("no")
    for _ in range(3):
        with pytest.raises(RuntimeFailed):
            await guard.create(spec)
    driver.create_faults.error = None
    await guard.destroy((await guard.create(spec)).id)


async def test_a_create_that_hangs_ends_at_its_deadline(spec) -> None:
    driver = FakeDriver()
    driver.create_faults.hangs = True
    guard = Guard(driver, create_seconds=0.02, most_sandboxes=1)
    for _ in range(2):
        with pytest.raises(CreateTimeout):
            await guard.create(spec)


async def test_a_sandbox_that_comes_too_late_is_destroyed(spec) -> None:
    driver = Slow()
    driver.stubborn = True
    guard = Guard(driver, create_seconds=0.005)
    with pytest.raises(CreateTimeout):
        await guard.create(spec)
    await guard.aclose()
    assert len(driver.destroyed) == 1
    assert await driver.list() == []


@pytest.mark.parametrize("closed", [False, True])
async def test_one_that_comes_too_late_and_can_not_be_destroyed_at_once_is_so_later(
    spec, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    monkeypatch.setattr("assay.driver.guard.AGAIN_SECONDS", 60 if closed else 0.01)
    driver = Slow()
    driver.stubborn, driver.destroy_error = True, OSError("busy")
    guard = Guard(driver, create_seconds=0.005, most_sandboxes=1)
    with pytest.raises(CreateTimeout):
        await guard.create(spec)
    await asyncio.sleep(0.1)
    assert guard.sandboxes == 1
    driver.destroy_error = None
    if closed:
        await guard.aclose()
    else:
        await asyncio.sleep(0.2)
    assert await driver.list() == []
    assert guard.sandboxes == 0
    if not closed:
        await guard.aclose()


@pytest.mark.parametrize("stubborn", [True, False])
async def test_a_cancelled_create_leaves_nothing_at_any_point(spec, stubborn: bool) -> None:
    driver = Slow()
    driver.stubborn = stubborn
    guard = Guard(driver, most_sandboxes=1)
    for seconds in (0, 0.001, 0.019, 0.0199, 0.02, 0.0201, 0.021):
        task = asyncio.create_task(guard.create(spec))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            await guard.destroy(task.result().id)
    await guard.aclose()
    assert await driver.list() == []
    await guard.destroy((await guard.create(spec)).id)


async def test_destroying_is_done_once_for_all_who_ask(spec) -> None:
    driver = Slow()
    guard = Guard(driver)
    sandbox = await guard.create(spec)
    await asyncio.gather(*(guard.destroy(sandbox.id) for _ in range(5)))
    assert driver.destroyed == [sandbox.id]
    await guard.destroy(sandbox.id)
    await guard.destroy("never-was")
    assert await driver.list() == []


async def test_a_cancelled_destroy_goes_on(spec) -> None:
    driver = Slow()
    guard = Guard(driver)
    sandbox = await guard.create(spec)
    task = asyncio.create_task(guard.destroy(sandbox.id))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    await guard.aclose()
    assert await driver.list() == []


async def test_a_failed_destroy_is_everybodys_error_and_can_be_repeated(spec) -> None:
    driver = Slow()
    guard = Guard(driver, most_sandboxes=1)
    sandbox = await guard.create(spec)
    driver.destroy_error = OSError("busy")
    results = await asyncio.gather(
        *(guard.destroy(sandbox.id) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [DriverError] * 3
    with pytest.raises(CapacityExceeded):
        await guard.create(spec)
    driver.destroy_error = None
    await guard.destroy(sandbox.id)
    await guard.destroy((await guard.create(spec)).id)


async def test_a_sandbox_that_is_destroyed_cannot_be_connected_to(spec) -> None:
    guard = Guard(Slow())
    sandbox = await guard.create(spec)
    connecting = asyncio.create_task(guard.connect(sandbox.id))
    await asyncio.sleep(0)
    destroying = asyncio.create_task(guard.destroy(sandbox.id))
    await asyncio.sleep(0)
    with pytest.raises(SandboxGone):
        await guard.connect(sandbox.id)
    await destroying
    with pytest.raises(SandboxGone):
        await connecting
    with pytest.raises(SandboxGone):
        await guard.connect(sandbox.id)


async def test_what_the_driver_did_not_expect_is_a_driver_error(spec) -> None:
    class Broken(FakeDriver):
        async def create(self, spec: SandboxSpec) -> Sandbox:
            raise KeyError("oops")

    with pytest.raises(DriverError) as failed:
        await Guard(Broken()).create(spec)
    assert "oops" in failed.value.detail
    assert isinstance(failed.value, AssayError)


@pytest.mark.parametrize("options", [{"most_sandboxes": 0}, {"create_seconds": 0}])
def test_a_guard_without_room_or_time_makes_no_sense(options) -> None:
    with pytest.raises(InvalidInput):
        Guard(FakeDriver(), **options)


async def test_a_sandbox_of_an_earlier_server_takes_room_until_it_is_destroyed(spec) -> None:
    inner = FakeDriver()
    old = await inner.create(spec)
    guard = Guard(inner, most_sandboxes=1)
    guard.adopt(old.id)
    with pytest.raises(CapacityExceeded):
        await guard.create(spec)
    await guard.destroy(old.id)
    await guard.destroy((await guard.create(spec)).id)


class WithDevices(FakeDriver):
    """A driver that shows devices."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, devices=True)


async def test_a_driver_that_cannot_show_devices_is_not_asked_for_any(spec) -> None:
    device = Device(name="/dev/ttyUSB0")
    guard = Guard(FakeDriver(), devices=AllowedDevices(patterns=(device.name,)))
    with pytest.raises(CapabilityMissing, match="the driver fake can't show /dev/ttyUSB0"):
        await guard.create(replace(spec, devices=(device,)))


async def test_a_driver_that_cannot_give_a_network_is_not_asked_for_one(spec) -> None:
    with pytest.raises(CapabilityMissing, match="the driver fake makes sandboxes without network"):
        await Guard(FakeDriver()).create(replace(spec, network=True))
    able = Guard(FakeDriver(capabilities=Capabilities(network_on=True)))
    await able.create(replace(spec, network=True))


async def test_a_device_that_the_operator_does_not_allow_is_shown_to_nobody(spec) -> None:
    allowed, other = Device(name="/dev/ttyUSB0"), Device(name="/dev/ttyUSB1")
    guard = Guard(WithDevices(), devices=AllowedDevices(patterns=(allowed.name,)))
    for devices in ((other,), (allowed, other)):
        with pytest.raises(DeviceUnavailable, match="/dev/ttyUSB1 is not allowed"):
            await guard.create(replace(spec, devices=devices))
    with pytest.raises(DeviceUnavailable):
        await Guard(WithDevices()).create(replace(spec, devices=(allowed,)))
    assert await guard.list() == []
