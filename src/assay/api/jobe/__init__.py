"""The API of Jobe, so that CodeRunner needs another host name, no more: see docs/jobe.md."""

from __future__ import annotations

from typing import Final

from assay.api.jobe import files, languages, runs
from assay.api.jobe.face import preflight
from assay.api.route import Route

ROUTES: Final[tuple[Route, ...]] = (
    *runs.ROUTES,
    *files.ROUTES,
    *languages.ROUTES,
    preflight,
)

__all__ = ["ROUTES"]
