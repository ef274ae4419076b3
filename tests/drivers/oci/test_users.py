"""Ranges of user ids: never two sandboxes on the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.domain.errors import CapacityExceeded
from assay.drivers.oci.users import WIDTH, UserRanges

FIRST = 1_000_000_000


def ranges(folder: Path, count: int) -> UserRanges:
    return UserRanges(folder / "users", first=FIRST, last=FIRST + count * WIDTH)


def test_servers_that_share_a_folder_never_get_the_same_range(tmp_path: Path) -> None:
    servers = [ranges(tmp_path, 200) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda n: servers[n % 4].take(f"sandbox-{n}"), range(200)))

    assert sorted(taken) == [FIRST + n * WIDTH for n in range(200)]


def test_when_all_are_taken_it_says_so_and_a_freed_one_can_be_had(tmp_path: Path) -> None:
    few = ranges(tmp_path, 2)
    first = few.take("a")
    few.take("b")
    with pytest.raises(CapacityExceeded):
        few.take("c")

    few.free("a", first)

    assert few.take("c") == first


def test_a_range_is_freed_by_its_owner_only_and_found_without_a_note(tmp_path: Path) -> None:
    few = ranges(tmp_path, 2)
    first = few.take("a")

    few.free("b", first)
    assert (tmp_path / "users" / str((first - FIRST) // WIDTH)).is_symlink()

    few.free("a", None)
    assert list((tmp_path / "users").iterdir()) == []
