"""A container that is a sandbox all by itself, made by an engine or an orchestrator elsewhere.

Nobody furnishes it, as nobody of ours is on its machine or sees into its kernel. So it has as many
tmpfs as there are places to write in, each with its part of the limits, and learners are in one
control group with the agent. That waits at a pipe for its secret, which a program brings that is
started in the container, and is reached by others that run `agent bridge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypedDict

from assay.domain.limits import MIB, SandboxLimits
from assay.driver.port import Capabilities, Cleanup, SandboxSpec
from assay.drivers.linux.cgroups import AGENTS_OWN
from assay.drivers.linux.confinement import AGENT_FOLDER, CONTROL, SECRET, SOCKET
from assay.drivers.linux.confinement import MASKED as IN_PROC
from assay.drivers.linux.working_folder import WorkingFolder, find

FILTER: Final = f"{AGENT_FOLDER}/filter"
"""Of the image: the filter of system calls, where the agent has to load it itself."""
JOINED: Final = b"joined\n"
_AGENTS_BYTES: Final = 16 * MIB
"""What the agent and a few bridges to it need themselves, in the group that they share with the
learners' programs."""
_AGENTS_PROCESSES: Final = AGENTS_OWN + 16
_SHARE: Final = {"/tmp": 1, "/dev/shm": 1, "/var/tmp": 1}
"""Sixteenths of the limits of a disk, for each of its places; the working folder has the rest."""
_ALL_SHARES: Final = 16
_CONTROL_PAGES: Final = 16
_CONTROL_INODES: Final = 8
_NOBODY: Final = 65533
"""Whose the agent's own folder is."""
_PAGE: Final = 4096

_SYSTEM: Final = (
    "block", "bus", "class", "dev", "devices", "firmware", "hypervisor", "kernel", "module",
    "power", "fs/bpf", "fs/btrfs", "fs/ecryptfs", "fs/ext4", "fs/f2fs", "fs/fuse", "fs/pstore",
    "fs/resctrl", "fs/selinux", "fs/smackfs", "fs/xfs", "fs/zfs",
)  # fmt: skip
"""Of /sys, all but control groups, where the agent reads who was killed for want of memory."""
MASKED: Final = (
    *(f"/proc/{name}" for name in IN_PROC), *(f"/sys/{name}" for name in _SYSTEM), "/dev/mqueue",
)  # fmt: skip
"""What is hidden in a container, where whoever makes it can be told."""


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
    shares_of_folders = dict.fromkeys(root.folders, 1)
    taken = sum(shares.values()) + sum(shares_of_folders.values())
    own = _part(limits, max(1, _ALL_SHARES - taken))
    shared = [
        Place(target=path, mode=0o1777, **_part(limits, share)) for path, share in shares.items()
    ]
    shared += [
        Place(target=path, mode=0o755, user=root.user, group=root.group, **_part(limits, share))
        for path, share in shares_of_folders.items()
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


ABLE: Final = Capabilities(
    cleanup=Cleanup.KILL_ALL,
    whole_cpu_time=False,
    own_users=False,
    kernel_memory_bytes=_AGENTS_BYTES,
    oom_spares_sandbox=False,
    bombs_spare_sandbox=False,
    private_processes=False,
    direct_stream=False,
    socket_memory=False,
    inert_mounts=False,
    prompt_ends=False,
    images_in_place=False,
)
"""What such a container can do whose programs run on its machine's kernel."""


def room(limits: SandboxLimits) -> SandboxLimits:
    """The limits of a whole container, in which its programs come to their own."""
    return replace(
        limits,
        memory_bytes=limits.memory_bytes + _AGENTS_BYTES,
        processes=limits.processes + _AGENTS_PROCESSES,
    )


def agent_of_container(
    spec: SandboxSpec,
    *,
    socket: str = SOCKET,
    processes: int | None = None,
    filters: bool = False,
    closed: Sequence[str] = (),
    owners: Sequence[tuple[str, int, int]] = (),
) -> list[str]:
    """How process 1 is started. `closed` are folders that learners are to be kept out of, `owners`
    those that the agent gives to a user and a group, which whoever mounts them could not.
    """
    return [
        f"{AGENT_FOLDER}/agent", "--socket", socket, "--secret-pipe", SECRET,
        "--unclaimed", str(spec.unclaimed_seconds),
        *(("--processes", str(processes)) if processes is not None else ()),
        *(("--filter", FILTER) if filters else ()),
        *(word for folder in closed for word in ("--closed", folder)),
        *(word for path, user, group in owners for word in ("--owner", f"{user}:{group}:{path}")),
    ]  # fmt: skip


def bridge(socket: str = SOCKET, *, pipe: str | None = None) -> tuple[str, ...]:
    """The program whose streams become a connection to the agent.

    With `pipe`, after it said JOINED: SECRET, then it brings the agent that first from its standard
    input; or "".
    """
    return (f"{AGENT_FOLDER}/agent", "bridge", socket, *(() if pipe is None else (pipe,)))


def writable(spec: SandboxSpec) -> list[Place]:
    """The places of a sandbox of this image. Raises OSError."""
    root = spec.root.path
    folder = root / "var/tmp"
    has_var_tmp = folder.is_dir() and not folder.is_symlink()
    return places(spec, find(root.resolve(), spec.root.working_folder), has_var_tmp=has_var_tmp)
