"""The nodes that the settings name, and how they are."""

from __future__ import annotations

from collections.abc import Sequence

from assay.bootstrap.drivers import nodes_driver
from assay.config import Settings
from assay.drivers.nodes import NodeReport

__all__ = ["NodeReport", "ask_nodes"]


async def ask_nodes(settings: Settings) -> Sequence[NodeReport]:
    """Ask each of them, for four seconds at most.

    Raises DriverUnavailable when none is named, Unavailable without certificates.
    """
    driver = nodes_driver(settings)
    try:
        return await driver.reports()
    finally:
        await driver.aclose()
