"""Files that clients send ahead: whole, bounded, each owner's alone, there after a restart."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from assay.domain.errors import InvalidInput
from assay.storage.file_cache import FileCache

ID, OTHER = "0123456789abcdef", "fedcba9876543210"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


async def test_what_was_put_is_there_also_after_a_restart(tmp_path: Path) -> None:
    await FileCache(tmp_path / "cache").put("me", ID, b"content")
    again = FileCache(tmp_path / "cache")
    assert await again.has("me", ID)
    assert await again.get("me", ID) == b"content"
    assert await again.get("me", OTHER) is None
    assert not await again.has("me", OTHER)


async def test_an_owner_finds_nothing_of_another_one(tmp_path: Path) -> None:
    cache = FileCache(tmp_path)
    await cache.put("me", ID, b"mine")
    assert await cache.get("you", ID) is None
    await cache.put("you", ID, b"yours")
    assert await cache.get("me", ID) == b"mine"


@pytest.mark.parametrize(
    "file_id",
    ["", "short", "../../../../etc/passwd", "a/bcdefgh", "..........", "abcdefgh\0", "abcdefgh\n",
     "abcdéfgh", "a" * 129, "١٢٣٤٥٦٧٨", "abcd efgh"],
)  # fmt: skip
async def test_an_id_that_leads_elsewhere_is_refused(tmp_path: Path, file_id: str) -> None:
    cache = FileCache(tmp_path / "cache")
    for asked in (
        cache.put("me", file_id, b""),
        cache.get("me", file_id),
        cache.has("me", file_id),
    ):
        with pytest.raises(InvalidInput):
            await asked
    assert files(tmp_path) == []


async def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    cache = FileCache(tmp_path)
    contents = [bytes([number]) * 100_000 for number in range(20)]
    await asyncio.gather(*(cache.put("me", ID, content) for content in contents))
    assert await cache.get("me", ID) in contents
    assert files(tmp_path) == [ID]


async def test_an_owners_files_have_a_bound_and_the_unused_go_first(
    tmp_path: Path, clock: Clock
) -> None:
    cache = FileCache(tmp_path, most_owner_bytes=3 * 5000, clock=clock)
    for number in range(3):
        await cache.put("me", f"file000{number}", b"x" * 800)
        clock.now += 1
    assert await cache.get("me", "file0000") is not None  # used: it stays
    await cache.put("other", "file0000", b"x" * 800)
    await cache.put("me", "file0003", b"x" * 800)
    assert await cache.get("me", "file0001") is None
    assert await cache.get("me", "file0000") is not None
    assert await cache.get("other", "file0000") is not None


async def test_all_files_together_have_a_bound(tmp_path: Path, clock: Clock) -> None:
    cache = FileCache(tmp_path, most_bytes=3 * 5000, clock=clock)
    for number in range(10):
        await cache.put(f"owner{number}", ID, b"x" * 800)
    assert len(files(tmp_path)) == 3
    assert await cache.get("owner9", ID) is not None


async def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, most_owner_bytes=10_000)
    with pytest.raises(InvalidInput, match="at most"):
        await cache.put("me", ID, b"x" * 10_000)


async def test_what_nobody_wants_goes_in_the_end(tmp_path: Path, clock: Clock) -> None:
    cache = FileCache(tmp_path, unused_seconds=100, clock=clock)
    await cache.put("me", ID, b"x")
    clock.now += 90
    await cache.get("me", ID)
    clock.now += 90
    await cache.put("me", OTHER, b"x")
    assert files(tmp_path) == sorted([ID, OTHER])  # it was wanted meanwhile
    clock.now += 200
    await FileCache(tmp_path, unused_seconds=100, clock=clock).put("you", ID, b"y")
    assert files(tmp_path) == [ID]


async def test_what_a_killed_server_left_unfinished_goes(tmp_path: Path, clock: Clock) -> None:
    cache = FileCache(tmp_path, clock=clock)
    await cache.put("me", ID, b"x")
    [owner] = tmp_path.iterdir()
    for name, age in (("old", 7200), ("new", 10)):
        (owner / f".{name}").write_bytes(b"half")
        os.utime(owner / f".{name}", (clock.now - age, clock.now - age))
    assert await FileCache(tmp_path, clock=clock).get("me", ID) == b"x"
    assert files(tmp_path) == [".new", ID]


async def test_a_file_that_somebody_removed_is_missing_and_no_failure(tmp_path: Path) -> None:
    cache = FileCache(tmp_path)
    await cache.put("me", ID, b"x")
    [path] = list(tmp_path.rglob(ID))
    path.unlink()
    assert await cache.get("me", ID) is None
    await cache.put("me", OTHER, b"x")


async def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FileCache(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        await cache.put("me", ID, b"x")
    assert files(tmp_path) == []
    assert threading.active_count() < 50
