"""A whole server in this process, on the fake driver: it starts, serves, drains, comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from assay.bootstrap.server import kept_folder, running_server
from assay.config.options import Address
from assay.config.server import ServerSettings
from assay.domain.errors import DriverUnavailable, InvalidInput, Unavailable
from assay.driver.port import SandboxState
from assay.drivers.fake import FakeDriver, FakeMachine


async def test_it_serves_and_the_next_one_adopts_what_waits(settings: ServerSettings) -> None:
    machine = FakeMachine()
    async with running_server(settings, driver=FakeDriver(machine=machine)) as server:
        await server.pool.ready()
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{server.url}/api/v1/health") as answer:
                assert answer.status == 204
            async with http.get(f"{server.url}/api/v1/ready") as answer:
                assert answer.status == 204
        before = set(machine.places)
        assert len(before) == 2
        server.hurry()
    assert set(machine.places) == before
    last = replace(settings, destroy_on_exit=True)
    async with running_server(last, driver=FakeDriver(machine=machine)) as server:
        await server.pool.ready()
        assert set(machine.places) == before
    assert machine.places == {}


async def test_what_clients_of_jobe_have_sent_is_there_after_a_restart(
    settings: ServerSettings,
) -> None:
    path = "jobe/index.php/restapi/files/0123456789abcdef"
    for method, status in (("HEAD", 404), ("PUT", 204), ("HEAD", 204)):
        async with running_server(settings, driver=FakeDriver()) as server:
            async with (
                aiohttp.ClientSession() as http,
                http.request(
                    method, f"{server.url}/{path}", json={"file_contents": "eA=="}
                ) as answer,
            ):
                assert answer.status == status
            server.hurry()


@pytest.mark.parametrize(
    ("database", "folder"),
    [
        ("sqlite:////var/lib/assay/server.db", "/var/lib/assay"),
        ("postgresql://assay@host/assay", "/images/are"),
    ],
)
def test_what_outlives_the_machine_is_beside_the_database(
    settings: ServerSettings, database: str, folder: str
) -> None:
    base = replace(settings.base, images=Path("/images/are/here"))
    assert kept_folder(replace(settings, base=base, database=database)) == Path(folder)


class Unreachable(FakeDriver):
    """A part of its sandboxes is on a machine that does not answer."""

    silent = True

    async def list(self) -> Sequence[str]:
        return [] if self.silent else await super().list()

    async def examine(self, sandbox_id: str) -> SandboxState | None:
        if self.silent:
            raise DriverUnavailable("no answer")
        return await super().examine(sandbox_id)


async def test_a_sandbox_whose_machine_does_not_answer_is_not_taken_for_gone(
    settings: ServerSettings,
) -> None:
    machine = FakeMachine()
    async with running_server(settings, driver=FakeDriver(machine=machine)) as server:
        await server.pool.ready()
        environment = next(iter(server.pool.statistics()))
        runner = await server.runners.create(environment)
        server.hurry()
    driver = Unreachable(machine=machine)
    async with running_server(settings, driver=driver) as server:
        runner_id = runner.lease.runner_id
        assert [each.lease.runner_id for each in server.runners.all()] == [runner_id]
        driver.silent = False
        await server.runners.delete(runner_id)
        server.hurry()
    last = replace(settings, destroy_on_exit=True)
    async with running_server(last, driver=FakeDriver(machine=machine)) as server:
        server.hurry()
    assert machine.places == {}


async def test_the_second_of_two_is_refused(settings: ServerSettings) -> None:
    async with running_server(settings, driver=FakeDriver()):
        with pytest.raises(Unavailable, match="another server, process"):
            async with running_server(settings, driver=FakeDriver()):
                raise AssertionError("unreachable")


async def test_others_are_not_let_in_without_a_secret(settings: ServerSettings) -> None:
    anywhere = replace(settings, listen=Address(host="0.0.0.0", port=0), environments={})
    with pytest.raises(InvalidInput, match="assay token create"):
        async with running_server(anywhere, driver=FakeDriver()):
            raise AssertionError("unreachable")
    secret = replace(anywhere, token="sesame-open-yourself")
    async with (
        running_server(secret, driver=FakeDriver()) as server,
        aiohttp.ClientSession() as http,
        http.get(f"{server.url}/api/v1/execution-environments") as answer,
    ):
        assert answer.status == 401
