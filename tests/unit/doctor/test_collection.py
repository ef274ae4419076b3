"""Invented machines as folders of files: what is read from them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.doctor import parsing
from assay.doctor.checks import examine_machine
from assay.doctor.collection import collect
from assay.doctor.facts import Machine
from assay.doctor.findings import Mark

STATUS = """Name:\tpython3
Uid:\t{uid}\t{uid}\t{uid}\t{uid}
NoNewPrivs:\t0
Seccomp:\t{seccomp}
CapEff:\t{effective}
CapBnd:\t000001ffffffffff
"""
ROOT = STATUS.format(uid=0, seccomp=0, effective="000001ffffffffff")
USER = STATUS.format(uid=1000, seccomp=2, effective="0000000000000000")

KNOWN_GROUPS = "#subsys_name\thierarchy\nmemory\t1\npids\t2\ncpu\t3\ncpuacct\t4\nfreezer\t5\n"
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup {rw},nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = "".join(
    f"3{n} 30 0:3{n} / /sys/fs/cgroup/{name} rw,relatime - cgroup cgroup rw,{name}\n"
    for n, name in enumerate(("memory", "pids", "cpu", "cpuacct", "freezer"))
)
PROC = "24 23 0:22 / /proc rw,nosuid - proc proc rw,hidepid=invisible\n"

SERVER = {
    "proc/sys/kernel/osrelease": "6.12.43+deb13-amd64\n",
    "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
    "proc/cmdline": "quiet mitigations=auto\n",
    "proc/1/comm": "systemd\n",
    "proc/2/comm": "kthreadd\n",
    "proc/cpuinfo": "processor\t: 0\nflags\t: fpu vmx hypervisor\nprocessor\t: 1\nflags\t: fpu\n",
    "sys/class/dmi/id/sys_vendor": "QEMU\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "kvm-clock\n",
    "proc/self/mountinfo": PROC + V2_MOUNT.format(rw="rw"),
    "proc/self/cgroup": "0::/system.slice/assay.service\n",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
    "sys/fs/cgroup/cgroup.procs": "1\n",
    "sys/fs/cgroup/system.slice/memory.max": "max\n",
    "sys/fs/cgroup/system.slice/memory.swap.max": "max\n",
    "sys/fs/cgroup/system.slice/assay.service/cgroup.subtree_control": "",
    "sys/fs/cgroup/system.slice/assay.service/cgroup.controllers": "cpu memory pids\n",
    "sys/fs/cgroup/system.slice/assay.service/pids.max": "4915\n",
    "proc/self/status": ROOT,
    "proc/self/uid_map": "         0          0 4294967295\n",
    "proc/self/ns/user": "",
    "proc/self/limits": "Limit  Soft  Hard  Units\nMax processes  1 unlimited processes\n"
    "Max open files            1024                 524288               files\n",
    "proc/self/maps": "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]\n",
    "proc/meminfo": "MemTotal:  2048 kB\nMemAvailable:  1024 kB\nSwapTotal:  512 kB\n",
    "proc/sys/user/max_user_namespaces": "7000\n",
    "proc/sys/kernel/seccomp/actions_avail": "kill_process errno allow\n",
    "proc/sys/fs/protected_symlinks": "1\n",
    "proc/sys/fs/protected_fifos": "0\n",
    "proc/sys/kernel/core_pattern": "|/usr/lib/systemd/systemd-coredump %P\n",
    "sys/module/apparmor/parameters/enabled": "Y\n",
    "proc/self/attr/apparmor/current": "unconfined\n",
    "sys/devices/system/cpu/smt/active": "1\n",
    "sys/devices/system/cpu/vulnerabilities/mds": "Vulnerable: Clear CPU buffers attempted\n",
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n",
}

ROOTLESS_UBUNTU = {
    **SERVER,
    "proc/self/status": USER,
    "proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
    "etc/subuid": "bob:100000:65536\nann:165536:1000\n",
    "etc/subgid": "ann:100000:65536\nmalformed\n",
    "usr/bin/newuidmap": "",
}

HYBRID = {
    **SERVER,
    "proc/cgroups": KNOWN_GROUPS,
    "proc/self/mountinfo": V1_MOUNTS
    + "40 30 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
    "proc/self/cgroup": "2:pids:/a b\n1:memory:/\n0::/\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "1\n",
    "sys/fs/cgroup/pids/a b/pids.max": "max\n",
}

CONTAINER = {
    **{path: text for path, text in SERVER.items() if path != "proc/2/comm"},
    "run/.containerenv": "",
    "proc/self/mountinfo": V2_MOUNT.format(rw="ro"),
    "proc/self/cgroup": "0::/\n",
    "sys/fs/cgroup/cgroup.type": "domain\n",
}


@pytest.fixture
def read(tmp_path: Path):  # type: ignore[no-untyped-def]
    def build(files: dict[str, str]) -> Machine:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return collect(root=tmp_path, state=tmp_path / "state/assay", sandboxes=500)

    return build


def marks(machine: Machine) -> dict[str, Mark]:
    found = (each for section in examine_machine(machine) for each in section.findings)
    return {each.check: each.mark for each in found}


def test_a_server_with_version_2(read, tmp_path) -> None:  # type: ignore[no-untyped-def]
    machine = read(SERVER)
    assert machine.kernel.version == (6, 12)
    assert machine.kernel.distribution == "Debian GNU/Linux 13 (trixie)"
    assert (machine.kernel.hypervisor, machine.kernel.container) == ("kvm", "")
    assert machine.groups.layout == "v2"
    assert machine.groups.top_is_below is False
    assert machine.groups.delegated == {"cpu", "memory", "pids"}
    assert machine.groups.own_process_limit == 4915
    assert machine.groups.swap_is_counted is True
    assert machine.is_root
    assert machine.limits.open_files == 524288
    assert machine.limits.processes == -1
    assert machine.memory.swap_bytes == 512 * 1024
    assert machine.hardening.vsyscall == "xonly"
    assert machine.hardening.hidepid == "invisible"
    assert machine.hardening.protections == {"symlinks": 1, "fifos": 0}
    assert machine.processors.count == 2
    assert machine.processors.threads_share_cores is True
    assert machine.kvm.there is False
    assert machine.storage.free_bytes is not None
    said = marks(machine)
    assert said["core-pattern"] is said["mitigations"] is Mark.WARNING
    assert said["protected-files"] is Mark.WARNING
    assert said["swap"] is said["smt"] is Mark.NOTE


def test_an_ordinary_user_of_ubuntu(read) -> None:  # type: ignore[no-untyped-def]
    machine = read(ROOTLESS_UBUNTU)
    assert machine.rights.user == "ann"
    assert machine.rights.seccomp_mode == 2
    assert machine.users.apparmor_restricts is True
    assert (machine.users.subordinate_uids, machine.users.subordinate_gids) == (1000, 65536)
    assert machine.users.first_free_id == 166536
    assert machine.users.mapping_programs is False
    said = marks(machine)
    assert said["user"] is said["user-namespaces"] is said["subordinate-ids"] is Mark.WARNING


def test_a_hybrid_host(read) -> None:  # type: ignore[no-untyped-def]
    machine = read(HYBRID)
    assert machine.groups.layout == "hybrid"
    assert machine.groups.version_1 == {"memory", "pids", "cpu", "cpuacct", "freezer"}
    assert machine.groups.own_process_limit is None
    assert machine.groups.swap_is_counted is False
    said = marks(machine)
    assert said["cgroup-version"] is Mark.NOTE
    assert said["swap"] is Mark.WARNING


def test_a_container(read) -> None:  # type: ignore[no-untyped-def]
    machine = read(CONTAINER)
    assert machine.kernel.container == "podman"
    assert machine.groups.read_only
    assert machine.groups.top_is_below
    assert machine.groups.top_has_processes
    assert marks(machine)["delegation"] is Mark.FAILURE


def test_an_empty_machine_is_unknown(tmp_path: Path) -> None:
    machine = collect(root=tmp_path, state=tmp_path / "state", sandboxes=500)
    said = marks(machine)
    assert {check for check, mark in said.items() if mark in (Mark.WARNING, Mark.FAILURE)} == set()
    assert said["kernel"] is said["user"] is said["cgroup-version"] is Mark.UNKNOWN


def test_unreadable_files_are_unknown(read, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "proc/meminfo").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/status").symlink_to("status")
    (tmp_path / "dev").mkdir()
    os.mkfifo(tmp_path / "dev/kvm")
    said = marks(collect(root=tmp_path, state=tmp_path, sandboxes=500))
    assert said["memory"] is said["user"] is Mark.UNKNOWN
    assert said["kvm"] is Mark.NOTE


def test_a_file_in_place_of_kvm_is_no_kvm(read) -> None:  # type: ignore[no-untyped-def]
    machine = read({**SERVER, "dev/kvm": ""})
    assert (machine.kvm.there, machine.kvm.error) == (True, "ENOTTY")


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    machine = collect(state=tmp_path, sandboxes=1)
    assert machine.kernel.version is not None
    assert machine.groups.layout is not None
    assert machine.rights.uid == os.geteuid()
    assert machine.memory.total_bytes


@given(st.text())
def test_parsers_take_any_text(text: str) -> None:
    mounted = parsing.mounts(text)
    parsing.mount_of("/run/assay", mounted)
    parsing.fields(text)
    parsing.number(text, 16)
    parsing.hard_limit(f"Max open files{text}", "Max open files")
    parsing.own_group(text, "pids")
    parsing.id_ranges(text)
    parsing.user_name(text, 0)


def test_the_deepest_mount_counts_and_of_two_the_last() -> None:
    lines = [
        "1 0 0:1 / / rw - ext4 d rw",
        "2 0 0:2 / /run rw - tmpfs a rw",
        "3 0 0:3 / /run rw - ramfs b rw",
        r"4 0 0:4 / /run/a\040b rw - xfs c rw",
    ]
    mounted = parsing.mounts("\n".join(lines))
    kinds = {
        path: found.kind
        for path in ("/run/assay", "/run/a b/c", "/runner")
        if (found := parsing.mount_of(path, mounted))
    }
    assert kinds == {"/run/assay": "ramfs", "/run/a b/c": "xfs", "/runner": "ext4"}


def test_a_state_folder_that_links_to_itself_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    machine = collect(root=tmp_path, state=tmp_path / "loop/state", sandboxes=1)
    assert machine.storage.folder.endswith("loop/state")
