"""What sandboxes are like that Nomad's clients have in containers, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from assay.driver.port import Capabilities
from assay.drivers.linux.container import ABLE as OF_CONTAINERS
from assay.drivers.nomad.options import DOCKER, PODMAN

_ANY: Final = replace(OF_CONTAINERS, cpu_limit=False)
"""Nomad's limit of processors is also what its scheduler counts, and sandboxes that wait would fill
a machine. They have equal weights."""
ABLE: Final[Mapping[str, Capabilities]] = MappingProxyType({
    # It can't be told what to mask beside Docker's own list.
    DOCKER: replace(_ANY, masks=False),
    # Its tmpfs know no limit of inodes, which count as memory then; and it has no volumes.
    PODMAN: replace(_ANY, inode_limit=False, own_terminals=False),
})  # fmt: skip
"""By the task driver that makes them."""
