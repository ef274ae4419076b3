"""What each technology lacks here; whether those work that lack nothing, drivers tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from assay.doctor.facts import Machine
from assay.doctor.findings import Finding, note, ok


def technologies(machine: Machine) -> Iterator[Finding]:
    """Each of them: nobody needs all, so what is missing is no fault."""
    for each in machine.technologies:
        if not each.problems:
            yield ok(each.name, "all that it needs is there")
        for problem in each.problems:
            summary, remedy = problem.summary, problem.remedy
            # An error for one who asked for that one gives its remedy itself.
            told = remedy and remedy in summary
            yield note(each.name, summary.partition("; ")[0] if told else summary, remedy)


CHECKS: Final = (technologies,)
