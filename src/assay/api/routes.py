"""All routes: the router is made of them, and the OpenAPI document of those that are our own."""

from __future__ import annotations

from typing import Final

from assay.api import (
    courses,
    environments,
    events,
    executions,
    export,
    files,
    jobe,
    ports,
    regrades,
    run,
    runners,
    status,
    submissions,
    system,
    tokens,
    webhooks,
)
from assay.api.route import Route

ROUTES: Final[tuple[Route, ...]] = (
    *executions.ROUTES,
    *files.ROUTES,
    *runners.ROUTES,
    *run.ROUTES,
    *status.ROUTES,
    *environments.ROUTES,
    *ports.ROUTES,
    *events.ROUTES,
    *courses.ROUTES,
    *submissions.ROUTES,
    *regrades.ROUTES,
    *export.ROUTES,
    *webhooks.ROUTES,
    *tokens.ROUTES,
    *system.ROUTES,
)
"""In the order in which they are tried, the busiest first."""
ALL_ROUTES: Final[tuple[Route, ...]] = (*ROUTES, *jobe.ROUTES)
"""Those of clients of other systems as well."""
