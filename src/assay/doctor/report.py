"""All that `assay doctor` found out, and what it comes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from assay.doctor.environments import EnvironmentReport
from assay.doctor.findings import Finding, Mark, Section, listed
from assay.doctor.trial import DriverReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The findings about a machine, its drivers and its environments."""

    sections: tuple[Section, ...]
    drivers: tuple[DriverReport, ...]
    environments: tuple[EnvironmentReport, ...]
    preferred: str | None = None
    """The driver that the settings name; None: the first that works."""
    every_driver: bool = True
    """All were tried that can be the default."""

    @property
    def works(self) -> bool:
        """At least one driver works."""
        return any(driver.works for driver in self.drivers)

    @property
    def default_driver(self) -> str | None:
        """The driver that is used when nobody names one; None if it does not work, or unknown."""
        if not self.every_driver:
            return None
        working = [driver.name for driver in self.drivers if driver.works]
        if self.preferred is not None:
            return self.preferred if self.preferred in working else None
        return working[0] if working else None

    def findings(self, mark: Mark) -> Iterator[Finding]:
        """Those with a mark."""
        for section in self.sections:
            yield from (finding for finding in section.findings if finding.mark is mark)

    @property
    def verdict(self) -> str:
        """One line."""
        working = [driver.name for driver in self.drivers if driver.works]
        if not working:
            return f"Assay does not work here: {self._first_reason()}"
        text = f"Assay works here with {' and '.join(working)}"
        if self.default_driver is None and self.every_driver:
            text += f", but not with {self.preferred}, the driver of your settings"
        elif self.default_driver is not None:
            text += f"; the default driver is {self.default_driver}"
        usable = [each.name for each in self.environments if each.usable]
        text += f"; environments: {listed(usable) or 'none'}"
        warnings = len(list(self.findings(Mark.WARNING)))
        failures = len(list(self.findings(Mark.FAILURE)))
        if warnings or failures:
            text += f"; {_count(failures, 'failure')}{' and ' if warnings and failures else ''}"
            text += f"{_count(warnings, 'warning')} above"
        return f"{text}."

    def _first_reason(self) -> str:
        """Most likely the cause: what fails on this machine, or else what a driver says."""
        for finding in self.findings(Mark.FAILURE):
            return _with_remedy(f"{finding.check}: {finding.summary}", finding.remedy)
        for driver in self.drivers:
            for problem in driver.problems:
                return _with_remedy(f"{driver.name}: {problem.summary}", problem.remedy)
        return "there is no driver to try"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}" if number else ""


def _with_remedy(text: str, remedy: str) -> str:
    return f"{text} (fix: {remedy})" if remedy and remedy not in text else f"{text}."
