"""Settings: read once, then frozen.

document.py   the file
settings.py   of every command
node.py       of `assay node`
options.py    the options of a server, as a table
server.py     their values
"""

from assay.config.node import NodeSettings, read_node_settings
from assay.config.server import ConfiguredEnvironment, ServerSettings, read_server_settings
from assay.config.settings import NodesSettings, Settings, read_settings

__all__ = [
    "ConfiguredEnvironment",
    "NodeSettings",
    "NodesSettings",
    "ServerSettings",
    "Settings",
    "read_node_settings",
    "read_server_settings",
    "read_settings",
]
