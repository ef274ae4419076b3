"""What is done in a machine, as steps: see agent/guest.c, and agent/plan.c for what steps are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from assay.domain.limits import SandboxLimits
from assay.driver.port import SandboxSpec
from assay.drivers.linux.cgroups import AGENTS_OWN, PERIOD_US
from assay.drivers.linux.confinement import MASKED, SECRET, agent_command
from assay.drivers.linux.kernel import MountFlag
from assay.drivers.linux.preparation import KEPT, NOWHERE, PROC, in_place, prepared
from assay.drivers.linux.stage import EMPTY, GROUPS, Staged, Step, folder, staged, text

DISK: Final = "/devices/vda"
FOLDERS: Final = ("devices", "proc", "sys", "dev", "image", "groups", "modules", "sandbox-agent")
"""Of the initial RAM disk."""
_IMAGE: Final = "/image"
_AGENT: Final = "/sandbox-agent"
_GROUPS: Final = "/groups"
_LEARNERS: Final = f"{_GROUPS}/learners"
_MACHINE_ID: Final = "etc/machine-id"
_CLOSED: Final = text(MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC)
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
    masks = [("mask", f"{PROC}/{name}", EMPTY, NOWHERE) for name in MASKED]
    yield from prepared(rootless=False, root="0", settings=(), masks=masks)
    yield "groups", _LEARNERS, GROUPS
    yield from (step for step in shown.steps if step[0] != "secret")
    yield from in_place(shown)
    if (spec.root.path / _MACHINE_ID).is_file():
        yield "bind", "/machine-id", f"/{_MACHINE_ID}"
    yield ("cover_all",)
    yield "capabilities", KEPT
    yield ("filter",)
    yield ("wait",)


def completion(spec: SandboxSpec) -> Iterator[Step]:
    """Who it is; ends with its agent."""
    yield "secret", SECRET, "0", spec.secret.reveal().hex()
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
