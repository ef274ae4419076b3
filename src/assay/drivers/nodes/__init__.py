"""Sandboxes of other machines, each with a process `assay node` that makes them by its own driver.

    driver.py      the port's methods           choice.py     which node gets a sandbox, as data
    node.py        one node, and how it is      addresses.py  where the nodes are
    members.py     all of them                  sending.py    a root file system, sent once
    abilities.py   what all of them can do      places.py     which sandbox is where

The other side is `assay.node`, what both say `assay.link`.
"""

from assay.drivers.nodes.addresses import DEFAULT_PORT, Sources
from assay.drivers.nodes.driver import NodesDriver
from assay.drivers.nodes.members import NodeReport

__all__ = ["DEFAULT_PORT", "NodeReport", "NodesDriver", "Sources"]
