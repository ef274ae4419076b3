"""All routes: the router, and the OpenAPI document, are made of this table."""

from __future__ import annotations

from typing import Final

from assay.api import events, status, system, tokens
from assay.api.route import Route

ROUTES: Final[tuple[Route, ...]] = (
    *status.ROUTES,
    *events.ROUTES,
    *tokens.ROUTES,
    *system.ROUTES,
)
"""In the order in which they are tried, the busiest first."""
