"""The report as tables, as text for Markdown and terminals; pure functions of the figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from assay.bench.amounts import amount
from assay.bench.figures import Check, Figure, Remark, Report, to_the_fastest
from assay.bench.load.report import Table
from assay.bench.startup.cycles import PHASES
from assay.bench.startup.findings import (
    ALONE,
    ANSWERED,
    GONE,
    IDLE,
    PROCESSES,
    WEIGHED,
    WHOLE,
    crowds_name,
    cycles_name,
    workload_names,
)

_NOTHING: Final = "–"
_COUNT: Final = re.compile(r"(\d+) at once: ")
_FACE: Final = "technology"


class _Figures:
    """Figures by driver and name, and who is first."""

    def __init__(self, report: Report) -> None:
        self.known: Mapping[tuple[str, str], Figure] = {
            (figure.driver, figure.name): figure for figure in report.figures
        }
        self.ratios = to_the_fastest(report.figures)
        self.remarks = {(each.driver, each.what): each for each in report.remarks}

    def median(self, driver: str, name: str) -> str:
        figure = self.known.get((driver, name))
        return (
            amount(figure.measured.median, figure.unit) if figure else self._instead(driver, name)
        )

    def tail(self, driver: str, name: str) -> str:
        figure = self.known.get((driver, name))
        return amount(figure.tail(95), figure.unit) if figure else _NOTHING

    def ratio(self, driver: str, name: str) -> str:
        ratio = self.ratios.get((driver, name))
        return f"{ratio:.1f}" if ratio is not None else _NOTHING

    def _instead(self, driver: str, name: str) -> str:
        """Why there is no such figure, in two words."""
        what = name.partition(":")[0]
        remark = self.remarks.get((driver, what)) or self.remarks.get((driver, ""))
        return remark.kind if remark else _NOTHING


def technologies(report: Report) -> tuple[str, ...]:
    """Whoever has a figure, the fastest with one sandbox first, and then who could not begin."""
    one = {
        figure.driver: figure.measured.median
        for figure in report.figures
        if figure.name == crowds_name(1, IDLE)
    }
    named = [figure.driver for figure in report.figures]
    named += [remark.driver for remark in report.remarks]
    everybody = dict.fromkeys(filter(None, named))
    return tuple(sorted(everybody, key=lambda name: one.get(name, float("inf"))))


def amounts(report: Report) -> tuple[int, ...]:
    """How many sandboxes were requested at once."""
    found = (_COUNT.match(figure.name) for figure in report.figures)
    return tuple(sorted({int(match[1]) for match in found if match}))


def tables(report: Report) -> tuple[Table, ...]:
    """Those with something in them."""
    figures, rows, counts = _Figures(report), technologies(report), amounts(report)
    found = [
        _idle(figures, rows, counts),
        _gone(figures, rows, counts),
        _memory(figures, rows, counts),
        _alone(figures, rows),
        *(_lives(figures, rows, name) for name in workload_names()),
        promises(report),
    ]
    return tuple(table for table in found if table.rows)


def _idle(figures: _Figures, rows: Sequence[str], counts: Sequence[int]) -> Table:
    """The paper's table: until the last one of so many is idle."""
    return Table(
        name="requested at once: until all are idle (× the fastest)",
        head=(_FACE, *(word for count in counts for word in (f"{count}", "p95", "×"))),
        rows=tuple(
            (row, *(
                cell
                for name in (crowds_name(count, IDLE) for count in counts)
                for cell in (
                    figures.median(row, name), figures.tail(row, name), figures.ratio(row, name),
                )
            ))
            for row in rows
        ),
    )  # fmt: skip


def _gone(figures: _Figures, rows: Sequence[str], counts: Sequence[int]) -> Table:
    return Table(
        name="requested at once: until the last has answered, and later until all are gone",
        head=(_FACE, *(f"{count} {what}" for count in counts for what in ("answered", "gone"))),
        rows=tuple(
            (row, *(
                figures.median(row, crowds_name(count, what))
                for count in counts
                for what in (ANSWERED, GONE)
            ))
            for row in rows
            if any((row, crowds_name(count, GONE)) in figures.known for count in counts)
        ),
    )  # fmt: skip


