"""The hostile suite: programs that attack, each with what must become of it.

While a case runs, a neighbour's sandbox is watched: it must answer as fast as alone, and have all
that its limits allow afterwards; and nothing of the case may stay on the host.
"""

from assay.testing.case import Case
from assay.testing.hostile import (
    cpu,
    files,
    interpreter,
    kernel,
    leakage,
    memory,
    network,
    output,
    processes,
)

HOSTILE: tuple[Case, ...] = tuple(
    case
    for module in (processes, cpu, memory, leakage, files, output, kernel, network, interpreter)
    for case in module.group.cases
)

__all__ = ["HOSTILE"]
