"""What is done in a machine, as steps: see agent/guest.c, and agent/plan.c for what steps are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from assay.domain.limits import SandboxLimits
from assay.driver.port import SandboxSpec
from assay.drivers.linux.cgroups import AGENTS_OWN, PERIOD_US
from assay.drivers.linux.confinement import (
    CAPABILITIES,
    CORE_BYTES,
    HOST_NAME,
    MASKED,
    MOUNTS,
    READ_ONLY,
    SECRET,
    agent_command,
)
from assay.drivers.linux.kernel import MountFlag
from assay.drivers.linux.stage import (
    EMPTY,
    NOTHING,
    OWN_DEVICES,
    STAGE,
    Staged,
    Step,
    devices,
    folder,
    own_devices,
    staged,
    text,
)

DISK: Final = "/devices/vda"
FOLDERS: Final = ("devices", "proc", "sys", "dev", "image", "groups", "modules", "sandbox-agent")
"""Of the initial RAM disk."""
_IMAGE: Final = "/image"
_AGENT: Final = "/sandbox-agent"
_GROUPS: Final = "/groups"
_LEARNERS: Final = f"{_GROUPS}/learners"
_PROC: Final = f"{STAGE}/its-proc"
_NOWHERE: Final = f"{STAGE}/nothing"
_MACHINE_ID: Final = "etc/machine-id"
_SEALED: Final = text(MountFlag.RDONLY | MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC)
_CLOSED: Final = text(MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC)
_KEPT: Final = str(sum(1 << number for number in CAPABILITIES.values()))
_ENABLED: Final = "+memory +pids +cpu"


def boot(modules: Sequence[str], ports: int, limits: SandboxLimits) -> Iterator[Step]:
    """What the machine's process 1 does first: devices, the image's disk, groups with limits."""
    yield "ports", str(ports)
    yield "mount", "/devices", "devtmpfs", _NOSUID, ""
    yield "mount", "/proc", "proc", _CLOSED, ""
    for module in modules:
        yield "module", f"/modules/{module}"
    yield "disk", DISK, _IMAGE, "erofs", text(MountFlag.RDONLY | MountFlag.NOSUID | MountFlag.NODEV)
    yield "mount", _GROUPS, "cgroup2", _CLOSED, ""
    yield "put", f"{_GROUPS}/cgroup.subtree_control", _ENABLED
    yield folder(_LEARNERS, 0o700)
    yield "put", f"{_LEARNERS}/memory.max", str(limits.memory_bytes)
    yield "put", f"{_LEARNERS}/pids.max", str(limits.processes + AGENTS_OWN)
    yield "put", f"{_LEARNERS}/cpu.max", f"{max(1000, round(limits.cpus * PERIOD_US))} {PERIOD_US}"
    # The agent counts memory for each execution; processes and time are counted together.
    yield "put", f"{_LEARNERS}/cgroup.subtree_control", "+memory"
    yield from (("put", f"/proc/sys/{name}", value) for name, value in _SETTINGS.items())


_NOSUID: Final = text(MountFlag.NOSUID)
_SETTINGS: Final[Mapping[str, str]] = {
    "kernel/printk": "1 1 1 1",
    "kernel/kptr_restrict": "2",
    "kernel/dmesg_restrict": "1",
}
"""Of the machine's kernel: it says nothing more on the console, which is a file of the host's."""


def preparation(spec: SandboxSpec, agent: Path) -> Iterator[Step]:
    """What the sandbox's process 1 does until it waits: all but who it is."""
    shown = _shown(spec, agent)
    yield ("apart",)
    yield from devices(rootless=False)
    yield from own_devices(rootless=False)
    yield from _own_processes()
    yield "name", HOST_NAME
    yield ("loopback",)
    yield "core", str(CORE_BYTES)
    yield ("session",)
    yield "input", f"{OWN_DEVICES}/null"
    yield "groups", _LEARNERS
    yield from (step for step in shown.steps if step[0] != "secret")
    yield "root", shown.root
    yield "move", _PROC, "/proc"
    yield "move", OWN_DEVICES, "/dev"
    for bind in shown.binds:
        yield "bind", bind.source, bind.target
    if (spec.root.path / _MACHINE_ID).is_file():
        yield "bind", "/machine-id", f"/{_MACHINE_ID}"
    yield ("cover_all",)
    yield ("wait",)


def completion(spec: SandboxSpec) -> Iterator[Step]:
    """Who it is; ends with its agent."""
    yield "secret", SECRET, "0", spec.secret.reveal().hex()
    yield "capabilities", _KEPT
    yield ("filter",)
    yield "run", *agent_command(spec.unclaimed_seconds, "--cgroups", "1")


def _shown(spec: SandboxSpec, agent: Path) -> Staged:
    """As on the host, with the places of the machine: its disk holds the image with its mounts,
    and there is nobody else whose users those of the image could be mistaken for."""
    root = replace(spec.root, mounts=(), owners=False)
    # There is no file of the agent's socket, for which there is room otherwise.
    limits = replace(spec.limits, inodes=max(1, spec.limits.inodes - 1))
    shown = staged(replace(spec, root=root, limits=limits), agent, 0)
    places = {str(root.path): _IMAGE, str(agent): _AGENT}
    steps = [tuple(places.get(word, word) for word in step) for step in shown.steps]
    return replace(shown, steps=steps)


def _own_processes() -> Iterator[Step]:
    """The sandbox's /proc. What tells of the machine is of no use to anybody, and out of sight."""
    proc = next(mount for mount in MOUNTS if mount.target == "/proc")
    yield folder(_PROC)
    yield "mount", _PROC, proc.kind, text(proc.flags), ",".join(proc.options)
    yield "file", _NOWHERE
    yield "show", NOTHING, _NOWHERE
    yield "flags", _NOWHERE, _SEALED
    yield "cover", EMPTY, _SEALED
    for name in MASKED:
        yield "mask", f"{_PROC}/{name}", EMPTY, _NOWHERE
    for path in READ_ONLY:
        yield "cover", f"{_PROC}{path.removeprefix('/proc')}", _SEALED
