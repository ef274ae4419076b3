"""Settings: read once, then frozen.

document.py   the file
settings.py   of every command
options.py    the options of a server, as a table
server.py     their values
"""

from assay.config.server import ConfiguredEnvironment, ServerSettings, read_server_settings
from assay.config.settings import Settings, read_settings

__all__ = [
    "ConfiguredEnvironment",
    "ServerSettings",
    "Settings",
    "read_server_settings",
    "read_settings",
]
