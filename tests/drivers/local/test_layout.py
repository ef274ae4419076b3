"""Which control groups a host has, told from the kernel's texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.domain.errors import DriverUnavailable
from assay.drivers.linux.cgroups_none import NoGroups
from assay.drivers.linux.cgroups_v1 import GroupsV1
from assay.drivers.linux.cgroups_v2 import GroupsV2
from assay.drivers.linux.layout import choose_groups, parse_layout, problems, weaker
from assay.drivers.linux.users import Ids

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


ANN = Ids(user=1000, rootless=True, count=65536)


def hierarchies(folder: Path, *delegated: str) -> tuple[str, str]:
    """Texts of the kernel, of a machine with version 1 on which some folders are ann's."""
    names = ("memory", "pids", "cpu", "cpuacct")
    for name in delegated:
        (folder / name / "assay-1000").mkdir(parents=True)
        (folder / name / "assay-1000" / "cgroup.procs").touch()
    mounts = [f"31 30 0:27 / {folder}/{name} rw - cgroup cgroup rw,{name}" for name in names]
    return "\n".join(mounts), "".join(f"{n}:{name}:/\n" for n, name in enumerate(names))


def test_an_ordinary_user_has_groups_of_version_1_when_all_were_delegated(tmp_path: Path) -> None:
    layout = parse_layout(*hierarchies(tmp_path, "memory", "pids", "cpu", "cpuacct"))

    groups = choose_groups(layout, ANN)

    assert isinstance(groups, GroupsV1)
    assert groups.group_of("x") == "/assay-1000/x/agent"
    assert groups.start("x").group == ""  # the runtime could not move process 1 there
    assert weaker(layout, ANN) == []


def test_an_ordinary_user_with_some_of_them_goes_without_and_is_told_how_to_get_all(
    tmp_path: Path,
) -> None:
    layout = parse_layout(*hierarchies(tmp_path, "memory", "pids"))

    assert isinstance(choose_groups(layout, ANN), NoGroups)
    (problem,) = weaker(layout, ANN)
    assert "mkdir -p /sys/fs/cgroup/$each/assay-1000" in problem.remedy


def version_2(top: Path, own: str, *delegated: str) -> tuple[str, str]:
    for name in delegated:
        folder = top / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.procs").touch()
        (folder / "cgroup.controllers").write_text("cpu memory pids\n")
    return f"30 24 0:26 / {top} rw - cgroup2 cgroup2 rw\n", f"0::{own}\n"


def test_the_highest_group_of_version_2_that_is_the_users_is_taken(tmp_path: Path) -> None:
    service = "user.slice/user@1000.service"
    layout = parse_layout(
        *version_2(tmp_path, f"/{service}/app.slice/a.scope", service, f"{service}/app.slice")
    )

    groups = choose_groups(layout, ANN)

    assert isinstance(groups, GroupsV2)
    assert groups.group_of("x") == f"/{service}/assay/x/agent"


def test_a_session_outside_of_it_is_told_how_to_start(tmp_path: Path) -> None:
    layout = parse_layout(*version_2(tmp_path, "/user.slice/session-1.scope"))

    assert isinstance(choose_groups(layout, ANN), NoGroups)
    (problem,) = weaker(layout, ANN)
    assert problem.remedy.startswith("systemd-run --user --scope --property=Delegate=yes")
