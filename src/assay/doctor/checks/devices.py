"""Devices of the machine that its operator allows environments to have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from assay.doctor.facts import DeviceFacts, Machine
from assay.doctor.findings import Finding, ok, warning


def allowed(machine: Machine) -> Iterator[Finding]:
    """Each of them, whether it is there and can be shown."""
    if not machine.devices:
        yield ok("devices", "environments may have none of this machine's")
    for device in machine.devices:
        yield _one(device)


def _one(device: DeviceFacts) -> Finding:
    if device.problem:
        said = device.problem
        return warning("devices", said if device.name in said else f"{device.name}: {said}")
    said = f"{device.name}: can be shown in sandboxes"
    if device.left_out:
        said += f", without {'; '.join(device.left_out)}"
    return ok("devices", said)


CHECKS: Final = (allowed,)
