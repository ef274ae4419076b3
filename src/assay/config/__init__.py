"""Settings: read once, then frozen. Those of servers and nodes are imported where one starts.

document.py   the file
settings.py   of every command
node.py       of `assay node`
options.py    the options of a server, as a table
server.py     their values
"""

from assay.config.settings import NodesSettings, Settings, read_settings

__all__ = ["NodesSettings", "Settings", "read_settings"]
