"""A report as one page of HTML that needs nothing else, to be mailed or kept beside a release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from assay.bench.amounts import amount
from assay.bench.drawing import MISSING
from assay.bench.load.journal import PERCENTILES, summary
from assay.bench.load.plots import pictures
from assay.bench.load.report import LoadReport

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; }
td + td, th + th { text-align: right; font-variant-numeric: tabular-nums; }
.kept { color: #18794e; } .broken { color: #c62a2f; font-weight: 600; }
figure { margin: 1rem 0; background: #fff; } svg { max-width: 100%; height: auto; }
figcaption { color: #555; padding: 0 .5rem; }
"""


def page(reports: Sequence[LoadReport], machine: Mapping[str, Any]) -> str:
    """The whole document."""
    body = "\n".join(_report(report) for report in reports)
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>assay bench load</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>
<body>
<h1>assay bench load</h1>
<p>{escape(about)}</p>
{body}
</body>
</html>
"""


def _report(report: LoadReport) -> str:
    verdict = "stopped early" if report.stopped else "kept" if report.kept else "not kept"
    mark = "kept" if report.kept else "broken"
    parts = [
        f'<section><h2>{escape(report.title)}: <span class="{mark}">{verdict}</span></h2>',
        _promises(report),
        *(_table(table.name, table.head, table.rows) for table in report.tables),
        _latencies(report),
        _errors(report),
        _pictures(report),
        *(f"<p>{escape(remark)}</p>" for remark in report.remarks),
        _table("settings", ("what", "how"), tuple(report.settings.items())),
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _promises(report: LoadReport) -> str:
    rows = "".join(
        f"<tr><td>{escape(check.promise)}</td>"
        f"<td>{escape(amount(check.value, check.unit))}</td>"
        f'<td class="{"kept" if check.kept else "broken"}">{"✓" if check.kept else "✗"}</td></tr>'
        for check in report.checks
    )
    return (
        "<table><caption>promises</caption>"
        f"<tr><th>promised</th><th>measured</th><th></th></tr>{rows}</table>"
    )


def _latencies(report: LoadReport) -> str:
    head = ("what", "count", *(f"p{percent:g}" for percent in PERCENTILES), "max")
    rows = [
        (latency.name, *_row(summary(latency.samples)))
        for latency in report.latencies
        if latency.samples
    ]
    return _table("how long it took, in milliseconds", head, rows) if rows else ""


def _row(found: Mapping[str, Any]) -> tuple[str, ...]:
    count, *seconds = found.values()
    return (f"{count:,}", *(f"{value * 1000:.2f}" for value in seconds))


def _errors(report: LoadReport) -> str:
    if not report.errors:
        return ""
    rows = tuple((what, f"{count:,}") for what, count in report.errors.items())
    return _table("what failed", ("what", "how often"), rows)


def _pictures(report: LoadReport) -> str:
    found = pictures(report)
    if found is None:
        return f"<p>{escape(MISSING)}</p>"
    return "\n".join(
        f"<figure>{svg}<figcaption>{escape(name)}</figcaption></figure>" for name, svg in found
    )


def _table(name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><caption>{escape(name)}</caption><tr>{titles}</tr>{lines}</table>"
