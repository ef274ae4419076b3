"""Sandboxes made by LXC's own `lxc-start`, a configuration for each, no daemon.

    driver.py    the port's methods               configuration.py  what LXC is told about one
    workshop.py  what they ask for, in order      folder.py         what is on disk

What holds a sandbox, and what is shown in it, is what all drivers of this machine share (`linux`).
"""

from assay.drivers.lxc.driver import LxcDriver

__all__ = ["LxcDriver"]
