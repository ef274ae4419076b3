"""What an OCI runtime is told about one sandbox: its config.json, as a function of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from assay.domain.limits import SandboxLimits
from assay.drivers.linux import seccomp
from assay.drivers.linux.confinement import (
    AGENT_ENVIRONMENT,
    AGENT_MEMORY,
    AGENT_PROCESSES,
    CAPABILITIES,
    CORE_BYTES,
    GROUPS,
    HOST_NAME,
    MOUNTS,
    OOM_SCORE,
    READ_ONLY,
    Bind,
    Mount,
    agent_command,
    instead_of_groups,
    machine,
    masked_paths,
    network_settings,
)
from assay.drivers.linux.kernel import MountFlag
from assay.drivers.linux.users import extents


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that differs from one sandbox to the next."""

    root: str
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
    devices: Sequence[tuple[int, int]] = ()
    """Of the host, among the `binds`: their numbers."""
    annotations: Mapping[str, str] = field(default_factory=dict)


def configuration(plan: Plan) -> dict[str, Any]:
    """The content of config.json."""
    return {
        "ociVersion": "1.0.2",
        "hostname": HOST_NAME,
        "root": {"path": plan.root, "readonly": not plan.own_kernel},
        "process": _process(plan),
        "mounts": [*map(_mount, MOUNTS), *map(_bind, plan.binds)],
        "annotations": dict(plan.annotations),
        "linux": {
            "namespaces": [
                {"type": kind}
                for kind in ("user", "mount", "pid", "ipc", "uts", "cgroup", "network")
            ],
            "uidMappings": _mappings(plan.first_user),
            "gidMappings": _mappings(plan.first_user),
            **({"cgroupsPath": plan.group} if plan.group else {}),
            "resources": _resources(plan),
            "sysctl": network_settings(),
            "seccomp": _seccomp(own_kernel=plan.own_kernel, devices=bool(plan.devices)),
            "maskedPaths": list(masked_paths()),
            "readonlyPaths": list(READ_ONLY),
        },
    }


def _resources(plan: Plan) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if plan.group_limits:
        limits = {"memory": {"limit": AGENT_MEMORY}, "pids": {"limit": AGENT_PROCESSES}}
    if plan.devices and plan.group:
        # What isn't said there is what the runtime allows everywhere: null and its like.
        limits["devices"] = [
            {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rw"}
            for major, minor in plan.devices
        ]
    return limits


def _process(plan: Plan) -> dict[str, Any]:
    command = agent_command(
        plan.unclaimed_seconds,
        *("--cgroup", GROUPS),
        *(instead_of_groups(plan.unheld) if plan.unheld else ()),
        *(("--processes", str(plan.processes)) if plan.own_kernel else ()),
    )
    names = [f"CAP_{name}" for name in CAPABILITIES]
    return {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "cwd": "/",
        "args": command,
        "env": list(AGENT_ENVIRONMENT),
        "noNewPrivileges": True,
        "capabilities": dict.fromkeys(("bounding", "permitted", "effective"), names),
        "rlimits": [{"type": "RLIMIT_CORE", "soft": CORE_BYTES, "hard": CORE_BYTES}],
        "oomScoreAdj": OOM_SCORE,
    }


_OPTIONS: Final = {
    MountFlag.NOSUID: "nosuid", MountFlag.NOEXEC: "noexec", MountFlag.NODEV: "nodev",
}  # fmt: skip


def _mount(mount: Mount) -> dict[str, Any]:
    flags = [word for flag, word in _OPTIONS.items() if flag in mount.flags]
    return {
        "destination": mount.target, "type": mount.kind, "source": mount.kind,
        "options": [*flags, *mount.options],
    }  # fmt: skip


def _bind(bind: Bind) -> dict[str, Any]:
    if bind.device:
        options = ["bind", "nosuid", "rw"]
    else:
        options = ["bind", "nosuid", "nodev", "rw" if bind.writable else "ro"]
    if not bind.executable:
        options.append("noexec")
    return {
        "destination": bind.target, "type": "bind", "source": bind.source, "options": options
    }  # fmt: skip


def _mappings(first: int) -> list[dict[str, int]]:
    return [
        {"containerID": inside, "hostID": outside, "size": count}
        for inside, outside, count in extents(first)
    ]


@cache
def _seccomp(*, own_kernel: bool, devices: bool) -> dict[str, Any]:
    if own_kernel:
        return seccomp.profile_of_own_kernel(machine())
    return seccomp.profile(machine(), devices=devices)
