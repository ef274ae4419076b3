"""The API of Jobe, so that CodeRunner needs another host name, no more: see docs/jobe.md."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from assay.api.jobe import files, languages, runs
from assay.api.jobe.face import preflight
from assay.api.route import Route

_ONCE: Final = (*runs.ROUTES, *files.ROUTES, *languages.ROUTES)
ROUTES: Final[tuple[Route, ...]] = (
    *(
        replace(route, path=f"{before}{route.path}{behind}")
        for before in ("", "/")
        for behind in ("", "/")
        for route in _ONCE
    ),
    preflight,
)
"""Each also with a slash at its end, and two before it, as some clients write it."""

__all__ = ["ROUTES"]
