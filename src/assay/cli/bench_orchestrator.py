"""`assay bench orchestrator`: sandboxes at once by whoever places them on machines, and without."""

from __future__ import annotations

from typing import Final

import click

from assay.bench.startup import FULL, QUICK
from assay.bootstrap import orchestrators
from assay.cli.bench_output import json_option
from assay.cli.bench_startup import (
    Wanted,
    carry_out,
    markdown_option,
    plan_of,
    rounds_option,
    svg_option,
)
from assay.cli.context import Flags

_ENGINES: Final = ("docker", "podman")
"""That an orchestrator's clients have."""
_BESIDE: Final = (*_ENGINES, "lean")
"""What it costs without one."""
_EPILOG: Final = """\b
Examples:
  assay bench orchestrator
  assay bench orchestrator --quick --markdown table.md
  NOMAD_ADDR=http://10.0.0.1:4646 assay bench orchestrator --rounds 100=3

What is not there is left out, with its reason. The lines below the tables say how many machines
each has. docs/benchmarks.md says how to read the figures.
"""


@click.command("orchestrator", epilog=_EPILOG)
@rounds_option
@click.option("--quick", is_flag=True, help="Fewer rounds: 1=5, 10=2, 100=1.")
@json_option
@markdown_option
@svg_option
@click.pass_obj
def orchestrator(
    flags: Flags,
    /,
    *,
    rounds: tuple[str, ...],
    quick: bool,
    json_to: str | None,
    markdown: str | None,
    svg: str | None,
) -> int:
    """1, 10, 100 sandboxes at once: orchestrators, and the same engines without one."""
    targets = {"json": json_to, "markdown": markdown, "svg": svg}
    return carry_out(
        flags,
        Wanted(
            plan=plan_of(QUICK if quick else FULL, rounds, 0),
            drivers=(*orchestrators(), *_BESIDE),
            every=False,
            afar=_ENGINES,
            targets={kind: target for kind, target in targets.items() if target is not None},
        ),
    )
