"""The report for people."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Final

from assay.doctor.environments import EnvironmentReport
from assay.doctor.findings import Finding, Mark
from assay.doctor.report import Report
from assay.doctor.trial import DriverReport
from assay.driver.port import Capabilities, Problem

Paint = Callable[[str, str], str]
"""Text and the name of a colour, or "bold" or "dim" -> what a terminal shows in it."""

_SIGNS: Final = {
    Mark.OK: ("✓", "green"),
    Mark.NOTE: ("·", "dim"),
    Mark.UNKNOWN: ("?", "dim"),
    Mark.WARNING: ("!", "yellow"),
    Mark.FAILURE: ("✗", "red"),
}
_PLAIN_SIGNS: Final = {Mark.OK: "+", Mark.NOTE: "-", Mark.FAILURE: "x"}
_NARROWEST: Final = 40


def plain(text: str, style: str) -> str:
    """Paints nothing."""
    return text


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    mark: Mark
    label: str
    texts: tuple[str, ...]
    remedies: tuple[str, ...] = ()


def render(
    report: Report, *, width: int | None, paint: Paint = plain, ascii_only: bool = False
) -> str:
    """The whole report. With `width` texts are folded; commands never are, they are to be copied.

    Without colours it holds no control characters, and with `ascii_only` no others than ASCII.
    """
    blocks = [
        *((section.title, list(map(_of_finding, section.findings))) for section in report.sections),
        ("Drivers", [_of_driver(report, driver) for driver in report.drivers]),
        ("Environments", list(map(_of_environment, report.environments))),
    ]
    column = 5 + max((len(row.label) for _, rows in blocks for row in rows), default=0)
    lines: list[str] = []
    for title, rows in blocks:
        if rows:
            lines += [paint(title, "bold")]
            for row in _tidied(rows):
                lines += _lines(row, column, width, paint, ascii_only)
            lines += [""]
    lines.append(paint(report.verdict, "green" if report.works else "red"))
    text = "\n".join(lines)
    return text.encode("ascii", "replace").decode() if ascii_only else text


def _tidied(rows: list[_Row]) -> Iterator[_Row]:
    """Of rows about the same thing, the first alone says its name, the last of equal remedies."""
    label = None
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        told_below = following is not None and (following.label, following.remedies) == (
            row.label,
            row.remedies,
        )
        yield replace(
            row,
            label="" if row.label == label else row.label,
            remedies=() if told_below else row.remedies,
        )
        label = row.label


def _lines(
    row: _Row, column: int, width: int | None, paint: Paint, ascii_only: bool
) -> Iterator[str]:
    sign, colour = _SIGNS[row.mark]
    if ascii_only:
        sign = _PLAIN_SIGNS.get(row.mark, sign)
    start = f"  {paint(sign, colour)} {row.label.ljust(column - 4)}"
    for text in row.texts:
        for line in _folded(text, None if width is None else width - column):
            yield f"{start}{line}".rstrip()
            start = " " * column
    for remedy in row.remedies:
        yield f"{' ' * column}{paint('fix:', 'bold')} {remedy}"


def _folded(text: str, width: int | None) -> list[str]:
    if width is None:
        return [text]
    return textwrap.wrap(
        text, max(width, _NARROWEST), break_long_words=False, break_on_hyphens=False
    ) or [""]


def _of_finding(finding: Finding) -> _Row:
    remedies = (finding.remedy,) if finding.remedy else ()
    return _Row(mark=finding.mark, label=finding.check, texts=(finding.summary,), remedies=remedies)


def _of_driver(report: Report, driver: DriverReport) -> _Row:
    texts = [_state(report, driver)]
    if driver.works and driver.capabilities:
        can, can_not = _capabilities(driver.capabilities)
        texts += [f"can: {', '.join(can)}", f"can't: {', '.join(can_not) or 'nothing is missing'}"]
    texts += [problem.summary for problem in driver.problems]
    mark = Mark.FAILURE if not driver.works else Mark.WARNING if driver.problems else Mark.OK
    return _Row(
        mark=mark, label=driver.name, texts=tuple(texts), remedies=_remedies(driver.problems)
    )


def _state(report: Report, driver: DriverReport) -> str:
    version = f" {driver.version}" if driver.version else ""
    if not driver.works:
        return f"{driver.name}{version} does not work here"
    text = f"{driver.name}{version} works"
    if driver.timings:
        times = driver.timings
        text += (
            f": a sandbox in {times.create * 1e3:.0f} ms, `true` in {times.run * 1e3:.1f} ms, "
            f"removed in {times.destroy * 1e3:.0f} ms"
        )
    return f"{text} (the default)" if driver.name == report.default_driver else text


def _capabilities(capabilities: Capabilities) -> tuple[list[str], list[str]]:
    can, can_not = [], []
    for field in fields(capabilities):
        value = getattr(capabilities, field.name)
        name = field.name.replace("_", " ")
        if value is True:
            can.append(name)
        elif value is False:
            can_not.append(name)
        elif not isinstance(value, int):
            can.append(f"{name} by {value}")
    return can, can_not


def _of_environment(environment: EnvironmentReport) -> _Row:
    return _Row(
        mark=Mark.OK if environment.usable else Mark.WARNING,
        label=environment.name,
        texts=(environment.title,) * bool(environment.title)
        + tuple(problem.summary for problem in environment.problems),
        remedies=_remedies(environment.problems),
    )


def _remedies(problems: Iterable[Problem]) -> tuple[str, ...]:
    # One package often brings several of the tools that are missing.
    return tuple(dict.fromkeys(problem.remedy for problem in problems if problem.remedy))
