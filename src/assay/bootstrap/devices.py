"""Devices of this machine: what programs are told of them, and which of the allowed are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from assay.config import Settings
from assay.domain.devices import AllowedDevices, Device
from assay.domain.errors import DeviceUnavailable, InvalidInput
from assay.driver.port import RootFilesystem

if TYPE_CHECKING:
    from assay.doctor.facts import DeviceFacts


def with_variables(root: RootFilesystem, devices: Sequence[Device]) -> RootFilesystem:
    """A root file system whose programs have the variables that belong to these devices."""
    if all(device.is_path for device in devices):
        return root
    from assay.drivers.linux import cdi

    told = cdi.variables(devices)
    return replace(root, environment={**root.environment, **told}) if told else root


def look_at_devices(settings: Settings) -> tuple[DeviceFacts, ...]:
    """Each device that the operator allows: whether sandboxes can have it now."""
    from assay.doctor.facts import DeviceFacts
    from assay.drivers.linux import devices

    found = []
    for pattern in settings.devices.patterns:
        matching = [each for each in _candidates(pattern) if _allows(pattern, each)]
        found += [
            DeviceFacts(
                name=each.name, problem=devices.problem_with(each), left_out=_left_out(each)
            )
            for each in matching
        ]
        if not matching:
            found.append(DeviceFacts(name=pattern, problem=_why_none(pattern)))
    return tuple(found)


def _candidates(pattern: str) -> list[Device]:
    """What there is in the place that a pattern names."""
    from assay.drivers.linux import cdi

    if not pattern.startswith("/"):
        try:
            return cdi.known()
        except DeviceUnavailable:  # said of the device itself
            return [] if "*" in pattern else [Device(name=pattern)]
    try:
        names = [str(each) for each in sorted(Path(pattern).parent.iterdir())]
    except OSError:
        return []
    return [device for name in names if (device := _named(name)) is not None]


def _why_none(pattern: str) -> str:
    from assay.drivers.linux import devices

    device = _named(pattern)
    return "nothing here is called so" if device is None else devices.problem_with(device)


def _named(name: str) -> Device | None:
    try:
        return Device(name=name)
    except InvalidInput:
        return None


def _allows(pattern: str, device: Device) -> bool:
    return AllowedDevices(patterns=(pattern,)).allow(device)


def _left_out(device: Device) -> tuple[str, ...]:
    from assay.drivers.linux import cdi

    if device.is_path:
        return ()
    try:
        return cdi.find(device).left_out
    except DeviceUnavailable:
        return ()
