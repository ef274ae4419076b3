"""Ranges of user ids: never two sandboxes on the same."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.domain.errors import CapacityExceeded
from assay.drivers.linux.users import APART, WIDTH, UserRanges, extents, host_id, parse_ids

FIRST = 1_000_000_000


def ranges(folder: Path, count: int) -> UserRanges:
    return UserRanges(folder / "users", first=FIRST, last=FIRST + count * APART)


def test_servers_that_share_a_folder_never_get_the_same_range(tmp_path: Path) -> None:
    servers = [ranges(tmp_path, 200) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda n: servers[n % 4].take(f"sandbox-{n}"), range(200)))

    assert sorted(taken) == [FIRST + n * APART for n in range(200)]


def test_learners_are_spread_over_the_kernels_lists_of_users(tmp_path: Path) -> None:
    some = ranges(tmp_path, 256)
    learners = [host_id(some.take(f"sandbox-{n}"), 10001) for n in range(256)]

    lists = Counter((learner + (learner >> 7)) % 128 for learner in learners)

    assert max(lists.values()) <= 4


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
    assert (tmp_path / "users" / str((first - FIRST) // APART)).is_symlink()

    few.free("a", None)
    assert list((tmp_path / "users").iterdir()) == []


WHOLE = "0 0 4294967295\n"


def test_root_of_the_machine_is_told_from_root_of_a_user_namespace() -> None:
    assert not parse_ids(WHOLE, WHOLE, 0).rootless
    ordinary = parse_ids(WHOLE, WHOLE, 1000)
    assert (ordinary.user, ordinary.rootless) == (1000, True)
    inside = parse_ids("0 1000 1\n1 100000 65536\n", "0 1000 1\n1 100000 65536\n", 0)
    assert (inside.user, inside.rootless, inside.count, inside.enough) == (1000, True, 65536, True)
    container = parse_ids("0 100000 65536\n", "0 100000 65536\n", 0)
    assert (container.rootless, container.count, container.enough) == (True, 65535, False)
    with_a_gap = parse_ids("0 1000 1\n1 100000 10\n20 200000 65536\n", WHOLE, 0)
    assert with_a_gap.count == 10


@pytest.mark.parametrize("first", [1, 17, 65521, 65536, FIRST])
def test_a_range_has_every_user_once_wherever_it_begins(first: int) -> None:
    owners = {
        inside + number: outside + number
        for inside, outside, count in extents(first)
        for number in range(count)
    }

    assert sorted(owners) == list(range(WIDTH))
    assert len(set(owners.values())) == WIDTH
    assert all(owners[user] == host_id(first, user) for user in (0, 1, 10001, 65534, 65535))


def test_sandboxes_in_one_range_are_different_users(tmp_path: Path) -> None:
    one_range = UserRanges(tmp_path / "users", first=1, last=1 + WIDTH, shared=True)
    firsts = [one_range.take(f"sandbox-{number}") for number in range(300)]

    users = [host_id(first, user) for first in firsts for user in (0, 10001, 65534)]

    assert len(set(users)) == len(users)
    assert one_range.take("of an image with owners", owners=True) == 1
