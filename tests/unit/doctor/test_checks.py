"""Invented machines as a table: what is changed on a good one -> what the checks must say."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.doctor.checks import SECTIONS, examine_machine
from assay.doctor.facts import DeviceFacts, Machine, Package, Program, TechnologyFacts
from assay.doctor.findings import Finding, Mark

OK, NOTE, UNKNOWN = Mark.OK, Mark.NOTE, Mark.UNKNOWN
WARNING, FAILURE = Mark.WARNING, Mark.FAILURE

ORDINARY_USER = {
    "rights": {"uid": 1000, "user": "ann", "effective": 0},
    "limits": {"keys_of_users": 20000},
}


def changed(machine: Machine, changes: dict[str, Any]) -> Machine:
    """A machine with some of its facts changed, as in {"memory": {"swap_bytes": 1}}."""
    parts = {
        name: dataclasses.replace(getattr(machine, name), **values)
        if isinstance(values, dict)
        else values
        for name, values in changes.items()
    }
    return dataclasses.replace(machine, **parts)


def findings_of(machine: Machine) -> list[Finding]:
    return [finding for section in examine_machine(machine) for finding in section.findings]


def test_a_good_machine_has_nothing_to_mend(healthy: Machine) -> None:
    assert {each.mark for each in findings_of(healthy)} == {OK}
    assert not [each.remedy for each in findings_of(healthy) if each.remedy]


FIVE = frozenset({"memory", "pids", "cpu", "cpuacct", "freezer"})
V1 = {"version_1": FIVE, "version_2": "", "offered": None}

CASES: dict[str, tuple[dict[str, Any], str, Mark, str]] = {
    # name: (what is different, check, mark, part of the remedy or of the summary)
    "an old kernel": (
        {"kernel": {"release": "4.19.0-27-amd64"}}, "kernel", FAILURE, "full-upgrade",
    ),
    "a kernel without cgroup.kill": (
        {"kernel": {"release": "5.10.0-30-amd64"}}, "kernel", WARNING, "5.14",
    ),
    "a kernel of an odd name": ({"kernel": {"release": "mine"}}, "kernel", NOTE, "mine"),
    "a container": ({"kernel": {"container": "docker"}}, "runs-on", NOTE, "docker"),
    "windows": ({"kernel": {"container": "wsl"}}, "runs-on", NOTE, "Windows"),
    "the metal": ({"kernel": {"hypervisor": ""}}, "runs-on", OK, "metal"),
    "a slow clock": (
        {"kernel": {"clock_source": "hpet"}}, "clock", NOTE, "echo tsc > /sys/devices",
    ),
    "no entropy on an old kernel": (
        {"kernel": {"entropy_bits": 20, "release": "5.15.0"}}, "entropy", WARNING, "rng-tools5",
    ),
    "no kvm module": ({"kvm": {"there": False}}, "kvm", NOTE, "modprobe kvm_intel"),
    "kvm forbidden": ({"kvm": {"error": "EACCES"}}, "kvm", NOTE, "usermod --append --groups kvm"),
    "kvm broken": ({"kvm": {"error": "ENOTTY"}}, "kvm", NOTE, "ENOTTY"),
    "pvm": ({"kernel": {"command_line": "quiet nested_pvm=1"}}, "kvm", NOTE, "PVM"),
    "no control groups": (
        {"groups": {"version_2": ""}}, "cgroup-version", FAILURE, "mount -t cgroup2",
    ),
    "version 1": ({"groups": V1}, "cgroup-version", NOTE, "systemd.unified_cgroup_hierarchy=1"),
    "hybrid": (
        {"groups": {**V1, "version_2": "/sys/fs/cgroup/unified"}}, "cgroup-version", NOTE, "crun",
    ),
    "version 1 without pids": (
        {"groups": {**V1, "version_1": FIVE - {"pids"}}}, "controllers", FAILURE,
        "mount -t cgroup -o pids cgroup /sys/fs/cgroup/pids",
    ),
    "a Raspberry Pi": (
        {"groups": {"offered": frozenset({"cpu", "pids"})}}, "controllers", FAILURE,
        "cgroup_enable=memory",
    ),
    "a container with half of the controllers": (
        {"groups": {"offered": frozenset({"memory", "pids"}), "top_is_below": True}},
        "controllers", FAILURE, "--cgroupns=host",
    ),
    "read-only groups": (
        {"groups": {"read_only": True}}, "delegation", FAILURE, "remount,rw /sys/fs/cgroup",
    ),
    "a container that sits in its own top group": (
        {"groups": {"top_is_below": True, "top_has_processes": True}}, "delegation", FAILURE,
        "mkdir -p /sys/fs/cgroup/init",
    ),
    "a user without delegation": (
        {**ORDINARY_USER, "groups": {"delegated": frozenset({"memory", "pids"})}},
        "delegation", WARNING, "Delegate=cpu",
    ),
    "a user outside of what is delegated": (
        {**ORDINARY_USER, "groups": {"delegated": frozenset()}},
        "delegation", WARNING, "systemd-run --user --scope --property=Delegate=yes",
    ),
    "a user of version 1": (
        {**ORDINARY_USER, "groups": {**V1, "given": frozenset({"memory", "pids"})}},
        "delegation", WARNING, "for each in cpu cpuacct; do mkdir -p /sys/fs/cgroup/",
    ),
    "a user of version 1 with folders": (
        {**ORDINARY_USER, "groups": {**V1, "given": FIVE}}, "delegation", OK, "you are given",
    ),
    "a user after su": (
        {**ORDINARY_USER, "login": {"runtime_folder": ""}}, "login", NOTE, "/tmp/assay-1000",
    ),
    "a user who does not linger": (
        {**ORDINARY_USER, "login": {"lingers": False}}, "login", NOTE,
        "loginctl enable-linger ann",
    ),
    "a user": (ORDINARY_USER, "user", OK, "without root"),
    "a user who can have no namespace": (
        {**ORDINARY_USER, "users": {"subordinate_uids": 0}}, "user", WARNING, "see below",
    ),
    "root of a namespace": ({"rights": {"whole_user_range": False}}, "user", NOTE, "namespace"),
    "no CAP_SYS_RESOURCE": (
        {"rights": {"effective": 0x1FFFFFFFFFF & ~(1 << 24)}}, "capabilities", NOTE, "Podman",
    ),
    "a plain container's root": (
        {"rights": {"effective": 0xA80425FB}}, "capabilities", FAILURE, "--cap-add SYS_ADMIN",
    ),
    "no seccomp": ({"rights": {"seccomp_actions": None}}, "seccomp", FAILURE, "CONFIG_SECCOMP"),
    "behind a filter": ({"rights": {"seccomp_mode": 2}}, "seccomp", NOTE, "filter"),
    "no user namespaces": (
        {"users": {"there": False}}, "user-namespaces", FAILURE, "CONFIG_USER_NS",
    ),
    "user namespaces off": (
        {"users": {"most": 0}}, "user-namespaces", FAILURE,
        "sysctl -w user.max_user_namespaces=65536",
    ),
    "rootless Ubuntu": (
        {**ORDINARY_USER, "users": {"apparmor_restricts": True}}, "user-namespaces", WARNING,
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    "root on Ubuntu": ({"users": {"apparmor_restricts": True}}, "user-namespaces", OK, ""),
    "rootless old Debian": (
        {**ORDINARY_USER, "users": {"debian_forbids": True}}, "user-namespaces", WARNING,
        "unprivileged_userns_clone=1",
    ),
    "too few subordinate ids": (
        {**ORDINARY_USER, "users": {"subordinate_gids": 1000, "first_free_id": 231072}},
        "subordinate-ids", WARNING, "usermod --add-subgids 231072-296607 ann",
    ),
    "no newuidmap": (
        {**ORDINARY_USER, "users": {"mapping_programs_gain_rights": False}},
        "subordinate-ids", WARNING, "chmod u+s",
    ),
    "no uidmap": (
        {**ORDINARY_USER, "users": {"mapping_programs": False}}, "subordinate-ids", WARNING,
        "apt-get install uidmap",
    ),
    "no new privileges": (
        {**ORDINARY_USER, "rights": {"uid": 1000, "no_new_privileges": True}},
        "no-new-privileges", WARNING, "newuidmap",
    ),
    "little memory": ({"memory": {"available_bytes": 300 * 2**20}}, "memory", WARNING, "wanted"),
    "swap that is counted": ({"memory": {"swap_bytes": 2**30}}, "swap", NOTE, "swapoff --all"),
    "swap that is not counted": (
        {"memory": {"swap_bytes": 2**30}, "groups": {"swap_is_counted": False}}, "swap", WARNING,
        "swapaccount=1",
    ),
    "strict overcommit": (
        {"memory": {"overcommit": 2}}, "overcommit", WARNING, "sysctl -w vm.overcommit_memory=0",
    ),
    "panic on any oom": (
        {"memory": {"panic_on_oom": 2}}, "panic-on-oom", FAILURE, "sysctl -w vm.panic_on_oom=0",
    ),
    "panic on the host's oom": ({"memory": {"panic_on_oom": 1}}, "panic-on-oom", WARNING, "=0"),
    "few pids": ({"limits": {"pid_max": 32768}}, "pid-max", WARNING, "kernel.pid_max=4194304"),
    "few threads": ({"limits": {"threads_max": 9000}}, "threads-max", WARNING, "threads-max="),
    "a service's TasksMax": (
        {"groups": {"own_process_limit": 100}}, "tasks-max", WARNING, "TasksMax=infinity",
    ),
    "few descriptors": (
        {"limits": {"open_files": 1024}}, "open-files", WARNING, "LimitNOFILE=65536",
    ),
    "few descriptors in all": ({"limits": {"file_max": 5000}}, "file-max", WARNING, "fs.file-max="),
    "unlimited descriptors": ({"limits": {"open_files": -1}}, "open-files", OK, "no limit"),
    "few network namespaces": (
        {"limits": {"namespaces": {"net": 100, "mnt": 9999}}}, "namespaces", WARNING,
        "sysctl -w user.max_net_namespaces=65536",
    ),
    "few mounts": ({"limits": {"mount_max": 20}}, "mount-max", WARNING, "fs.mount-max=100000"),
    "few keys": (
        {"limits": {"keys_of_root": 200}}, "keys", WARNING, "kernel.keys.root_maxkeys=20000",
    ),
    "few keys for users": (
        {**ORDINARY_USER, "limits": {"keys_of_users": 200}}, "keys", WARNING,
        "kernel.keys.maxkeys=20000 kernel.keys.maxbytes=2000000",
    ),
    "few inotify instances": (
        {"limits": {"inotify_instances": 128}}, "inotify", WARNING,
        "sysctl -w fs.inotify.max_user_instances=8192",
    ),
    "a full disk": ({"storage": {"free_bytes": 2**20}}, "disk", FAILURE, "no room"),
    "no inodes": ({"storage": {"free_inodes": 3}}, "disk", FAILURE, "no room"),
    "a tight disk": ({"storage": {"free_bytes": 80 * 2**20}}, "disk", WARNING, "tight"),
    "on a disk": ({"storage": {"kind": "ext4"}}, "state", WARNING, "mount -t tmpfs"),
    "btrfs": ({"storage": {"free_inodes": -1}}, "disk", OK, "1024 MiB free"),
    "a read-only disk": ({"storage": {"read_only": True}}, "disk", FAILURE, "remount,rw"),
    "somebody else's folder": ({"storage": {"writable": False}}, "disk", WARNING, "sudo"),
    "apport": (
        {"hardening": {"core_pattern": "|/usr/share/apport/apport -p%p"}}, "core-pattern", WARNING,
        "/usr/share/apport/apport on the host",
    ),
    "a pipe to nothing": ({"hardening": {"core_pattern": "|"}}, "core-pattern", WARNING, "nothing"),
    "no access control": ({"hardening": {"apparmor": False}}, "access-control", NOTE, "neither"),
    "selinux": (
        {"hardening": {"selinux": "enforcing"}}, "access-control", OK, "SELinux (enforcing)",
    ),
    "no yama": ({"hardening": {"ptrace_scope": -1}}, "ptrace-scope", NOTE, "Yama"),
    "yama off": ({"hardening": {"ptrace_scope": 0}}, "ptrace-scope", NOTE, "ptrace_scope=1"),
    "tiocsti": (
        {"hardening": {"legacy_tiocsti": True}}, "legacy-tiocsti", NOTE, "legacy_tiocsti=0",
    ),
    "vsyscall": ({"hardening": {"vsyscall": "emulate"}}, "vsyscall", NOTE, "vsyscall=xonly"),
    "no hidepid": ({"hardening": {"hidepid": ""}}, "hidepid", NOTE, "of their own"),
    "links are followed": (
        {"hardening": {"protections": {"symlinks": 0, "hardlinks": 1, "regular": 0}}},
        "protected-files", WARNING, "fs.protected_symlinks, fs.protected_regular are 0: in /tmp",
    ),
    "pipes are opened": (
        {"hardening": {"protections": {"symlinks": 1, "fifos": 0}}},
        "protected-files", WARNING, "sysctl -w fs.protected_fifos=1",
    ),
    "protected": ({"hardening": {}}, "protected-files", OK, "not followed"),
    "panic on warn": ({"hardening": {"panic_on_warn": True}}, "panic-on-warn", WARNING, "=0"),
    "mitigations off": (
        {"kernel": {"command_line": "mitigations=off"}}, "mitigations", WARNING, "update-grub",
    ),
    "a bare processor in a virtual machine": (
        {"processors": {"vulnerabilities": {"mds": "Vulnerable"}}}, "mitigations", WARNING, "host",
    ),
    "a bare processor": (
        {"processors": {"vulnerabilities": {"mds": "Vulnerable"}}, "kernel": {"hypervisor": ""}},
        "mitigations", WARNING, "microcode",
    ),
    "hyper-threading": ({"processors": {"threads_share_cores": True}}, "smt", NOTE, "smt/control"),
    "a device that can be shown": (
        {"devices": (DeviceFacts(name="/dev/ttyUSB0"),)}, "devices", OK, "/dev/ttyUSB0",
    ),
    "a device that is not there": (
        {"devices": (DeviceFacts(name="/dev/ttyUSB0", problem="unplugged"),)}, "devices",
        WARNING, "unplugged",
    ),
    "a gpu": (
        {"devices": (DeviceFacts(name="nvidia.com/gpu=0", left_out=("the hook",)),)}, "devices",
        OK, "without the hook",
    ),
    "no runtimes": ({"programs": ()}, "runtimes", NOTE, "apt-get install crun runc"),
    "runsc on a new kernel": (
        {"programs": (Program(name="runsc", path="/r", version="20261101.0"),)}, "runsc", NOTE,
        "10704",
    ),
    "an old runsc": (
        {"programs": (Program(name="runsc", path="/r", version="0.0~20221219.0"),)}, "runsc",
        WARNING, "weekly releases",
    ),
    "a runsc whose terminals lack keys": (
        {"programs": (Program(name="runsc", path="/r", version="0.0~20221219.0"),)}, "runsc",
        NOTE, "Ctrl-C",
    ),
    "kata without kvm": (
        {"programs": (Program(name="kata", path="/k", version="3.31.0"),), "kvm": {"there": False}},
        "kata", NOTE, "/dev/kvm",
    ),
    "podman without CAP_SYS_RESOURCE": (
        {
            "programs": (Program(name="podman", path="/p", version="5.7.1"),),
            "rights": {"effective": 0x1FFFFFFFFFF & ~(1 << 24)},
        },
        "podman", NOTE, "default_ulimits",
    ),
    "a program that says nothing": (
        {"programs": (Program(name="runc", path="/r"),)}, "runc", NOTE, "can't be known",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_said_with_its_remedy(name: str, healthy: Machine) -> None:
    changes, check, mark, part = CASES[name]
    found = [each for each in findings_of(changed(healthy, changes)) if each.check == check]
    assert [each for each in found if each.mark is mark and part in f"{each.summary} {each.remedy}"]


def runc(version: str, changelog: str | None = "", *, packaged: bool = True) -> Program:
    package = Package(name="runc", version=f"{version}-1", changelog=changelog)
    return Program(
        name="runc", path="/usr/sbin/runc", version=version, package=package if packaged else None
    )


def holes_told(machine: Machine, program: Program) -> str:
    found = findings_of(dataclasses.replace(machine, programs=(program,)))
    return "\n".join(f"{each.summary} {each.remedy}" for each in found if "CVE-" in each.summary)


def test_a_hole_that_the_changelog_names_is_mended(healthy: Machine) -> None:
    bare = holes_told(healthy, runc("1.1.5+ds1"))
    mended = holes_told(healthy, runc("1.1.5+ds1", "  * CVE-2024-21626: several breakouts"))
    assert "CVE-2024-21626" in bare
    assert "CVE-2024-21626" not in mended
    assert "CVE-2025-31133" in mended


def test_a_changelog_must_name_the_whole_number(healthy: Machine) -> None:
    assert "CVE-2024-21626" in holes_told(healthy, runc("1.1.5", "CVE-2024-216260"))


def test_the_remedy_of_a_hole_is_the_package(healthy: Machine) -> None:
    assert "--only-upgrade runc" in holes_told(healthy, runc("1.1.5"))


@pytest.mark.parametrize("program", [runc("1.1.5", None), runc("1.1.5", packaged=False)])
def test_without_a_changelog_nobody_knows_about_backports(
    program: Program, healthy: Machine
) -> None:
    assert "unless your distribution backported it" in holes_told(healthy, program)


def test_holes_in_what_assay_does_not_use_are_notes(healthy: Machine) -> None:
    program = Program(name="crun", path="/usr/bin/crun", version="1.19.1")
    found = findings_of(dataclasses.replace(healthy, programs=(program,)))
    assert {each.mark for each in found if "CVE-" in each.summary} == {NOTE}


def test_a_machine_of_which_nothing_can_be_read_is_unknown() -> None:
    marks = {each.check: each.mark for each in findings_of(Machine())}
    assert WARNING not in marks.values()
    assert FAILURE not in marks.values()
    assert marks["kernel"] is marks["swap"] is marks["disk"] is marks["seccomp"] is UNKNOWN


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type, with every field filled in at random, None included."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return st.builds(kind, **{name: anything(hint) for name, hint in hints.items()})
    for each in (Program, TechnologyFacts):
        if kind == tuple[each, ...]:
            return st.lists(anything(each), max_size=3).map(tuple)
    return st.from_type(kind)


@given(anything(Machine))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_check_ever_raises(machine: Machine) -> None:
    names = [section.title for section in examine_machine(machine)]
    assert names == list(SECTIONS)
