"""What `assay bench` measures: drivers as everybody uses them, and their technologies alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from assay.bench import Subject, bare, prepared
from assay.bootstrap.catalogue import root_filesystem
from assay.bootstrap.drivers import OURS, guarded, make_driver
from assay.config import Settings


@contextlib.asynccontextmanager
async def open_subject(settings: Settings, name: str, *, stock: int = 0) -> AsyncIterator[Subject]:
    """A driver to measure, guarded and owned as in `assay run`, with the machine's own programs.

    With `stock`, as in a server: so many sandboxes are prepared but for what they are of. Raises
    UnknownDriver, Unavailable or DiskFull.
    """
    root = root_filesystem(settings, "host")
    driver = make_driver(settings, name, stock=stock)
    async with guarded(settings, driver) as guard:
        yield Subject(
            driver=guard,
            root=root,
            bare=bare(driver),
            times_alone=2 if name != OURS else 3 if stock else None,
            idle_bytes=0.8e6 if name == OURS else 1.2e6,
            prepared=prepared(driver) if stock else None,
        )
