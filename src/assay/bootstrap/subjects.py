"""What `assay bench` measures: drivers as everybody uses them, and their technologies alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from assay.bench import Subject, bare
from assay.bootstrap.catalogue import root_filesystem
from assay.bootstrap.drivers import guarded, make_driver
from assay.config import Settings


@contextlib.asynccontextmanager
async def open_subject(settings: Settings, name: str) -> AsyncIterator[Subject]:
    """A driver to measure, guarded and owned as in `assay run`, with the machine's own programs.

    Raises UnknownDriver, Unavailable or DiskFull.
    """
    root = root_filesystem(settings, "host")
    driver = make_driver(settings, name)
    async with guarded(settings, driver) as guard:
        yield Subject(driver=guard, root=root, bare=bare(driver))
