"""What stands behind the names of devices on this machine, and which are never shown to learners.

That an operator allows a name is checked before, by whoever asks a driver. Here is what no name may
stand for: what is the machine itself (its disks, memory, screens and keyboards, its log), and what
only serves to become more than a learner is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.devices import Device
from assay.domain.errors import DeviceUnavailable, InvalidInput
from assay.driver.port import Mount
from assay.drivers.linux import cdi

MOST_NODES: Final = 32
"""Of one sandbox: its /dev has room for few files."""
_FOLDER: Final = "/dev/"
_ANYBODY: Final = 0o006
_MEMORY, _MISCELLANEOUS, _TERMINALS, _TERMINAL_ALIASES = 1, 10, 4, 5
_HARMLESS: Final = frozenset((3, 5, 7, 8, 9))
"""Of the memory's: null, zero, full, random, urandom."""
_FIRST_SERIAL: Final = 64
"""Of the terminals: those before are the machine's screen and keyboard."""
_SLAVES: Final = range(136, 144)
"""Majors of pseudo-terminals: such a node works in its own file system only."""
_REFUSED_MAJORS: Final = {
    7: "shows the machine's screen", 21: "reaches disks", 90: "is flash memory",
    162: "reaches disks", 202: "sets the processor's registers",
}  # fmt: skip
_REFUSED_SUBSYSTEMS: Final = {
    "block": "is a disk", "bsg": "reaches disks", "dax": "is memory", "mem": "is memory",
    "msr": "sets the processor's registers", "mtd": "is flash memory", "nd": "is memory",
    "nvme": "reaches disks", "nvme-generic": "reaches disks", "scsi_generic": "reaches disks",
    "ubi": "is flash memory", "vc": "shows the machine's screen", "vtconsole": "is a screen",
}  # fmt: skip
_REFUSED_NAMES: Final = {
    "autofs": "mounts", "btrfs-control": "reaches disks", "device-mapper": "makes disks",
    "fuse": "makes file systems, which nobody in a sandbox may mount",
    "loop-control": "makes disks", "nvram": "is the firmware's memory",
    "snapshot": "holds the machine's memory", "tun": "makes network interfaces",
    "uinput": "types on the machine's keyboard", "userfaultfd": "serves attacks on the kernel",
    "vhost-net": "makes network interfaces", "zram-control": "makes disks",
}  # fmt: skip
"""Of major 10, by their names in /sys."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A character device, and where in a sandbox it is shown."""

    target: str
    """Below /dev."""
    path: str
    """On the host, without links, relative to /dev."""
    major: int
    minor: int
    bound: bool
    """Whether the host's own file is shown, with its permissions; else one like it is made, which
    every program of the sandbox may use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostDevices:
    """All that a sandbox is shown of the host for the sake of its devices."""

    nodes: tuple[Node, ...] = ()
    mounts: tuple[Mount, ...] = ()


def look_up(devices: Sequence[Device], *, rootless: bool) -> HostDevices:
    """What these names stand for, now. Raises DeviceUnavailable with the remedy."""
    if not devices:
        return HostDevices()
    parts = [cdi.find(each) for each in devices if not each.is_path]
    wanted = [(each.name, each.name) for each in devices if each.is_path]
    wanted += [(_below_dev(node), node.host_path) for part in parts for node in part.nodes]
    nodes = {target: _node(target, path, rootless=rootless) for target, path in wanted}
    if len(nodes) > MOST_NODES:
        raise DeviceUnavailable(f"a sandbox has room for {MOST_NODES} devices, not {len(nodes)}")
    mounts = dict.fromkeys(mount for part in parts for mount in part.mounts)
    return HostDevices(nodes=tuple(nodes.values()), mounts=tuple(mounts))


def problem_with(device: Device) -> str:
    """Why it could not be shown now; "" when it can."""
    try:
        look_up([device], rootless=os.geteuid() != 0)
    except DeviceUnavailable as error:
        return error.message
    return ""


def _below_dev(node: cdi.Node) -> str:
    try:
        return Device(name=node.path).name
    except InvalidInput as error:
        raise DeviceUnavailable(f"a specification in {cdi.PLACES}: {error.message}") from error


def _node(target: str, name: str, *, rootless: bool) -> Node:
    try:
        path = os.path.realpath(name, strict=True)
        found = Path(path).stat()
    except OSError as error:
        raise DeviceUnavailable(
            f"there is no {name} on this machine ({error.strerror}); is it plugged in?"
        ) from error
    if not path.startswith(_FOLDER):
        raise DeviceUnavailable(f"{name} leads to {path}, which is not below /dev")
    _require_harmless(name, found)
    major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    bound = rootless or major in _SLAVES
    if bound and found.st_mode & _ANYBODY != _ANYBODY:
        raise DeviceUnavailable(
            f"learners could not open {name}: only {_owner(found)} may; let others, too:"
            f" chmod o+rw {path} (and a rule of udev, which makes that last)"
        )
    return Node(
        target=target, path=path.removeprefix(_FOLDER), major=major, minor=minor, bound=bound
    )


def _owner(found: os.stat_result) -> str:
    return f"user {found.st_uid} and group {found.st_gid}"


def _require_harmless(name: str, found: os.stat_result) -> None:
    if stat.S_ISBLK(found.st_mode):
        raise _never(name, "is a disk")
    if not stat.S_ISCHR(found.st_mode):
        raise DeviceUnavailable(f"{name} is no device")
    why = _why_never(os.major(found.st_rdev), os.minor(found.st_rdev))
    if why:
        raise _never(name, why)


def _never(name: str, why: str) -> DeviceUnavailable:
    return DeviceUnavailable(
        f"{name} {why}: no environment can have it, whatever its operator allows"
    )


def _why_never(major: int, minor: int) -> str:
    """ "" for what may be shown."""
    if major == _MEMORY:
        return "" if minor in _HARMLESS else "is the machine's memory, ports or log"
    if major == _TERMINAL_ALIASES or (major == _TERMINALS and minor < _FIRST_SERIAL):
        return "is the machine's screen and keyboard, or whoever's terminal"
    if major in _REFUSED_MAJORS:
        return _REFUSED_MAJORS[major]
    place = Path(f"/sys/dev/char/{major}:{minor}")
    subsystem, own = (place / "subsystem").resolve().name, place.resolve().name
    if own in _consoles():
        return "is the machine's console"
    if major == _MISCELLANEOUS and own in _REFUSED_NAMES:
        return _REFUSED_NAMES[own]
    return _REFUSED_SUBSYSTEMS.get(subsystem, "")


def _consoles() -> list[str]:
    """Terminals that the kernel, and whoever logs in there, use."""
    try:
        return Path("/sys/class/tty/console/active").read_text().split()
    except OSError:
        return []


def folders(targets: Iterable[str]) -> list[str]:
    """Those below /dev that lead to these files, outer ones first."""
    found = (str(each) for target in targets for each in reversed(Path(target).parents[:-2]))
    return list(dict.fromkeys(found))
