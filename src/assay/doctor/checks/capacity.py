"""Limits of the kernel and of the disk, against the number of sandboxes that is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from assay.doctor.facts import Machine
from assay.doctor.findings import Finding, failure, listed, ok, unknown, warning
from assay.domain.limits import MIB, SandboxLimits

_OWN_PROCESSES: Final = 4
"""Of a sandbox: the agent, what it is doing, and the runtime while it is made."""
_OWN_FILES: Final = 8
"""Descriptors that the server needs for a sandbox: connection, process, locks, threads."""
_RESERVE: Final = 4096
"""Processes and descriptors of the machine's own."""
_MOUNTS: Final = 200
"""In one sandbox's mount namespace, and some."""
_INODES_EACH: Final = 16
_BYTES_EACH: Final = MIB // 8
_LEAST_BYTES: Final = 64 * MIB
_IN_MEMORY: Final = ("tmpfs", "ramfs")


def processes(machine: Machine) -> Iterator[Finding]:
    """Whether fork bombs in all sandboxes at once leave the host some processes."""
    each = SandboxLimits().processes + _OWN_PROCESSES
    needed = machine.sandboxes * each + _RESERVE
    limits = machine.limits
    yield from _compared(
        "pid-max",
        limits.pid_max,
        needed,
        f"processes: {machine.sandboxes} sandboxes of {each} each",
        f"sysctl -w kernel.pid_max={max(4194304, needed)}",
    )
    yield from _compared(
        "threads-max",
        limits.threads_max,
        needed,
        "threads on the machine",
        f"sysctl -w kernel.threads-max={needed * 2}",
    )
    own = machine.groups.own_process_limit
    if own is not None and own < machine.sandboxes:
        yield warning(
            "tasks-max",
            f"this process's group may hold {own} processes and threads",
            _drop_in("TasksMax=infinity"),
        )


def open_files(machine: Machine) -> Iterator[Finding]:
    """Whether the server can hold a connection to each sandbox."""
    needed = machine.sandboxes * _OWN_FILES + 256
    yield from _compared(
        "open-files",
        machine.limits.open_files,
        needed,
        "descriptors of this process",
        _drop_in(f"LimitNOFILE={max(65536, needed)}"),
    )
    yield from _compared(
        "file-max",
        machine.limits.file_max,
        needed * 10,
        "descriptors on the machine",
        f"sysctl -w fs.file-max={max(2_000_000, needed * 10)}",
    )


def namespaces(machine: Machine) -> Iterator[Finding]:
    """Whether each sandbox can have its namespaces."""
    most, needed = machine.limits.namespaces, 2 * machine.sandboxes
    if not most:
        yield unknown("namespaces", "how many namespaces there may be")
        return
    short = {kind: number for kind, number in most.items() if 0 <= number < needed}
    if not short:
        yield ok("namespaces", f"{min(most.values())} of each kind")
        return
    settings = " ".join(f"user.max_{kind}_namespaces={max(65536, needed)}" for kind in short)
    shown = listed(f"{number} {kind}" for kind, number in short.items())
    yield warning(
        "namespaces",
        f"{shown}: {machine.sandboxes} sandboxes need {needed}",
        f"sysctl -w {settings}",
    )


def mounts(machine: Machine) -> Iterator[Finding]:
    """Whether a sandbox's mounts fit into its mount namespace."""
    yield from _compared(
        "mount-max",
        machine.limits.mount_max,
        _MOUNTS,
        "mounts in a namespace",
        "sysctl -w fs.mount-max=100000",
    )


def keys(machine: Machine) -> Iterator[Finding]:
    """Runtimes make a session keyring for each sandbox."""
    name, most = (
        ("root_maxkeys", machine.limits.keys_of_root)
        if machine.is_root
        else ("maxkeys", machine.limits.keys_of_users)
    )
    needed = 2 * machine.sandboxes
    yield from _compared(
        "keys",
        most,
        needed,
        "keys of the user that runs Assay",
        f"sysctl -w kernel.keys.{name}={max(20000, needed)} "
        f"kernel.keys.{name.replace('keys', 'bytes')}={max(2_000_000, needed * 100)}",
    )


def inotify(machine: Machine) -> Iterator[Finding]:
    """Instances in user namespaces count for the user who made these: all sandboxes share them."""
    yield from _compared(
        "inotify",
        machine.limits.inotify_instances,
        machine.sandboxes + 128,
        "inotify instances, which all sandboxes share with the host's services",
        f"sysctl -w fs.inotify.max_user_instances={max(8192, machine.sandboxes * 4)}",
    )


def disk(machine: Machine) -> Iterator[Finding]:
    """Whether the state folder can be used."""
    storage = machine.storage
    where = f"{storage.folder} ({storage.kind})" if storage.kind else storage.folder
    if storage.free_bytes is None or storage.free_inodes is None:
        yield unknown("disk", where)
        return
    if storage.read_only:
        yield failure("disk", f"{where} is read-only", f"mount -o remount,rw {storage.folder}")
    elif storage.writable is False:
        yield warning("disk", f"you may not write to {where}", "sudo assay doctor")
    else:
        yield from _free_space(machine, where, storage.free_bytes, storage.free_inodes)
        if storage.kind and storage.kind not in _IN_MEMORY:
            yield warning(
                "state",
                f"{where} is on a disk, whose books every sandbox changes: a tenth slower to make",
                f"mount -t tmpfs -o mode=0755,nosuid,nodev assay {storage.folder}"
                " # before the server starts",
            )


def _free_space(machine: Machine, where: str, size: int, inodes: int) -> Iterator[Finding]:
    shown = f"{size // MIB} MiB" + ("" if inodes < 0 else f" and {inodes} inodes")
    full = size < _LEAST_BYTES or 0 <= inodes < 1000
    tight = (
        size < _LEAST_BYTES + machine.sandboxes * _BYTES_EACH
        or 0 <= inodes < 1000 + machine.sandboxes * _INODES_EACH
    )
    if full:
        yield failure("disk", f"{shown} free at {where}: no room for sandboxes", "apt-get clean")
    elif tight:
        yield warning(
            "disk",
            f"{shown} free at {where}: tight for {machine.sandboxes} sandboxes",
            "apt-get clean",
        )
    else:
        yield ok("disk", f"{shown} free at {where}")


def _compared(
    check: str, most: int | None, needed: int, what: str, remedy: str
) -> Iterator[Finding]:
    if most is None:
        yield unknown(check, f"the limit of {what}")
    elif most < 0:
        yield ok(check, f"no limit ({what})")
    elif most < needed:
        yield warning(check, f"{most}, {needed} are needed ({what})", remedy)
    else:
        yield ok(check, f"{most} ({what})")


def _drop_in(setting: str) -> str:
    folder = "/etc/systemd/system/assay.service.d"
    return (
        f"mkdir -p {folder} && printf '[Service]\\n{setting}\\n' > "
        f"{folder}/{setting.partition('=')[0].lower()}.conf && systemctl daemon-reload"
    )


CHECKS: Final = (processes, open_files, namespaces, mounts, keys, inotify, disk)
