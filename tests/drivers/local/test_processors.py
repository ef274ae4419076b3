"""What `lean` leaves of the group that its server is in, where that limits the processors."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.drivers.linux.cgroups_v1 import GroupsV1, Hierarchy


@pytest.fixture
def cpuset(tmp_path: Path) -> Path:
    """Looks like the hierarchy: files of the top, and of a pod's group in it."""
    mounted = tmp_path / "cpuset"
    for folder, cpus in ((mounted, "0-7"), (mounted / "kubepods/pod", "2-3")):
        folder.mkdir(parents=True)
        (folder / "cpuset.cpus").write_text(f"{cpus}\n")
        (folder / "cpuset.mems").write_text("0\n")
    for folder in (mounted / "assay", mounted / "assay/of-2-3-0"):  # as the kernel makes them
        folder.mkdir()
        for kind in ("cpus", "mems"):
            (folder / f"cpuset.{kind}").touch()
    return mounted


def groups(cpuset: Path, own: str) -> GroupsV1:
    others = ("memory", "pids", "cpu", "cpuacct", "freezer")
    hierarchies = [Hierarchy(controllers=name, mounted=cpuset.with_name(name)) for name in others]
    return GroupsV1([*hierarchies, Hierarchy(controllers="cpuset", mounted=cpuset, own=own)], None)


def test_sandboxes_leave_a_pods_group_and_keep_its_processors(cpuset: Path) -> None:
    beside = cpuset / "assay/of-2-3-0"
    assert groups(cpuset, "/kubepods/pod").exits() == [f"{beside}/cgroup.procs"]
    assert (beside / "cpuset.cpus").read_text() == "2-3"
    assert (beside / "cpuset.mems").read_text() == "0"
    assert (cpuset / "assay/cpuset.cpus").read_text() == "0-7"


def test_nobody_is_moved_out_of_the_top(cpuset: Path) -> None:
    assert groups(cpuset, "/").exits() == []
