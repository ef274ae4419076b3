"""Which control groups a host has, told from the kernel's texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.domain.errors import DriverUnavailable
from assay.drivers.oci.cgroups_v1 import GroupsV1
from assay.drivers.oci.cgroups_v2 import GroupsV2
from assay.drivers.oci.layout import choose_groups, parse_layout, problems

TOGETHER = """\
30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 30 0:31 / /a\\040place/pids rw - cgroup cgroup rw,pids
"""
OWN_TOGETHER = "4:cpu,cpuacct:/\n3:memory:/user\n2:pids:/\n1:name=systemd:/\n0::/\n"


def test_a_hybrid_host_has_hierarchies_and_a_unified_tree() -> None:
    layout = parse_layout(TOGETHER, OWN_TOGETHER)

    assert layout.name == "hybrid"
    assert layout.unified == Path("/sys/fs/cgroup/unified")
    assert {h.name: h.mounted for h in layout.hierarchies} == {
        "cpu,cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "memory": Path("/sys/fs/cgroup/memory"),
        "pids": Path("/a place/pids"),
        "systemd": Path("/sys/fs/cgroup/systemd"),
    }
    assert layout.controllers == {"cpu", "cpuacct", "memory", "pids"}
    assert isinstance(choose_groups(layout), GroupsV1)


@pytest.mark.parametrize(("own", "used"), [("/", True), ("/user.slice/session-1.scope", False)])
def test_a_hybrid_hosts_tree_is_left_alone_where_nothing_can_be_moved_in_it(
    own: str, used: bool
) -> None:
    """It is mounted with nsdelegate, and the sandbox's namespace begins where we are."""
    layout = parse_layout(TOGETHER, OWN_TOGETHER.replace("0::/\n", f"0::{own}\n"))

    groups = choose_groups(layout)

    assert isinstance(groups, GroupsV1)
    assert groups.kills_at_once is used


def test_a_missing_controller_is_named_with_the_command_that_mounts_it() -> None:
    without_pids = "\n".join(TOGETHER.splitlines()[:-1])
    layout = parse_layout(without_pids, OWN_TOGETHER)

    (problem,) = problems(layout)

    assert problem.summary == "the control group pids is not mounted"
    assert "mount -t cgroup -o pids" in problem.remedy
    with pytest.raises(DriverUnavailable):
        choose_groups(layout)


def test_a_host_with_version_2_alone_is_seen_as_such(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    layout = parse_layout(f"30 24 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n", "0::/user.slice\n")

    assert layout.name == "v2"
    assert isinstance(choose_groups(layout), GroupsV2)


def test_a_host_without_any_is_told_what_to_mount() -> None:
    (problem,) = problems(parse_layout("", ""))

    assert "mount -t cgroup2" in problem.remedy
