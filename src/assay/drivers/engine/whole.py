"""What an engine is told about a container that is a sandbox all by itself, as a function of data.

Nobody furnishes it, as nobody of ours is on its machine or sees into its kernel. So it has as many
tmpfs as there are places to write in, each with its part of the limits, and learners are in one
control group with the agent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from assay.domain.limits import SandboxLimits
from assay.driver.port import SandboxSpec
from assay.drivers.engine.container import LOG
from assay.drivers.engine.kind import Kind
from assay.drivers.linux.confinement import (
    AGENT_ENVIRONMENT,
    AGENT_FOLDER,
    CAPABILITIES,
    CONTROL,
    CORE_BYTES,
    HOST_NAME,
    MASKED,
    NETWORK,
    OOM_SCORE,
    READ_ONLY,
    SECRET,
    SOCKET,
)
from assay.drivers.linux.working_folder import WorkingFolder

FILTER: Final = f"{AGENT_FOLDER}/filter"
"""Of the image: the filter of system calls, where the agent has to load it itself."""
BRIDGE: Final = (f"{AGENT_FOLDER}/agent", "bridge", SOCKET)
GIVE: Final = (f"{AGENT_FOLDER}/agent", "give", SECRET, SOCKET)
_SYSTEM: Final = (
    "block", "bus", "class", "dev", "devices", "firmware", "hypervisor", "kernel", "module",
    "power", "fs/bpf", "fs/btrfs", "fs/ecryptfs", "fs/ext4", "fs/f2fs", "fs/fuse", "fs/pstore",
    "fs/resctrl", "fs/selinux", "fs/smackfs", "fs/xfs", "fs/zfs",
)  # fmt: skip
"""Of /sys, all but control groups, where the agent reads who was killed for want of memory."""
_MASKED: Final = (
    *(f"/proc/{name}" for name in MASKED), *(f"/sys/{name}" for name in _SYSTEM), "/dev/mqueue",
)  # fmt: skip
_SHARE: Final = {"/tmp": 1, "/dev/shm": 1, "/var/tmp": 1}
"""Sixteenths of the limits of a disk, for each of its places; the working folder has the rest."""
_ALL_SHARES: Final = 16
_CONTROL_BYTES: Final = 65536
_CONTROL_INODES: Final = 8
_PAGE: Final = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """All that differs from one container to the next."""

    image: str
    runtime: str
    """"": the engine's default."""
    kind: Kind
    spec: SandboxSpec
    machine: str
    """The name of the architecture of the engine's processors."""
    place: WorkingFolder
    has_var_tmp: bool
    masks_by_option: bool
    """Whether the engine wants to hear what to mask as a security option."""
    agent_filters: bool
    """Whether it can't be told the filter of system calls, so that the agent loads it."""
    labels: Mapping[str, str]


def whole(plan: Whole) -> dict[str, Any]:
    """The body of a request to create it."""
    command = _command(plan)
    return {
        "Image": plan.image,
        "Hostname": HOST_NAME,
        "User": "0:0",
        "WorkingDir": "/",
        "Entrypoint": command[:1],
        "Cmd": command[1:],
        "Env": list(AGENT_ENVIRONMENT),
        "Labels": dict(plan.labels),
        "StopSignal": "SIGKILL",
        "NetworkDisabled": True,
        "HostConfig": _confinement(plan, plan.kind.room(plan.spec.limits)),
    }


def _command(plan: Whole) -> list[str]:
    spec = plan.spec
    return [
        f"{AGENT_FOLDER}/agent", "--socket", SOCKET, "--secret-pipe", SECRET,
        "--unclaimed", str(spec.unclaimed_seconds),
        # A user's processes are counted in a kernel: elsewhere, all sandboxes' together.
        *(("--processes", str(spec.limits.processes)) if plan.kind.own_kernel else ()),
        *(("--filter", FILTER) if plan.agent_filters else ()),
    ]  # fmt: skip


def _confinement(plan: Whole, room: SandboxLimits) -> dict[str, Any]:
    masked = list(_MASKED) if plan.kind.masks else []
    return {
        **({"Runtime": plan.runtime} if plan.runtime else {}),
        "CgroupnsMode": "private",
        "IpcMode": "private",
        "UsernsMode": "host",
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "CapAdd": list(CAPABILITIES),
        "SecurityOpt": _security(plan, masked),
        "MaskedPaths": masked,
        "ReadonlyPaths": list(READ_ONLY),
        "Sysctls": {} if plan.kind.own_kernel else dict(NETWORK),
        "Memory": room.memory_bytes,
        "MemorySwap": room.memory_bytes,
        "PidsLimit": room.processes,
        "NanoCpus": round(plan.spec.limits.cpus * 1e9),
        "OomScoreAdj": OOM_SCORE,
        "Ulimits": [{"Name": "core", "Soft": CORE_BYTES, "Hard": CORE_BYTES}],
        "LogConfig": LOG,
        "RestartPolicy": {"Name": "no"},
        "Mounts": _mounts(plan),
    }


def _security(plan: Whole, masked: list[str]) -> list[str]:
    options = ["no-new-privileges"]
    if not plan.agent_filters:
        options.append(f"seccomp={json.dumps(plan.kind.filter(plan.machine))}")
    if plan.masks_by_option and masked:
        options.append(f"mask={':'.join(masked)}")
    return options


def _mounts(plan: Whole) -> list[dict[str, Any]]:
    root, limits, working = plan.spec.root, plan.spec.limits, plan.place.target
    shares = {path: share for path, share in _SHARE.items() if path != working}
    if not plan.has_var_tmp:
        shares.pop("/var/tmp", None)
    mounts = [
        _tmpfs(path, "mode=1777", *_part(limits, share), plan.labels)
        for path, share in shares.items()
    ]
    own = _part(limits, _ALL_SHARES - sum(shares.values()))
    learners = f"mode=755,uid={root.user},gid={root.group}"
    return [
        *mounts,
        _tmpfs(CONTROL, "mode=700", _CONTROL_BYTES, _CONTROL_INODES, plan.labels),
        _tmpfs(working, learners, *own, plan.labels, empty=plan.place.empty),
    ]


def _part(limits: SandboxLimits, share: int) -> tuple[int, int]:
    return limits.disk_bytes * share // _ALL_SHARES, limits.inodes * share // _ALL_SHARES


def _tmpfs(
    target: str,
    options: str,
    size: int,
    inodes: int,
    labels: Mapping[str, str],
    *,
    empty: bool = True,
) -> dict[str, Any]:
    """A volume that is gone with its container. An engine's plain tmpfs knows no limit of inodes.

    Unless `empty`, the engine copies into it what the image has there.
    """
    pages = max(1, size // _PAGE) * _PAGE
    how = f"{options},size={pages},nr_inodes={max(2, inodes)},nosuid,nodev"
    driver = {"Name": "local", "Options": {"type": "tmpfs", "device": "tmpfs", "o": how}}
    return {
        "Type": "volume", "Target": target,
        "VolumeOptions": {"NoCopy": empty, "Labels": dict(labels), "DriverConfig": driver},
    }  # fmt: skip
