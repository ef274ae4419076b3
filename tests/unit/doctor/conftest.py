"""An invented machine on which all is well: a Debian server, root, control groups of version 2."""

from __future__ import annotations

import datetime

import pytest

from assay.doctor.facts import (
    ControlGroups,
    Hardening,
    Kernel,
    Kvm,
    Limits,
    Login,
    Machine,
    Memory,
    Package,
    Processors,
    Program,
    Rights,
    Storage,
    UserNamespaces,
)

GIB = 1024**3


@pytest.fixture
def healthy() -> Machine:
    return Machine(
        kernel=Kernel(
            release="6.12.43+deb13-amd64",
            architecture="x86_64",
            distribution="Debian GNU/Linux 13 (trixie)",
            command_line="root=/dev/vda1 ro quiet",
            hypervisor="kvm",
            container="",
            init="systemd",
            clock_source="tsc",
            entropy_bits=256,
        ),
        groups=ControlGroups(
            version_1=frozenset(),
            version_2="/sys/fs/cgroup",
            offered=frozenset({"cpu", "memory", "pids", "io"}),
            delegated=frozenset({"cpu", "memory", "pids"}),
            top_is_below=False,
            top_has_processes=False,
            swap_is_counted=True,
        ),
        rights=Rights(
            uid=0,
            user="root",
            effective=0x1FFFFFFFFFF,
            bounding=0x1FFFFFFFFFF,
            no_new_privileges=False,
            seccomp_mode=0,
            seccomp_actions=frozenset({"errno", "kill_process", "allow"}),
            whole_user_range=True,
        ),
        users=UserNamespaces(
            there=True,
            most=96365,
            subordinate_uids=65536,
            subordinate_gids=65536,
            mapping_programs=True,
            mapping_programs_gain_rights=True,
        ),
        login=Login(runtime_folder="/run/user/1000", lingers=True),
        memory=Memory(
            total_bytes=32 * GIB,
            available_bytes=30 * GIB,
            swap_bytes=0,
            overcommit=0,
            panic_on_oom=0,
        ),
        limits=Limits(
            open_files=524288,
            processes=-1,
            file_max=9223372036854775807,
            pid_max=4194304,
            threads_max=256000,
            mount_max=100000,
            keys_of_root=1000000,
            keys_of_users=200,
            inotify_instances=8192,
            namespaces={"user": 96365, "mnt": 96365, "net": 96365},
        ),
        storage=Storage(
            folder="/run/assay",
            kind="tmpfs",
            free_bytes=GIB,
            free_inodes=800000,
            writable=True,
        ),
        hardening=Hardening(
            core_pattern="core",
            ptrace_scope=1,
            legacy_tiocsti=False,
            vsyscall="xonly",
            hidepid="invisible",
            panic_on_warn=False,
            protections={"symlinks": 1, "hardlinks": 1, "fifos": 1, "regular": 2},
            apparmor=True,
            apparmor_profile="unconfined",
            selinux="",
        ),
        processors=Processors(
            count=8,
            threads_share_cores=False,
            vulnerabilities={"meltdown": "Not affected", "mds": "Mitigation: Clear CPU buffers"},
        ),
        kvm=Kvm(there=True, api=12, processor_can=True),
        programs=(
            Program(
                name="crun",
                path="/usr/bin/crun",
                version="1.30",
                package=Package(name="crun", version="1.30-1", changelog=""),
            ),
        ),
        sandboxes=500,
        today=datetime.date(2026, 11, 22),
    )
