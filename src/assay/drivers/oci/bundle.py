"""What an OCI runtime is told about one sandbox: its config.json, as a function of data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from assay.domain.limits import MIB, SandboxLimits
from assay.drivers.oci import kernel, seccomp
from assay.drivers.oci.users import extents

AGENT_FOLDER: Final = "/.assay"
CONTROL: Final = f"{AGENT_FOLDER}/control"
SOCKET: Final = f"{CONTROL}/socket"
SECRET: Final = f"{CONTROL}/secret"
GROUPS: Final = f"{AGENT_FOLDER}/cgroup"

AGENT_MEMORY: Final = 128 * MIB
"""The agent keeps up to 1 MiB of output for each of 64 executions, beside what it needs itself."""
AGENT_PROCESSES: Final = 256
"""Its own, and those that it forks, until they have joined the learners' groups: a keeper and a
program for each of 64 executions, and more for a moment."""

_CAPABILITIES: Final = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
)  # fmt: skip

_MASKED: Final = """
    acpi asound buddyinfo bus cmdline config.gz diskstats driver fs interrupts iomem ioports irq
    kallsyms kcore key-users keys kmsg kpagecgroup kpagecount kpageflags latency_stats mdstat
    modules mtrr pagetypeinfo partitions pressure sched_debug schedstat scsi slabinfo softirqs swaps
    sysrq-trigger timer_list vmallocinfo zoneinfo
"""
"""Of /proc: what would tell of the host, its disks, keys and neighbours, or could reach them."""

_NETWORK: Final = {
    "net.core.somaxconn": "512",
    "net.ipv4.tcp_rmem": "4096 65536 262144",
    "net.ipv4.tcp_wmem": "4096 16384 262144",
}
"""Settings of a network namespace: a loopback needs no buffers of megabytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bind:
    """A file or folder of the host (as the runtime sees it), shown in the sandbox."""

    source: Path
    target: str
    writable: bool = False
    executable: bool = True
    """Must be False where the source is mounted noexec: in a user namespace that stays so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that differs from one sandbox to the next."""

    root: Path
    binds: Sequence[Bind]
    first_user: int
    group: str
    """The control group that process 1 starts in, from the top of the hierarchies; "" for none."""
    group_limits: bool = True
    """Whether the runtime limits that group; on version 2 it is the whole sandbox's."""
    unheld: SandboxLimits | None = None
    """Limits that no control group holds."""
    own_kernel: bool = False
    """Whether a kernel of its own runs the agent, which then limits `processes` of a user."""
    processes: int = 0
    unclaimed_seconds: int
    annotations: Mapping[str, str] = field(default_factory=dict)


def configuration(plan: Plan) -> dict[str, Any]:
    """The content of config.json."""
    return {
        "ociVersion": "1.0.2",
        "hostname": "sandbox",
        "root": {"path": str(plan.root), "readonly": not plan.own_kernel},
        "process": _process(plan),
        "mounts": [*_system_mounts(), *map(_bind, plan.binds)],
        "annotations": dict(plan.annotations),
        "linux": {
            "namespaces": [
                {"type": kind}
                for kind in ("user", "mount", "pid", "ipc", "uts", "cgroup", "network")
            ],
            "uidMappings": _mappings(plan.first_user),
            "gidMappings": _mappings(plan.first_user),
            **({"cgroupsPath": plan.group} if plan.group else {}),
            "resources": _resources() if plan.group_limits else {},
            "sysctl": _network(),
            "seccomp": _seccomp(own_kernel=plan.own_kernel),
            "maskedPaths": list(_masked()),
            "readonlyPaths": ["/proc/sys"],
        },
    }


def _resources() -> dict[str, Any]:
    return {"memory": {"limit": AGENT_MEMORY}, "pids": {"limit": AGENT_PROCESSES}}


@cache
def _network() -> dict[str, str]:
    """Those settings that namespaces of a sandbox have: older kernels keep net.core to the host."""
    return {
        name: value
        for name, value in _NETWORK.items()
        if not name.startswith("net.core.")
        or kernel.namespace_has(Path("/proc/sys", *name.split(".")))
    }


def _process(plan: Plan) -> dict[str, Any]:
    return {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "cwd": "/",
        "args": [
            f"{AGENT_FOLDER}/agent", "--socket", SOCKET, "--secret-file", SECRET,
            "--cgroup", GROUPS, "--unclaimed", str(plan.unclaimed_seconds),
            *(_instead_of_groups(plan.unheld) if plan.unheld else ()),
            *(("--processes", str(plan.processes)) if plan.own_kernel else ()),
        ],
        # Runtimes search the image's /etc/passwd for a HOME that isn't given, to its end: which
        # an image can put off for ever (/dev/zero).
        "env": ["HOME=/"],
        "noNewPrivileges": True,
        # Neither inheritable nor ambient: a learner's program gets none of them.
        "capabilities": {
            kind: list(_CAPABILITIES) for kind in ("bounding", "permitted", "effective")
        },
        # One byte, not none: then the kernel doesn't start the host's handler of core dumps either.
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}],
        # When the host itself runs out of memory, sandboxes go before what serves them.
        "oomScoreAdj": 500,
    }  # fmt: skip


def _instead_of_groups(limits: SandboxLimits) -> Sequence[str]:
    """What the kernel can hold of the limits without groups, for the agent to set in programs.

    Processes are counted for each user of a user namespace, and so of a sandbox (before Linux 5.14:
    for each user of the machine, whom several sandboxes may share). Memory is limited
    for each process alone, and only what it may write: run-time systems reserve gigabytes. The
    runtime can't set the first: crun does so before it enters the sandbox's user namespace.
    """
    processes = ("--processes", str(limits.processes)) if kernel.is_at_least(5, 14) else ()
    return *processes, "--data", str(limits.memory_bytes)


def _system_mounts() -> list[dict[str, Any]]:
    return [
        _mount("/proc", "proc", "nosuid", "noexec", "nodev", "hidepid=2", "gid=0"),
        _mount("/dev", "tmpfs", "nosuid", "noexec", "mode=755", "size=64k", "nr_inodes=64"),
        _mount(
            "/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666",
            "mode=0600", "max=96",
        ),
    ]  # fmt: skip


def _mount(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}


def _bind(bind: Bind) -> dict[str, Any]:
    options = ["bind", "nosuid", "nodev", "rw" if bind.writable else "ro"]
    if not bind.executable:
        options.append("noexec")
    return {
        "destination": bind.target, "type": "bind", "source": str(bind.source), "options": options
    }  # fmt: skip


def _mappings(first: int) -> list[dict[str, int]]:
    return [
        {"containerID": inside, "hostID": outside, "size": count}
        for inside, outside, count in extents(first)
    ]


@cache
def _seccomp(*, own_kernel: bool) -> dict[str, Any]:
    machine = os.uname().machine
    return seccomp.profile_of_own_kernel(machine) if own_kernel else seccomp.profile(machine)


@cache
def _masked() -> tuple[str, ...]:
    """What there is to mask. A folder costs a file system (10 KB), so empty ones are left out."""
    paths = (Path("/proc", name) for name in _MASKED.split())
    return tuple(str(path) for path in paths if path.exists() and not _is_empty(path))


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
