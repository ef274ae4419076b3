"""What holds every sandbox on this kernel, whoever makes it: the same for a runtime and for us."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from assay.domain.limits import MIB, SandboxLimits
from assay.drivers.linux import kernel
from assay.drivers.linux.kernel import MountFlag

AGENT_FOLDER: Final = "/.assay"
CONTROL: Final = f"{AGENT_FOLDER}/control"
SOCKET: Final = f"{CONTROL}/socket"
SECRET: Final = f"{CONTROL}/secret"
GROUPS: Final = f"{AGENT_FOLDER}/cgroup"

HOST_NAME: Final = "sandbox"
AGENT_MEMORY: Final = 128 * MIB
"""The agent keeps up to 1 MiB of output for each of 64 executions, beside what it needs itself."""
AGENT_PROCESSES: Final = 256
"""Its own, and those that it forks, until they have joined the learners' groups: a keeper and a
program for each of 64 executions, and more for a moment."""

CAPABILITIES: Final = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7}
"""Of the agent, with their numbers. Neither inheritable nor ambient: a learner's program gets none
of them."""
CORE_BYTES: Final = 1
"""Of core dumps. Not none: then the kernel doesn't start the host's handler of them either."""
OOM_SCORE: Final = 500
"""When the host itself runs out of memory, sandboxes go before what serves them."""

MASKED: Final = (
    "acpi", "asound", "buddyinfo", "bus", "cmdline", "config.gz", "diskstats", "driver", "fs",
    "interrupts", "iomem", "ioports", "irq", "kallsyms", "kcore", "key-users", "keys", "kmsg",
    "kpagecgroup", "kpagecount", "kpageflags", "latency_stats", "mdstat", "modules", "mtrr",
    "pagetypeinfo", "partitions", "pressure", "sched_debug", "schedstat", "scsi", "slabinfo",
    "softirqs", "swaps", "sysrq-trigger", "timer_list", "vmallocinfo", "zoneinfo",
)  # fmt: skip
"""Of /proc: what would tell of the host, its disks, keys and neighbours, or could reach them."""
READ_ONLY: Final = ("/proc/sys",)

NETWORK: Final = {
    "net.core.somaxconn": "512",
    "net.ipv4.tcp_rmem": "4096 65536 262144",
    "net.ipv4.tcp_wmem": "4096 16384 262144",
}
"""Settings of a network namespace: a loopback needs no buffers of megabytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A file system of the sandbox's own."""

    target: str
    kind: str
    flags: MountFlag
    options: tuple[str, ...]


MOUNTS: Final = (
    Mount(
        target="/proc", kind="proc", options=("hidepid=2", "gid=0"),
        flags=MountFlag.NOSUID | MountFlag.NOEXEC | MountFlag.NODEV,
    ),
    Mount(
        target="/dev", kind="tmpfs", options=("mode=755", "size=64k", "nr_inodes=64"),
        flags=MountFlag.NOSUID | MountFlag.NOEXEC,
    ),
    Mount(
        target="/dev/pts", kind="devpts",
        options=("newinstance", "ptmxmode=0666", "mode=0600", "max=96"),
        flags=MountFlag.NOSUID | MountFlag.NOEXEC,
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Bind:
    """A file or folder of the host (as whoever binds it sees it), shown in the sandbox."""

    source: str
    target: str
    writable: bool = False
    executable: bool = True
    """Must be False where the source is mounted noexec: in a user namespace that stays so."""
    device: bool = False
    """It is a device, to be opened as one."""


@cache
def network_settings() -> dict[str, str]:
    """Those settings that namespaces of a sandbox have: older kernels keep net.core to the host."""
    return {
        name: value
        for name, value in NETWORK.items()
        if not name.startswith("net.core.")
        or kernel.namespace_has(Path("/proc/sys", *name.split(".")))
    }


@cache
def masked_paths() -> tuple[str, ...]:
    """What there is to mask. A folder costs a file system (10 KB), so empty ones are left out."""
    paths = (Path("/proc", name) for name in MASKED)
    return tuple(str(path) for path in paths if path.exists() and not _is_empty(path))


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def agent_command(unclaimed_seconds: int, *more: str) -> list[str]:
    """How process 1 is started."""
    return [
        f"{AGENT_FOLDER}/agent", "--socket", SOCKET, "--secret-file", SECRET,
        "--unclaimed", str(unclaimed_seconds), *more,
    ]  # fmt: skip


AGENT_ENVIRONMENT: Final = ("HOME=/",)
"""Runtimes search the image's /etc/passwd for a HOME that isn't given, to its end: which an image
can put off for ever (/dev/zero)."""


def instead_of_groups(limits: SandboxLimits) -> Sequence[str]:
    """What the kernel can hold of the limits without groups, for the agent to set in programs.

    Processes are counted for each user of a user namespace, and so of a sandbox (before Linux 5.14:
    for each user of the machine, whom several sandboxes may share). Memory is limited
    for each process alone, and only what it may write: run-time systems reserve gigabytes. A
    runtime can't set the first: crun does so before it enters the sandbox's user namespace.
    """
    processes = ("--processes", str(limits.processes)) if kernel.is_at_least(5, 14) else ()
    return *processes, "--data", str(limits.memory_bytes)


def machine() -> str:
    """The name of the processor's architecture, such as x86_64."""
    return os.uname().machine
