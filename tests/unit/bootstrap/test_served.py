"""Environments of the configuration and of the API, and what each may be made of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import pytest

from assay.bootstrap.catalogue import Catalogue
from assay.bootstrap.served import ServedEnvironments
from assay.config.server import ConfiguredEnvironment, ServerSettings
from assay.domain.devices import AllowedDevices, devices_of
from assay.domain.errors import (
    CapabilityMissing,
    DeviceUnavailable,
    Forbidden,
    ImageUnavailable,
    InvalidInput,
    UnknownEnvironment,
)
from assay.domain.limits import MIB
from assay.driver.port import Capabilities
from assay.drivers.fake import FakeDriver
from assay.environments import Origin, ServedEnvironment
from assay.environments.document import Execution, Sandbox
from assay.storage.database import Storage


@dataclass
class Stock:
    """Notes what it is told."""

    kept: dict[str, ServedEnvironment] = field(default_factory=dict)

    def set_environment(self, environment: ServedEnvironment) -> None:
        self.kept[environment.name] = environment

    def remove_environment(self, name: str) -> None:
        del self.kept[name]


@pytest.fixture
async def storage(settings: ServerSettings) -> AsyncIterator[Storage]:
    opened = await Storage.open(settings.database)
    yield opened
    await opened.aclose()


async def served(settings: ServerSettings, storage: Storage) -> ServedEnvironments:
    made = ServedEnvironments(settings, Catalogue(settings.base), storage, FakeDriver())
    await made.load()
    return made


async def test_an_environment_of_the_configuration_has_its_languages_limits(
    settings: ServerSettings, storage: Storage
) -> None:
    written = ConfiguredEnvironment(
        language="python", sandbox=Sandbox(memory="64 MiB"), execution=Execution(wall_seconds=3)
    )
    environments = MappingProxyType({**settings.environments, "21": written})
    offered = await served(replace(settings, environments=environments), storage)
    stock = Stock()
    offered.supply(stock)
    assert [each.name for each in offered.all()] == ["21", "bash"] == sorted(stock.kept)
    made = offered.get("21")
    assert (made.sandbox.memory_bytes, made.sandbox.processes) == (64 * MIB, 64)
    assert (made.execution.wall_seconds, made.ceiling.wall_seconds) == (3, 120)
    assert (made.origin, made.language) == (Origin.CONFIGURATION, "python")
    blueprint = await offered.resolve(made)
    assert blueprint.folder is not None
    assert blueprint.root.path.is_dir()
    with pytest.raises(UnknownEnvironment):
        offered.get("nothing")
    await offered.aclose()


async def test_wrong_ones_of_the_configuration_are_named(
    settings: ServerSettings, storage: Storage
) -> None:
    for written, words in (
        (ConfiguredEnvironment(language="pyhton"), r"server\.environments\.x: .*python"),
        (
            ConfiguredEnvironment(language="python", execution=Execution(wall_seconds=1e6)),
            r"server\.environments\.x: wall_seconds is 1000000\.0, but .* at most 120",
        ),
    ):
        wrong = replace(settings, environments=MappingProxyType({"x": written}))
        with pytest.raises(InvalidInput, match=words):
            await served(wrong, storage)


async def test_the_apis_environments_outlive_the_server(
    settings: ServerSettings, storage: Storage
) -> None:
    settings = replace(settings, allow_host_images=True)
    offered, stock = await served(settings, storage), Stock()
    offered.supply(stock)
    mine = ServedEnvironment(name="7", image="host", pool_size=3)
    assert await offered.put(mine) is True
    assert await offered.put(replace(mine, pool_size=4)) is False
    assert stock.kept["7"].pool_size == 4
    await offered.aclose()
    later = await served(settings, storage)
    assert later.get("7") == replace(mine, pool_size=4)
    later.supply(stock := Stock())
    assert await later.delete("7") is True
    assert await later.delete("7") is False
    assert sorted(stock.kept) == ["bash"]
    await later.aclose()


async def test_the_api_cannot_change_the_configurations(
    settings: ServerSettings, storage: Storage
) -> None:
    offered = await served(settings, storage)
    for name in ("bash",):
        with pytest.raises(Forbidden, match="belongs to the server's configuration"):
            await offered.put(ServedEnvironment(name=name, image="debian:12"))
        with pytest.raises(Forbidden):
            await offered.delete(name)
    await offered.aclose()


@pytest.mark.parametrize(
    "image",
    ["host", "/etc", "./x", "oci:/etc", "docker-archive:/etc/shadow", "/root/Dockerfile"],
)
async def test_the_api_shows_nobody_files_of_the_machine(
    settings: ServerSettings, storage: Storage, image: str
) -> None:
    offered = await served(settings, storage)
    with pytest.raises(Forbidden, match="--allow-host-images"):
        await offered.put(ServedEnvironment(name="7", image=image))
    with pytest.raises(UnknownEnvironment):
        offered.get("7")
    await offered.aclose()


async def test_a_language_of_the_machines_programs_is_such_an_image_too(
    settings: ServerSettings, storage: Storage
) -> None:
    offered = await served(settings, storage)
    with pytest.raises(Forbidden):
        await offered.put(ServedEnvironment(name="7", language="python"))
    await offered.aclose()


async def test_devices_need_an_operator_who_allows_them_and_a_driver_that_shows_them(
    settings: ServerSettings, storage: Storage
) -> None:
    made = await served(settings, storage)
    environment = ServedEnvironment(
        name="serial", image="host", devices=devices_of(["/dev/ttyUSB0"])
    )
    allowing = replace(settings, allow_host_images=True)
    made = await served(allowing, storage)
    with pytest.raises(DeviceUnavailable, match="its operator can allow it"):
        await made.put(environment)
    allowed = replace(allowing.base, devices=AllowedDevices(patterns=("/dev/ttyUSB*",)))
    made = await served(replace(allowing, base=allowed), storage)
    with pytest.raises(CapabilityMissing, match="the driver fake can't show /dev/ttyUSB0"):
        await made.put(environment)
    assert "serial" not in [each.name for each in made.all()]


async def test_a_server_does_not_start_with_an_environment_whose_devices_are_not_allowed(
    settings: ServerSettings, storage: Storage
) -> None:
    written = ConfiguredEnvironment(language="python", devices=["/dev/ttyUSB0"])
    environments = MappingProxyType({"serial": written})
    with pytest.raises(DeviceUnavailable, match="/dev/ttyUSB0 is not allowed"):
        await served(replace(settings, environments=environments), storage)


async def test_a_network_that_the_driver_cannot_give_is_refused_before_any_image_is_asked_for(
    settings: ServerSettings, storage: Storage
) -> None:
    made = await served(settings, storage)
    wanted = ServedEnvironment(name="23", image="127.0.0.1:1/no/image:1", network=True)
    with pytest.raises(CapabilityMissing, match=r"fake makes sandboxes without network .*false"):
        await made.put(wanted)
    assert "23" not in [each.name for each in made.all()]
    await made.aclose()


async def test_a_server_does_not_start_with_an_environment_that_is_to_have_a_network(
    settings: ServerSettings, storage: Storage
) -> None:
    environments = MappingProxyType({
        "python": ConfiguredEnvironment(language="python", network=True)
    })  # fmt: skip
    wrong = replace(settings, environments=environments)
    with pytest.raises(CapabilityMissing, match=r"server\.environments\.python: .*without network"):
        await served(wrong, storage)


async def test_a_driver_that_can_give_a_network_is_asked_for_one(
    settings: ServerSettings, storage: Storage
) -> None:
    able = FakeDriver(capabilities=Capabilities(network_on=True))
    environments = MappingProxyType({
        "python": ConfiguredEnvironment(language="python", network=True)
    })  # fmt: skip
    allowing = replace(settings, environments=environments, allow_host_images=True)
    made = ServedEnvironments(allowing, Catalogue(settings.base), storage, able)
    await made.load()
    assert await made.put(ServedEnvironment(name="23", image="host", network=True))
    assert (await made.resolve(made.get("python"))).environment.network
    await made.aclose()


async def test_what_cannot_be_had_is_not_offered_and_may_be_tried_again(
    settings: ServerSettings, storage: Storage
) -> None:
    offered = await served(settings, storage)
    missing = ServedEnvironment(name="7", image="127.0.0.1:1/no/image:1")
    for _ in range(2):
        with pytest.raises(ImageUnavailable):
            await offered.put(missing)
    assert [each.name for each in offered.all()] == ["bash"]
    await offered.aclose()


async def test_pools_of_more_than_there_may_be_are_refused(
    settings: ServerSettings, storage: Storage
) -> None:
    offered = await served(replace(settings, allow_host_images=True), storage)
    with pytest.raises(InvalidInput, match="at most 8 are left for '7'"):
        await offered.put(ServedEnvironment(name="7", image="host", pool_size=9))
    await offered.aclose()


async def test_what_another_server_changes_is_offered_here_too(
    settings: ServerSettings, storage: Storage
) -> None:
    allowing = replace(settings, allow_host_images=True, most_sandboxes=100)
    one, other = await served(allowing, storage), await served(allowing, storage)
    stock = Stock()
    other.supply(stock)
    await one.put(ServedEnvironment(name="7", image="host", pool_size=1))
    await other.follow()
    assert (other.get("7").pool_size, stock.kept["7"].pool_size) == (1, 1)
    await one.put(ServedEnvironment(name="7", image="host", pool_size=2))
    await other.put(ServedEnvironment(name="8", image="host"))
    await other.follow()
    assert stock.kept["7"].pool_size == 2
    await one.delete("7")
    await other.follow()
    assert sorted(stock.kept) == ["8", "bash"]
    with pytest.raises(UnknownEnvironment):
        other.get("7")
    for each in (one, other):
        await each.aclose()


async def test_what_was_read_before_a_change_here_does_not_undo_it(
    settings: ServerSettings, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await served(replace(settings, allow_host_images=True), storage)
    before = await storage.environments()

    async def late() -> object:
        await made.put(ServedEnvironment(name="7", image="host"))
        return before

    monkeypatch.setattr(storage, "environments", late)
    await made.follow()
    assert made.get("7").name == "7"
    await made.aclose()
