"""HTTP and WebSocket: Poseidon's contract, and what goes beyond it.

The routes are a table (`routes.ROUTES`), from which both the router and the OpenAPI document are
made. What is specific to HTTP ends here: below are runners, pools and values.
"""

from assay.api.app import make_app, make_server
from assay.api.auth import Authenticator, Caller
from assay.api.services import Answered, ApiSettings, Environments, Services

__all__ = [
    "Answered",
    "ApiSettings",
    "Authenticator",
    "Caller",
    "Environments",
    "Services",
    "make_app",
    "make_server",
]
