"""What an engine is told about a container that is a sandbox all by itself, as a function of data.

Nobody furnishes it, as nobody of ours is on its machine or sees into its kernel. So it has as many
tmpfs as there are places to write in, each with its part of the limits, and learners are in one
control group with the agent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from assay.domain.limits import SandboxLimits
from assay.driver.port import SandboxSpec
from assay.drivers.engine.container import body
from assay.drivers.engine.kind import Kind
from assay.drivers.linux.confinement import (
    AGENT_FOLDER,
    CAPABILITIES,
    CONTROL,
    MASKED,
    NETWORK,
    READ_ONLY,
    SECRET,
)
from assay.drivers.linux.working_folder import WorkingFolder

FILTER: Final = f"{AGENT_FOLDER}/filter"
"""Of the image: the filter of system calls, where the agent has to load it itself."""
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
_CONTROL_PAGES: Final = 16
_CONTROL_INODES: Final = 8
_NOBODY: Final = 65533
"""Whose the agent's own folder is."""
_PAGE: Final = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A tmpfs for a place that can be written in. An engine's plain ones know no limit of inodes,
    so this is a volume, gone with its container.
    """

    target: str
    mode: int
    user: int = 0
    group: int = 0
    pages: int
    inodes: int
    empty: bool = True
    """Else the engine copies into it what the image has there."""
    name: str = ""
    """Of the volume, where it was made before."""
    terminals: int = 0
    """For so many terminals, in place of files."""
    closed: bool = False
    """Nobody can write there: it is in place of one of the engine's."""

    @property
    def driver(self) -> dict[str, Any]:
        """What the engine's own driver of volumes is told."""
        kind = "devpts" if self.terminals else "tmpfs"
        how = (
            f"newinstance,ptmxmode=0666,mode=0600,max={self.terminals},nosuid,noexec"
            if self.terminals
            # In pages: Podman takes `size` for a quota.
            else f"mode={self.mode:o},uid={self.user},gid={self.group},nr_blocks={self.pages},"
            f"nr_inodes={self.inodes},nosuid,nodev"
        )
        return {"Name": "local", "Options": {"type": kind, "device": kind, "o": how}}


def places(spec: SandboxSpec, working: WorkingFolder, *, has_var_tmp: bool) -> list[Place]:
    """Where a sandbox can write, each with its part of the limits."""
    root, limits = spec.root, spec.limits
    shares = {path: share for path, share in _SHARE.items() if path != working.target}
    if not has_var_tmp:
        shares.pop("/var/tmp", None)
    own = _part(limits, _ALL_SHARES - sum(shares.values()))
    shared = [
        Place(target=path, mode=0o1777, **_part(limits, share)) for path, share in shares.items()
    ]
    return [
        *shared,
        Place(
            target=CONTROL, mode=0o700, user=_NOBODY, group=_NOBODY,
            pages=_CONTROL_PAGES, inodes=_CONTROL_INODES,
        ),
        Place(
            target=working.target, mode=0o755, user=root.user, group=root.group,
            empty=working.empty, **own,
        ),
    ]  # fmt: skip


TERMINALS: Final = Place(target="/dev/pts", mode=0o755, pages=1, inodes=2, terminals=96)
"""In place of an engine's own, which would give one sandbox all that its kernel has."""


RUN: Final = Place(target="/run", mode=0o755, pages=256, inodes=1024, closed=True)
"""Where Podman would put a tmpfs that anybody can fill; with what the image has there."""


class _Room(TypedDict):
    pages: int
    inodes: int


def _part(limits: SandboxLimits, share: int) -> _Room:
    size, inodes = (all_ * share // _ALL_SHARES for all_ in (limits.disk_bytes, limits.inodes))
    return {"pages": max(1, size // _PAGE), "inodes": max(2, inodes)}


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
    places: Sequence[Place]
    masks_by_option: bool
    """Whether the engine wants to hear what to mask as a security option."""
    agent_filters: bool
    """Whether it can't be told the filter of system calls, so that the agent loads it."""
    labels: Mapping[str, str]


def bridge(kind: Kind) -> tuple[str, ...]:
    """The program whose streams become a connection to the agent."""
    return (f"{AGENT_FOLDER}/agent", "bridge", kind.socket)


def give(kind: Kind) -> tuple[str, ...]:
    """The program that brings the agent its secret from its standard input."""
    return (f"{AGENT_FOLDER}/agent", "give", SECRET, kind.socket)


def whole(plan: Whole) -> dict[str, Any]:
    """The body of a request to create it."""
    confinement = _confinement(plan, plan.kind.room(plan.spec.limits))
    return body(plan.image, _command(plan), plan.labels, confinement)


def _command(plan: Whole) -> list[str]:
    spec = plan.spec
    return [
        f"{AGENT_FOLDER}/agent", "--socket", plan.kind.socket, "--secret-pipe", SECRET,
        "--unclaimed", str(spec.unclaimed_seconds),
        # A user's processes are counted in a kernel: elsewhere, all sandboxes' together.
        *(("--processes", str(spec.limits.processes)) if plan.kind.own_kernel else ()),
        *(("--filter", FILTER) if plan.agent_filters else ()),
    ]  # fmt: skip


def _confinement(plan: Whole, room: SandboxLimits) -> dict[str, Any]:
    masked = list(_MASKED) if plan.kind.masks else []
    return {
        **({"Runtime": plan.runtime} if plan.runtime else {}),
        "CapAdd": list(CAPABILITIES),
        "SecurityOpt": _security(plan, masked),
        "MaskedPaths": masked,
        "ReadonlyPaths": list(READ_ONLY),
        "Sysctls": {} if plan.kind.own_kernel else dict(NETWORK),
        "Memory": room.memory_bytes,
        "MemorySwap": room.memory_bytes,
        "PidsLimit": room.processes,
        "NanoCpus": round(plan.spec.limits.cpus * 1e9),
        "Mounts": [_mount(place, plan.labels) for place in plan.places],
    }


def _security(plan: Whole, masked: list[str]) -> list[str]:
    options = ["no-new-privileges"]
    if not plan.agent_filters:
        options.append(f"seccomp={json.dumps(plan.kind.filter(plan.machine))}")
    if plan.masks_by_option and masked:
        options.append(f"mask={':'.join(masked)}")
    return options


def _mount(place: Place, labels: Mapping[str, str]) -> dict[str, Any]:
    mount: dict[str, Any] = {"Type": "volume", "Target": place.target}
    if place.closed:
        mount["ReadOnly"] = True
    if place.name:
        return {**mount, "Source": place.name}
    options = {"NoCopy": place.empty, "Labels": dict(labels), "DriverConfig": place.driver}
    return {**mount, "VolumeOptions": options}
