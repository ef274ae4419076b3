"""SQLite's file: ours alone, and clear words when it fails."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from assay.domain.errors import StorageError
from assay.driver.port import Secret
from assay.storage.database import Storage
from assay.storage.records import EnvironmentRecord, SandboxRecord

Open = Callable[[str], Awaitable[Storage]]

SANDBOX = SandboxRecord(
    id="s1", driver="fake", environment="e", version="v", secret=Secret(bytes(32)), created_at=1.0
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "assay.db"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


async def test_the_file_and_what_is_beside_it_are_for_their_owner_alone(
    file: Path, url: str, open_storage: Open
) -> None:
    before = os.umask(0)
    try:
        storage = await open_storage(url)
        await storage.next_epoch()
        await storage.add_sandbox(SANDBOX)
    finally:
        os.umask(before)
    assert file.parent.stat().st_mode & 0o777 == 0o700
    names = {each.name: each.stat().st_mode & 0o777 for each in file.parent.iterdir()}
    assert names == dict.fromkeys(
        ["assay.db", "assay.db-wal", "assay.db-shm", "assay.db-server"], 0o600
    )


async def test_a_file_that_others_could_read_is_closed_to_them(
    file: Path, url: str, open_storage: Open
) -> None:
    file.parent.mkdir()
    file.touch(0o644)
    await open_storage(url)
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_folder_that_others_can_write_is_refused(
    file: Path, url: str, open_storage: Open
) -> None:
    file.parent.mkdir()
    file.parent.chmod(0o777)
    with pytest.raises(StorageError, match="chmod go-w"):
        await open_storage(url)
    assert not file.exists()


@as_root
async def test_a_folder_of_another_user_is_refused(
    file: Path, url: str, open_storage: Open
) -> None:
    file.parent.mkdir()
    os.chown(file.parent, 12345, 12345)
    with pytest.raises(StorageError, match="another user"):
        await open_storage(url)


async def test_a_link_is_refused(file: Path, url: str, open_storage: Open, tmp_path: Path) -> None:
    file.parent.mkdir()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="link"):
        await open_storage(url)
    assert not (tmp_path / "elsewhere").exists()


async def test_a_file_where_the_folder_should_be_is_a_clear_error(
    tmp_path: Path, open_storage: Open
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be opened"):
        await open_storage(f"sqlite:///{tmp_path}/file/assay.db")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///var/lib/assay.db",
        "sqlite:///./assay.db",
        "sqlite://host/assay.db",
        "mysql://user:hidden@host/name",
        "assay.db",
        "postgresql://user:hidden@host:port/name",
    ],
)
async def test_a_url_that_names_no_database_is_refused(url: str, open_storage: Open) -> None:
    with pytest.raises(StorageError, match="sqlite:////folder/file or postgresql://") as caught:
        await open_storage(url)
    assert "hidden" not in caught.value.message + caught.value.detail


async def test_a_file_that_is_no_database_is_left_alone(
    file: Path, url: str, open_storage: Open
) -> None:
    file.parent.mkdir()
    file.write_bytes(b"a letter to somebody\n" * 500)
    with pytest.raises(StorageError, match="is no database"):
        await open_storage(url)
    assert file.read_bytes() == b"a letter to somebody\n" * 500


async def test_a_damaged_file_is_told_from_an_empty_one(
    file: Path, url: str, open_storage: Open
) -> None:
    storage = await open_storage(url)
    for number in range(300):
        storage.add_sandbox(replace(SANDBOX, id=f"{number:032}"))
    await storage.aclose()
    whole = bytearray(file.read_bytes())
    whole[8192:] = os.urandom(len(whole) - 8192)
    file.write_bytes(whole)
    with pytest.raises(StorageError, match=r"damaged.*backup"):
        await (await open_storage(url)).sandboxes()


async def test_a_program_that_holds_the_file_too_long_is_a_clear_error(
    file: Path, url: str, open_storage: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.storage.sqlite.BUSY_SECONDS", 0.1)
    storage = await open_storage(url)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked by another program"):
        await storage.add_sandbox(SANDBOX)
    other.execute("ROLLBACK")
    other.close()
    await storage.add_sandbox(SANDBOX)


async def test_who_writes_for_a_short_time_is_waited_for(
    file: Path, url: str, open_storage: Open
) -> None:
    storage = await open_storage(url)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    write = storage.add_sandbox(SANDBOX)
    await asyncio.sleep(0.3)
    assert not write.done()
    other.execute("ROLLBACK")
    other.close()
    await write


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_taken_away_is_noticed(
    file: Path, url: str, open_storage: Open, replaced: bool
) -> None:
    storage = await open_storage(url)
    file.rename(file.with_name("old"))
    if replaced:
        file.touch(0o600)
    with pytest.raises(StorageError, match="was replaced" if replaced else "cannot be found"):
        await storage.add_sandbox(SANDBOX)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-o", "size=2m,mode=700", "-t", "tmpfs", "assay-test", str(place)]
    subprocess.run(["mount", *options], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@as_root
async def test_a_full_disk_fails_what_it_cannot_keep_and_goes_on_when_there_is_room(
    small_disk: Path, open_storage: Open
) -> None:
    storage = await open_storage(f"sqlite:///{small_disk}/assay.db")
    await storage.add_sandbox(SANDBOX)
    (small_disk / "hog").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
    large = EnvironmentRecord(name="large", definition=bytes(100_000), updated_at=1.0)
    with pytest.raises(StorageError, match="disk is full"):
        await storage.put_environment(large)
    assert len(await storage.sandboxes()) == 1
    (small_disk / "hog").unlink()
    await storage.put_environment(large)
    await storage.aclose()


@as_root
async def test_a_disk_that_became_read_only_is_a_clear_error(
    small_disk: Path, open_storage: Open
) -> None:
    url = f"sqlite:///{small_disk}/assay.db"
    await (await open_storage(url)).aclose()
    options = ["-o", "remount,ro", small_disk]
    await asyncio.to_thread(subprocess.run, ["mount", *options], check=True)
    with pytest.raises(StorageError, match=r"assay.db cannot be .*[Rr]ead-only"):
        await open_storage(url)


LOCKER = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)  # where readers' locks are
except BlockingIOError:
    sys.exit(3)
"""


async def test_opening_it_twice_in_a_process_takes_no_lock_from_the_first(
    file: Path, url: str, open_storage: Open
) -> None:
    # Without it another process, when it ends, takes the log away under the first one's hands.
    await open_storage(url)
    await open_storage(url)
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", LOCKER, str(file))
    assert await other.wait() == 3
