"""The checks: pure functions from facts about a machine to findings. None of them can fail.

A section is one file here; a new check is one function in it, and a row in docs/doctor.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from assay.doctor.checks import (
    capacity,
    devices,
    groups,
    hardening,
    kernel,
    memory,
    rights,
    runtimes,
    technologies,
)
from assay.doctor.facts import Machine
from assay.doctor.findings import Finding, Section

Check = Callable[[Machine], Iterator[Finding]]

SECTIONS: Final[dict[str, tuple[Check, ...]]] = {
    "Machine": kernel.CHECKS,
    "Control groups": groups.CHECKS,
    "Rights and users": rights.CHECKS,
    "Memory": memory.CHECKS,
    "Room for sandboxes": capacity.CHECKS,
    "Hardening": hardening.CHECKS,
    "Devices for environments": devices.CHECKS,
    "Runtimes on this machine": runtimes.CHECKS,
    "Technologies": technologies.CHECKS,
}
"""All checks, in the order of the report."""


def examine_machine(machine: Machine) -> tuple[Section, ...]:
    """Every finding about a machine, section by section."""
    return tuple(
        Section(
            title=title,
            findings=tuple(finding for check in checks for finding in check(machine)),
        )
        for title, checks in SECTIONS.items()
    )
