"""Sandboxes made by an OCI runtime (crun, runc, runsc): bundles, no daemon.

`driver.py` has the port's methods and `workshop.py` does, step by step, what they ask for. The
other files are what these are made of:

    runtime.py   which program, as data             launcher.py  threads with mounts of their own
    bundle.py    what the runtime is told           stage.py     what is mounted for one sandbox
    seccomp.py   which system calls are allowed     layout.py    which control groups a host has
    folder.py    a sandbox's folder on disk         cgroups*.py  limits, counters and the end
    users.py     user ids of its own                dial.py      a connection to its agent
    process.py   its process 1                      health.py    does it work on this machine
    kernel.py    system calls                        devices.py   the stage, and what is in /dev
    delegation.py  room for groups of version 2
"""

from assay.drivers.oci.driver import OciDriver
from assay.drivers.oci.folder import images_in_use
from assay.drivers.oci.runtime import CRUN, RUNC, RUNSC, OwnKernel, Runtime
from assay.drivers.oci.users import read_ids

__all__ = [
    "CRUN", "RUNC", "RUNSC", "OciDriver", "OwnKernel", "Runtime", "images_in_use", "read_ids",
]  # fmt: skip
