"""Devices of the host that an environment may have: their names, and which an operator allows.

A name is a path below /dev ("/dev/ttyUSB0"), or a name of the Container Device Interface, which
stands for all that belongs to a device ("nvidia.com/gpu=all": nodes, libraries, variables).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from assay.domain.errors import DeviceUnavailable, InvalidInput

MOST_DEVICES: Final = 16
"""Of one environment."""
_LONGEST: Final = 200
_SEGMENT: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_.:+@-]+"
_PATH: Final = re.compile(rf"/dev(?:/{_SEGMENT})+")
_INTERFACE: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]/[A-Za-z][A-Za-z0-9_-]*=[A-Za-z0-9](?:[A-Za-z0-9_.:-]*)"
)
_OWN: Final = frozenset(
    f"/dev/{name}"
    for name in (
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "ptmx",
        "console",
        "stdin",
        "stdout",
        "stderr",
    )
)
"""Every sandbox has these, of its own."""
_OWN_FOLDERS: Final = ("/dev/shm/", "/dev/mqueue/", "/dev/fd/", "/dev/pts/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """What an environment asks for, by name. Raises InvalidInput for what can be no name."""

    name: str

    def __post_init__(self) -> None:
        problem = _problem(self.name)
        if problem:
            raise InvalidInput(f"{self.name[:80]!r} {problem}")

    @property
    def is_path(self) -> bool:
        """A path below /dev, and not a name of the Container Device Interface."""
        return self.name.startswith("/")

    @property
    def kind(self) -> str:
        """The vendor and class of a name such as nvidia.com/gpu=all; "" for a path."""
        return "" if self.is_path else self.name.partition("=")[0]

    @property
    def member(self) -> str:
        """Which of that kind, such as all; "" for a path."""
        return "" if self.is_path else self.name.partition("=")[2]


def devices_of(names: Iterable[str]) -> tuple[Device, ...]:
    """The devices with these names. Raises InvalidInput."""
    found = tuple(Device(name=name) for name in names)
    require_few(found)
    return found


def require_few(devices: Sequence[Device]) -> None:
    """Raise InvalidInput when there are too many, or one of them twice."""
    if len(devices) > MOST_DEVICES or len(set(devices)) < len(devices):
        raise InvalidInput(f"devices are at most {MOST_DEVICES}, each once")


@dataclass(frozen=True, kw_only=True, slots=True)
class AllowedDevices:
    """What the operator of a machine lets environments have; nothing, unless they say so.

    A pattern is a device's name, in which a `*` in what follows the last "/" or the "=" stands for
    any letters and digits. Raises InvalidInput for others, and for what would allow all of /dev.
    """

    patterns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            fixed, last = _halves(pattern)
            problem = _problem(f"{fixed}{last.replace('*', '0')}")
            if "*" in fixed:
                problem = "has a star before its last part"
            elif fixed == "/dev/" and not last.replace("*", ""):
                problem = "would allow every disk and keyboard; name what you mean"
            if problem:
                raise InvalidInput(f"{pattern[:80]!r} {problem}")

    def allow(self, device: Device) -> bool:
        """Whether an environment may have it."""
        return any(_matches(pattern, device.name) for pattern in self.patterns)

    def require(self, devices: Iterable[Device]) -> None:
        """Raise DeviceUnavailable, with the remedy, for the first that isn't allowed."""
        for device in devices:
            if not self.allow(device):
                raise DeviceUnavailable(
                    f"the device {device.name} is not allowed on this machine; its operator can"
                    f' allow it in /etc/assay/assay.toml: devices = ["{device.name}"]'
                )


def _halves(name: str) -> tuple[str, str]:
    separator = "/" if name.startswith("/") else "="
    before, found, last = name.rpartition(separator)
    return before + found, last


def _matches(pattern: str, name: str) -> bool:
    anything = "[A-Za-z0-9_.:+@-]*"
    return re.fullmatch(anything.join(map(re.escape, pattern.split("*"))), name) is not None


def _problem(name: str) -> str:
    """What is wrong with it; "" for nothing."""
    if len(name) > _LONGEST or not (_PATH.fullmatch(name) or _INTERFACE.fullmatch(name)):
        return (
            "is no device: a path below /dev without links to follow, such as /dev/ttyUSB0, or a"
            " name of the Container Device Interface, such as nvidia.com/gpu=all"
        )
    if name in _OWN:
        return "is there in every sandbox, of its own"
    if f"{name}/".startswith(_OWN_FOLDERS):
        return (
            "is in a folder that sandboxes have of their own; give the device another name:"
            " ln -s pts/3 /dev/ttyV0"
        )
    return ""
