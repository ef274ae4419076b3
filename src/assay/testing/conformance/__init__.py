"""The conformance suite: what users rely on, and what the agent and the port owe.

It uses the verbs of the probe that agent/probe.c lists at its top, and no others, so that a driver
without real processes can pass it, too.
"""

from assay.testing.case import Case
from assay.testing.conformance import (
    ending,
    files,
    interpreter,
    limits,
    load,
    ports,
    reattachment,
    sandboxes,
    starting,
    streams,
    terminals,
)

CONFORMANCE: tuple[Case, ...] = tuple(
    case
    for module in (
        starting,
        streams,
        terminals,
        limits,
        ending,
        files,
        ports,
        reattachment,
        sandboxes,
        load,
        interpreter,
    )
    for case in module.group.cases
)

__all__ = ["CONFORMANCE"]
