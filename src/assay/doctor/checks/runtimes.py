"""Container and virtual machine runtimes that are there: their versions, holes and quirks."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Final

from assay.doctor.advisories import ADVISORIES, AS_OF, Advisory
from assay.doctor.facts import Machine, Program
from assay.doctor.findings import Finding, Mark, note, ok, warning
from assay.doctor.versions import is_fixed

_NEED_KVM: Final = frozenset({"firecracker", "kata"})
_GVISOR_IS_OLD: Final = datetime.timedelta(days=365)
_GVISOR_IS_WHOLE: Final = datetime.date(2024, 7, 29)
"""A version that was seen to do what earlier ones (December 2022) do not."""


def versions(machine: Machine) -> Iterator[Finding]:
    """Each program, and the known holes in it."""
    if not machine.programs:
        yield note("runtimes", "none", "apt-get install crun runc")
    for program in machine.programs:
        yield from _one(program)


def _one(program: Program) -> Iterator[Finding]:
    shown = f"{program.version or 'of an unknown version'} at {program.path}"
    if program.package:
        shown += f" (package {program.package.name} {program.package.version})"
    holes = open_holes(program)
    if program.name not in ADVISORIES:
        yield note(program.name, shown)
    elif program.version is None:
        yield note(program.name, f"{shown}: its holes can't be known")
    elif not holes:
        yield ok(program.name, f"{shown}: no hole that was known in {AS_OF}")
    else:
        yield note(program.name, shown)
    for hole in holes:
        yield _hole(program, hole)


def open_holes(program: Program) -> list[Advisory]:
    """Holes that the version has, and that its distribution does not say to have mended."""
    return [
        hole
        for hole in ADVISORIES.get(program.name, ())
        if is_fixed(program.version or "", hole.fixed_in, hole.since) is False
        and not is_backported(program, hole)
    ]


def is_backported(program: Program, hole: Advisory) -> bool:
    """Whether the changelog of the distribution's package names the hole, all of it."""
    changelog = (program.package.changelog if program.package else None) or ""
    return all(re.search(rf"{re.escape(name)}(?!\d)", changelog) for name in hole.ids)


def _hole(program: Program, hole: Advisory) -> Finding:
    summary = f"{', '.join(hole.ids)}: {hole.what}; fixed in {', '.join(hole.fixed_in)}"
    remedy = ""
    if program.package is None:
        summary += ", unless your distribution backported it"
    else:
        remedy = f"apt-get update && apt-get install --only-upgrade {program.package.name}"
        if program.package.changelog is None:
            summary += ", unless your distribution backported it (its changelog is not installed)"
        else:
            summary += "; the package's changelog does not name it"
    if not hole.reaches_assay:
        summary += ". Assay does not use what has it"
    mark = Mark.WARNING if hole.reaches_assay else Mark.NOTE
    return Finding(check=program.name, mark=mark, summary=summary, remedy=remedy)


def quirks(machine: Machine) -> Iterator[Finding]:
    """What does not work with these programs on this machine."""
    names = {program.name for program in machine.programs}
    if "runsc" in names:
        yield from _gvisor(machine)
    for name in sorted(_NEED_KVM & names):
        if not machine.kvm.there or machine.kvm.error:
            yield note(name, "it needs /dev/kvm, which does not work here")
    resource = machine.rights.effective
    if "podman" in names and resource is not None and not resource >> 24 & 1:
        yield note(
            "podman",
            "without CAP_SYS_RESOURCE every run fails until containers.conf says "
            'default_ulimits=["nofile=4096:4096","nproc=4096:4096"]',
        )


def _gvisor(machine: Machine) -> Iterator[Finding]:
    version = machine.kernel.version
    if version is not None and version >= (6, 11):
        yield note(
            "runsc",
            "on kernels from 6.11 its own network fails (google/gvisor#10704): only "
            "--network=none and --network=host work",
        )
    found = next(each.version for each in machine.programs if each.name == "runsc") or ""
    dated = re.search(r"(20\d\d)(\d\d)(\d\d)", found)
    try:
        made = datetime.date(*map(int, dated.groups())) if dated else None
    except ValueError:
        made = None
    if made is not None and machine.today - made > _GVISOR_IS_OLD:
        yield warning(
            "runsc",
            f"from {made}: gVisor mends holes in its weekly releases, often without a CVE",
            "apt-get update && apt-get install --only-upgrade runsc",
        )
    if made is not None and made < _GVISOR_IS_WHOLE:
        yield note(
            "runsc",
            "before 2024 its terminals know no Ctrl-C and no Ctrl-D, and `ls` fails in it",
            "apt-get install -t bookworm-backports runsc",
        )


CHECKS: Final = (versions, quirks)
