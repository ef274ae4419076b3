"""Whose sandboxes are whose: a server's outlive it, everybody else's are removed."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from assay.bootstrap import ownership
from assay.bootstrap.ownership import Ownership, sweep
from assay.domain.errors import Unavailable
from assay.driver.guard import SandboxCreated, SandboxDestroyed
from assay.driver.port import Driver
from assay.drivers.fake import FakeDriver

OWNER = """
import sys
from pathlib import Path
from assay.bootstrap.ownership import Ownership
from assay.driver.guard import SandboxCreated

with Ownership(Path(sys.argv[1]), "fake", server=sys.argv[2]) as owner:
    for sandbox_id in sys.argv[3:]:
        owner.observe(SandboxCreated(sandbox_id=sandbox_id, seconds=0.0))
    print("noted", flush=True)
    sys.stdin.read()
"""


class Owner:
    """A process of its own that has noted some sandboxes."""

    def __init__(self, state: Path, server: str, *sandbox_ids: str) -> None:
        command = [sys.executable, "-c", OWNER, str(state), server, *sandbox_ids]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "noted\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def living(state: Path, server: str, *sandbox_ids: str) -> Iterator[Owner]:
    owner = Owner(state, server, *sandbox_ids)
    try:
        yield owner
    finally:
        owner.kill()


@pytest.fixture
async def driver(spec) -> AsyncIterator[FakeDriver]:
    driver = FakeDriver()
    for _ in range(3):
        await driver.create(spec)
    yield driver
    for sandbox_id in await driver.list():
        await driver.destroy(sandbox_id)


def opener(driver: Driver):
    @contextlib.asynccontextmanager
    async def opened(name: str) -> AsyncIterator[Driver]:
        assert name == driver.name
        yield driver

    return opened


async def test_a_killed_servers_sandboxes_wait_for_its_next_start(tmp_path, driver) -> None:
    first, second, third = await driver.list()
    Owner(tmp_path, "abc", first, second).kill()
    Owner(tmp_path, "", third).kill()
    await sweep(tmp_path, "fake", opener(driver))
    assert await driver.list() == [first, second]
    with Ownership(tmp_path, "fake", server="abc") as mine:
        assert mine.former == {first: "fake", second: "fake"}
        assert mine.orphans(await driver.list(), [first]) == {second}
        mine.observe(SandboxDestroyed(sandbox_id=second, seconds=0.0))
    with Ownership(tmp_path, "fake", server="abc") as mine:
        assert set(mine.former) == {first}
        mine.observe(SandboxDestroyed(sandbox_id=first, seconds=0.0))
    assert not list((tmp_path / "owners").glob("server-*"))


async def test_dead_sandboxes_of_a_killed_server_are_removed_in_time(
    tmp_path, driver, monkeypatch
) -> None:
    dead, alive, _ = ids = await driver.list()
    Owner(tmp_path, "abc", *ids).kill()
    driver.agent(dead).die()
    await sweep(tmp_path, "fake", opener(driver))
    assert dead in await driver.list(), "removed although another process may be making it"
    monkeypatch.setattr(ownership, "SUSPECT_SECONDS", 0.0)
    await sweep(tmp_path, "fake", opener(driver))
    left = await driver.list()
    assert dead not in left
    assert alive in left


async def test_a_living_servers_dead_sandboxes_are_its_own_business(
    tmp_path, driver, monkeypatch
) -> None:
    monkeypatch.setattr(ownership, "SUSPECT_SECONDS", 0.0)
    ids = await driver.list()
    with living(tmp_path, "abc", *ids):
        driver.agent(ids[0]).die()
        for _ in range(2):
            await sweep(tmp_path, "fake", opener(driver))
        assert await driver.list() == ids


async def test_what_others_have_noted_is_no_orphan(tmp_path) -> None:
    Owner(tmp_path, "other", "of-a-killed-server").kill()
    Owner(tmp_path, "", "of-a-killed-process").kill()
    with (
        living(tmp_path, "", "of-a-process"),
        living(tmp_path, "third", "of-a-server"),
        Ownership(tmp_path, "fake", server="abc") as mine,
    ):
        mine.observe(SandboxCreated(sandbox_id="mine", seconds=0.0))
        assert mine.others() == {"of-a-killed-server", "of-a-process", "of-a-server"}
        existing = [*mine.others(), "mine", "of-nobody"]
        assert mine.orphans(existing, []) == {"mine"}
        assert mine.orphans(existing, ["mine"]) == frozenset()


async def test_what_nobody_has_noted_is_a_strangers_once_no_other_process_lives(tmp_path) -> None:
    Owner(tmp_path, "other", "of-a-killed-server").kill()
    existing = ["mine", "of-a-killed-server", "of-nobody"]
    with Ownership(tmp_path, "fake", server="abc") as mine:
        mine.observe(SandboxCreated(sandbox_id="mine", seconds=0.0))
        with living(tmp_path, ""):
            assert mine.strangers(existing) == frozenset()
        assert mine.strangers(existing) == {"of-nobody"}


async def test_a_server_is_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ownership, "_ATTEMPTS", 2)
    with living(tmp_path, "abc", "a"):
        with (
            pytest.raises(Unavailable, match="another server"),
            Ownership(tmp_path, "fake", server="abc"),
        ):
            pass
        with Ownership(tmp_path, "fake", server="def") as other:
            assert other.others() == {"a"}


async def test_the_file_does_not_grow_with_the_sandboxes_that_ever_were(tmp_path) -> None:
    with Ownership(tmp_path, "fake", server="abc") as mine:
        mine.observe(SandboxCreated(sandbox_id="stays", seconds=0.0))
        for number in range(5000):
            mine.observe(SandboxCreated(sandbox_id=f"s-{number}", seconds=0.0))
            mine.observe(SandboxDestroyed(sandbox_id=f"s-{number}", seconds=0.0))
        (file,) = (tmp_path / "owners").iterdir()
        lines = file.read_text().splitlines()
        assert len(lines) < 1100
        assert lines[0] == "fake stays"
        with living(tmp_path, "", "a"), Ownership(tmp_path, "fake", server="def") as other:
            assert "stays" in other.others(), "no longer locked after it was written anew"


async def test_sandboxes_of_another_driver_are_kept_in_mind(tmp_path) -> None:
    with Ownership(tmp_path, "crun", server="abc") as before:
        before.observe(SandboxCreated(sandbox_id="a", seconds=0.0))
    with Ownership(tmp_path, "fake", server="abc") as mine:
        assert mine.former == {"a": "crun"}
        mine.forget_vanished([])
    with Ownership(tmp_path, "crun", server="abc") as mine:
        assert mine.former == {"a": "crun"}
        mine.forget_vanished([])
    assert not list((tmp_path / "owners").iterdir())


async def test_what_a_killed_server_has_noted_is_inherited_and_a_living_ones_is_not(
    tmp_path, driver
) -> None:
    first, second, third = await driver.list()
    Owner(tmp_path, "dead", first, second).kill()
    living = Owner(tmp_path, "living", third)
    with Ownership(tmp_path, "fake", server="abc") as mine:
        assert mine.inherit("living") is None
        assert mine.inherit("never") == mine.inherit("abc") == frozenset()
        assert mine.inherit("dead") == {first, second}
        assert mine.former == {first: "fake", second: "fake"}
        assert mine.others() == {third}
    living.kill()
    assert {file.name for file in (tmp_path / "owners").iterdir()} == {
        "server-abc", "server-living"
    }  # fmt: skip


async def test_what_is_adopted_is_kept_in_mind_and_what_is_renounced_is_not(tmp_path) -> None:
    with Ownership(tmp_path, "fake", server="abc") as mine:
        mine.adopt(["a", "b"])
    with Ownership(tmp_path, "fake", server="abc") as mine:
        assert set(mine.former) == {"a", "b"}
        mine.renounce()
    assert list((tmp_path / "owners").iterdir()) == []


async def test_what_has_become_another_servers_elsewhere_is_forgotten_here(tmp_path) -> None:
    with living(tmp_path, "s1", "kept", "theirs") as owner:
        owner.kill()
    with Ownership(tmp_path, "fake", server="s1") as ours:
        assert set(ours.former) == {"kept", "theirs"}
        ours.forget(["theirs", "unknown"])
        assert set(ours.former) == {"kept"}
        assert ours.orphans(["kept", "theirs"], ()) == {"kept"}
    with Ownership(tmp_path, "fake", server="s1") as next_one:
        assert set(next_one.former) == {"kept"}


@pytest.mark.parametrize("how", ["swept", "inherited", "looked at"])
async def test_who_writes_its_file_anew_while_somebody_looks_at_it_is_alive(
    tmp_path, driver, monkeypatch, how: str
) -> None:
    (sandbox_id,) = (await driver.list())[:1]
    looks = fcntl.LOCK_NB | (fcntl.LOCK_SH if how == "looked at" else fcntl.LOCK_EX)
    with (
        Ownership(tmp_path, "fake", server="abc" if how == "inherited" else "") as owner,
        Ownership(tmp_path, "fake", server="mine") as mine,
    ):
        owner.observe(SandboxCreated(sandbox_id=sandbox_id, seconds=0.0))
        flock = fcntl.flock

        def late(file: int, operation: int) -> None:
            if operation == looks:
                monkeypatch.setattr(fcntl, "flock", flock)
                owner._write()  # as after a thousand notes
            flock(file, operation)

        monkeypatch.setattr(fcntl, "flock", late)
        if how == "inherited":
            assert mine.inherit("abc") is None
        elif how == "looked at":
            assert mine.others() == {sandbox_id}
        else:
            await sweep(tmp_path, "fake", opener(driver))
        assert fcntl.flock is flock
        assert sandbox_id in await driver.list()
        assert owner._path.exists()
