"""Control groups: they hold the limits, and the means to kill all that a program has started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from assay.doctor.checks.boot import with_boot_parameter
from assay.doctor.facts import ControlGroups, Machine
from assay.doctor.findings import Finding, failure, listed, note, ok, unknown, warning

_NEEDED: Final = ("memory", "pids", "cpu")
_NEEDED_OF_VERSION_1: Final = (*_NEEDED, "cpuacct", "freezer")
_LEAVE_THE_TOP: Final = (
    "mkdir -p {top}/init && xargs -rn1 < {top}/cgroup.procs > {top}/init/cgroup.procs"
)
_WITHOUT: Final = "memory is limited for each process alone, the CPU share not at all"


def layout(machine: Machine) -> Iterator[Finding]:
    """Which versions are mounted."""
    groups = machine.groups
    match groups.layout:
        case None:
            yield unknown("cgroup-version", "/proc/self/mountinfo")
        case "none":
            yield failure(
                "cgroup-version",
                "no control groups are mounted",
                "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            )
        case "v2":
            yield ok("cgroup-version", f"version 2, at {groups.version_2}")
        case "v1":
            yield note(
                "cgroup-version",
                "version 1, which kernels and systemd are giving up",
                with_boot_parameter("systemd.unified_cgroup_hierarchy=1"),
            )
        case _:
            yield note(
                "cgroup-version",
                "hybrid: crun refuses it by itself; Assay shows crun a view without version 2",
            )


def controllers(machine: Machine) -> Iterator[Finding]:
    """Whether every limit has its controller."""
    groups = machine.groups
    if groups.layout is None or groups.layout == "none":
        return
    there = groups.version_1 or groups.offered
    if there is None:
        yield unknown("controllers", "which controllers there are")
        return
    needed = _NEEDED_OF_VERSION_1 if groups.version_1 else _NEEDED
    missing = [name for name in needed if name not in there]
    if not missing:
        yield ok("controllers", listed(sorted(there), most=20))
    for name in missing:
        yield failure("controllers", f"{name} is missing", _remedy_for(name, groups))


def _remedy_for(name: str, groups: ControlGroups) -> str:
    if groups.version_1:
        folder = f"/sys/fs/cgroup/{name}"
        return f"mkdir -p {folder} && mount -t cgroup -o {name} cgroup {folder}"
    if groups.top_is_below:
        return "start this container with --privileged --cgroupns=host, or under Delegate=yes"
    if name == "memory":  # switched off unless asked for, on Raspberry Pi and others
        return with_boot_parameter("cgroup_enable=memory")
    return f"sed -i 's/cgroup_disable={name}//' /etc/default/grub && update-grub && reboot"


def writable(machine: Machine) -> Iterator[Finding]:
    """Whether groups can be made."""
    groups = machine.groups
    if groups.read_only:
        yield failure(
            "delegation",
            "control groups are mounted read-only, as in an ordinary container",
            "mount -o remount,rw /sys/fs/cgroup",
        )
    elif groups.layout in ("v1", "hybrid"):
        yield from () if machine.is_root else _given(machine)
    elif groups.layout != "v2":
        return
    elif machine.is_root and groups.top_is_below and groups.top_has_processes:
        top = groups.version_2 or "/sys/fs/cgroup"
        yield failure(
            "delegation",
            "the container's own group holds processes, so its controllers can't be handed on",
            _LEAVE_THE_TOP.format(top=top),
        )
    elif machine.is_root:
        yield ok("delegation", "root may make groups")
    else:
        yield from _delegated(groups.delegated)


def _given(machine: Machine) -> Iterator[Finding]:
    """Of version 1, where systemd delegates nothing."""
    needed = (*_NEEDED, "cpuacct")
    missing = [name for name in needed if name not in (machine.groups.given or ())]
    folder = f"/sys/fs/cgroup/$each/assay-{machine.rights.uid}"
    if missing:
        yield warning(
            "delegation",
            f"you are not given {listed(missing)}: {_WITHOUT}",
            f"for each in {' '.join(missing)}; do mkdir -p {folder}; "
            f"chown -R {machine.rights.uid} {folder}; done",
        )
    else:
        yield ok("delegation", f"you are given {listed(needed)}")


def _delegated(delegated: frozenset[str] | None) -> Iterator[Finding]:
    missing = [name for name in _NEEDED if name not in (delegated or ())]
    if delegated is None:
        yield unknown("delegation", "what you may do with control groups")
    elif not delegated:
        yield warning(
            "delegation",
            f"you are not given any here: {_WITHOUT}",
            "systemd-run --user --scope --property=Delegate=yes assay …",
        )
    elif missing:
        yield warning(
            "delegation",
            f"you are not given {listed(missing)}: {_WITHOUT}",
            "mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu "
            "cpuset io memory pids\\n' > /etc/systemd/system/user@.service.d/delegate.conf && "
            "systemctl daemon-reload",
        )
    else:
        yield ok("delegation", f"you are given {listed(sorted(delegated), most=20)}")


CHECKS: Final = (layout, controllers, writable)
