"""What sandboxes are like that Nomad's clients have in containers, as data."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from assay.drivers.linux.container import ABLE as OF_CONTAINERS

ABLE: Final = replace(OF_CONTAINERS, cpu_limit=False, masks=False)
"""Nomad's limit of processors is also what its scheduler counts, and sandboxes that wait would fill
a machine. They have equal weights. And it can't be told what to mask beside Docker's own list."""