def _memory(figures: _Figures, rows: Sequence[str], counts: Sequence[int]) -> Table:
    """Of each idle sandbox."""
    weighed = [count for count in counts if any(
        name == crowds_name(count, WEIGHED) for _, name in figures.known
    )]  # fmt: skip
    return Table(
        name="memory of each idle sandbox: what the machine has less; of it, its processes (PSS)",
        head=(_FACE, *(f"{count} idle" for count in weighed),
              *(f"processes of {count}" for count in counts)),
        rows=tuple(
            (row, *(figures.median(row, crowds_name(count, WEIGHED)) for count in weighed),
             *(figures.median(row, crowds_name(count, PROCESSES)) for count in counts))
            for row in rows
            if any((row, crowds_name(count, PROCESSES)) in figures.known for count in counts)
        ),
    )  # fmt: skip


def _alone(figures: _Figures, rows: Sequence[str]) -> Table:
    """What a sandbox takes beside its technology without us."""
    found = [(row, figures.known.get((row, ALONE))) for row in rows]
    return Table(
        name="create to agent ready, beside the technology alone with `true`",
        head=(_FACE, "median", "p95", "p99", "alone", "its p95"),
        rows=tuple(
            (row, amount(figure.measured.median, figure.unit), amount(figure.tail(95), figure.unit),
             amount(figure.tail(99), figure.unit),
             amount(figure.beside.median, figure.unit), amount(figure.tail_beside(95), figure.unit))
            for row, figure in found
            if figure is not None and figure.beside is not None
        ),
    )  # fmt: skip


def _lives(figures: _Figures, rows: Sequence[str], workload: str) -> Table:
    """The thesis' table: each phase of a sandbox's life with this work."""
    whole = cycles_name(workload, WHOLE)
    return Table(
        name=f"life cycle with {workload}",
        head=(_FACE, *PHASES, WHOLE, "p95", "×"),
        rows=tuple(
            (row, *(figures.median(row, cycles_name(workload, phase)) for phase in PHASES),
             figures.median(row, whole), figures.tail(row, whole), figures.ratio(row, whole))
            for row in rows
            if (row, whole) in figures.known or (row, workload) in figures.remarks
        ),
    )  # fmt: skip


def promises(report: Report) -> Table:
    """Every promise, and whether it is kept."""
    return Table(
        name="promises",
        head=(_FACE, "what", "promised", "measured"),
        rows=tuple(
            (figure.driver or "all", figure.name, check.promise, _measured(check))
            for figure in report.figures
            for check in figure.checks
        ),
    )


def _measured(check: Check) -> str:
    return f"{'✓' if check.kept else '✗'} {amount(check.value, check.unit)}"


def sentences(report: Report) -> tuple[str, ...]:
    """Of what could not be measured: who, what and why, each once."""
    return tuple(dict.fromkeys(map(_sentence, report.remarks)))


def _sentence(remark: Remark) -> str:
    what = f", {remark.what}" if remark.what else ""
    return f"{remark.driver}{what}: {remark.kind}: {printable(remark.reason)}"


def printable(text: str) -> str:
    """What others say, without what would move a cursor."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def markdown(report: Report) -> str:
    """All tables, and what could not be measured."""
    parts = [_in_markdown(table) for table in tables(report)]
    remarks = [f"- {_escaped(sentence)}\n" for sentence in sentences(report)]
    if remarks:
        parts.append("".join(("Not measured:\n\n", *remarks)))
    return "\n".join(parts)


def _in_markdown(table: Table) -> str:
    lines = [_line(table.head), _line(["---", *("---:" for _ in table.head[1:])])]
    lines += [_line(row) for row in table.rows]
    return "".join((f"**{table.name}**\n\n", *lines))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def of_one(report: Report, names: Sequence[str]) -> Iterator[tuple[str, Mapping[str, float]]]:
    """For pictures: each technology with a median of one of these figures, and its medians."""
    known = {(each.driver, each.name): each.measured.median for each in report.figures}
    for driver in technologies(report):
        found = {name: known[driver, name] for name in names if (driver, name) in known}
        if found:
            yield driver, found
