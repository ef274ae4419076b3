"""Spare groups: what is asked of `lean` when a sandbox takes some, and leaves some."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.domain.limits import SandboxLimits
from assay.drivers.linux.spares import Spares

LIMITS = SandboxLimits()
OWNER = 1_900_000_000


def made(folder: Path) -> Spares:
    """As where cpu and cpuacct are mounted together: two names for one folder."""
    trees = {"memory": "memory", "pids": "pids", "cpu": "cpu,cpuacct", "cpuacct": "cpu,cpuacct"}
    for name in {*trees.values()}:
        (folder / name / "spare-1/learners").mkdir(parents=True)
    spares = Spares(
        {name: f"{folder}/{tree}" for name, tree in trees.items()}, around=f"{folder}/unified"
    )
    spares.usual = LIMITS
    spares.limits["spare-1"] = LIMITS
    spares._owners["spare-1"] = OWNER
    return spares


def renamed(steps: list[tuple[str, ...]]) -> list[str]:
    return [Path(step[1]).parent.name for step in steps if step[0] == "rename"]


def test_a_folder_of_two_controllers_is_renamed_once_and_memory_decides(tmp_path: Path) -> None:
    spares = made(tmp_path)
    taking = spares.taking("sandbox")
    assert taking is not None
    assert renamed(taking.steps) == ["memory", "pids", "cpu,cpuacct"]  # who has the first has all
    spares.taken(taking, done=True)
    leaving = spares.leaving("sandbox", OWNER)
    assert leaving is not None
    assert renamed(leaving.steps) == ["pids", "cpu,cpuacct", "memory"]  # none without the last


def test_who_takes_spares_has_the_users_of_who_left_them(tmp_path: Path) -> None:
    spares = made(tmp_path)
    leaving = spares.leaving("sandbox", 7)
    assert leaving is None  # whose limits nobody knows
    for user in (OWNER, 2_000_000_000):
        taking = spares.taking("sandbox")
        assert taking is not None
        assert taking.owner == user
        spares.taken(taking, done=True)
        leaving = spares.leaving("sandbox", 2_000_000_000)
        assert leaving is not None
        given = {step[3] for step in leaving.steps if step[0] == "hand"}
        assert given == {"2000000000"}
        spares.left(leaving, done=True)
    assert list(spares._owners.values()) == [2_000_000_000]


def test_spares_of_other_limits_are_not_taken_so(tmp_path: Path) -> None:
    spares = made(tmp_path)
    spares.usual = SandboxLimits(processes=7)
    assert spares.taking("sandbox") is None


def test_what_was_not_taken_is_there_for_the_next_unless_it_is_gone(tmp_path: Path) -> None:
    spares = made(tmp_path)
    move = spares.taking("sandbox")
    assert move is not None
    assert spares.taking("another") is None
    spares.taken(move, done=False)
    move = spares.taking("another")
    assert move is not None
    (tmp_path / "memory/spare-1/learners").rmdir()
    (tmp_path / "memory/spare-1").rmdir()
    spares.taken(move, done=False)
    assert spares.taking("another") is None
    assert spares.limits == {}


def test_what_was_laid_aside_in_part_has_its_name_again(tmp_path: Path) -> None:
    spares = made(tmp_path)
    move = spares.taking("sandbox")
    assert move is not None
    spares.taken(move, done=True)
    leaving = spares.leaving("sandbox", OWNER)
    assert leaving is not None
    (tmp_path / "pids/spare-1").rename(tmp_path / f"pids/{leaving.spare}")
    spares.left(leaving, done=False)
    assert (tmp_path / "pids/sandbox/learners").is_dir()
    spares.left(leaving, done=True)
    assert spares.limits == {leaving.spare: LIMITS}


def test_what_another_server_is_removing_is_taken_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = made(tmp_path)
    (tmp_path / "memory/spare-1/memory.usage_in_bytes").write_text("0\n")
    another = Spares(closing.trees, around=f"{tmp_path}/unified")
    rmdir, taken = os.rmdir, []

    def removes(path: str) -> None:
        rmdir(path)
        if not taken:
            taken.append(another.take("sandbox"))

    monkeypatch.setattr(os, "rmdir", removes)
    closing.remove_all()
    assert taken == [False]
    assert not list(tmp_path.glob("*/sandbox"))
    left = Spares(closing.trees)  # (a group of the kernel's is removed with its files)
    assert not left.take("another")
    left.remove_all()
