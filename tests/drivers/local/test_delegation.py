"""Where groups of version 2 are made, on plain folders; tests/cgroup2 tries it on real groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.domain.errors import DriverUnavailable
from assay.drivers.linux.delegation import make_room


def group(folder: Path, *, kind: str = "domain", processes: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.type").write_text(kind)
    (folder / "cgroup.procs").write_text(processes)
    return folder


def delegated(folder: Path) -> Path:
    try:
        os.setxattr(group(folder), "user.delegate", b"1")
    except OSError:
        pytest.skip("this file system keeps no attributes")
    return folder


def test_at_the_real_top_the_group_is_below_it_and_nobody_is_moved(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("1\n2\n")

    assert make_room(tmp_path, "/user.slice/session-1.scope", "assay") == "assay"
    assert not (tmp_path / "server").exists()


def test_a_unit_that_systemd_gave_away_holds_the_group(tmp_path: Path) -> None:
    delegated(tmp_path / "system.slice/assay.service")

    place = make_room(tmp_path, "/system.slice/assay.service/server", "assay")

    assert place == "system.slice/assay.service/assay"


def test_a_service_in_the_units_own_group_leaves_that_to_its_successor(tmp_path: Path) -> None:
    unit = delegated(tmp_path / "system.slice/assay.service")

    assert make_room(tmp_path, "/system.slice/assay.service", "assay") == "assay"
    assert not (unit / "server").exists()


def test_where_the_top_only_looks_like_one_a_service_has_nowhere_else(tmp_path: Path) -> None:
    delegated(group(tmp_path) / "assay.service")

    assert make_room(tmp_path, "/assay.service", "assay") == "assay.service/assay"


def test_what_is_never_started_again_is_moved_within_its_unit(tmp_path: Path) -> None:
    unit = delegated(tmp_path / "system.slice/run-1.scope")

    place = make_room(tmp_path, "/system.slice/run-1.scope", "assay")

    assert place == "system.slice/run-1.scope/assay"
    assert unit.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give it to somebody")
def test_a_unit_that_was_given_to_somebody_else_is_left_alone(tmp_path: Path) -> None:
    os.chown(delegated(tmp_path / "user.slice/user@1.service"), 1, 1)

    assert make_room(tmp_path, "/user.slice/user@1.service/app.scope", "assay") == "assay"


def test_processes_that_cannot_be_moved_are_said(tmp_path: Path) -> None:
    group(tmp_path, processes="0\n")  # outside of our process namespace

    with pytest.raises(DriverUnavailable, match="Delegate=yes"):
        make_room(tmp_path, "/", "assay")
