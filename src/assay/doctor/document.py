"""The report for programs: docs/doctor.md describes it, and it changes only with SCHEMA."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from assay.doctor.advisories import AS_OF
from assay.doctor.checks.runtimes import open_holes
from assay.doctor.facts import Program
from assay.doctor.report import Report
from assay.driver.port import Problem

SCHEMA: Final = 1
"""Raised when something is taken away or changes its meaning, not when something is added."""


def document(report: Report, programs: Iterable[Program]) -> dict[str, Any]:
    """What `assay doctor --json` prints."""
    return {
        "schema": SCHEMA,
        "works": report.works,
        "default_driver": report.default_driver,
        "verdict": report.verdict,
        "sections": [
            {
                "title": section.title,
                "findings": [
                    {
                        "check": finding.check,
                        "mark": str(finding.mark),
                        "summary": finding.summary,
                        "remedy": finding.remedy or None,
                    }
                    for finding in section.findings
                ],
            }
            for section in report.sections
        ],
        "runtimes": [_runtime(program) for program in programs],
        "advisories_as_of": AS_OF,
        "drivers": [
            {
                "name": driver.name,
                "works": driver.works,
                "version": driver.version or None,
                "seconds": asdict(driver.timings) if driver.timings else None,
                "capabilities": asdict(driver.capabilities) if driver.capabilities else None,
                "problems": _problems(driver.problems),
            }
            for driver in report.drivers
        ],
        "environments": [
            {
                "name": environment.name,
                "title": environment.title,
                "usable": environment.usable,
                "problems": _problems(environment.problems),
            }
            for environment in report.environments
        ],
    }


def _runtime(program: Program) -> dict[str, Any]:
    return {
        "name": program.name,
        "path": program.path,
        "version": program.version,
        "package": program.package.name if program.package else None,
        "package_version": program.package.version if program.package else None,
        "holes": [
            {"ids": list(hole.ids), "fixed_in": list(hole.fixed_in), "what": hole.what}
            for hole in open_holes(program)
        ],
    }


def _problems(problems: Iterable[Problem]) -> list[dict[str, str | None]]:
    return [{"summary": each.summary, "remedy": each.remedy or None} for each in problems]
