"""Sandboxes made by an OCI runtime (crun, runc, runsc): bundles, no daemon.

`driver.py` has the port's methods and `workshop.py` does, step by step, what they ask for. The
other files are what these are made of, beside what all drivers of this machine share (`linux`):

    runtime.py   which program, as data             bundle.py    what the runtime is told
    folder.py    what is on disk
"""

from assay.drivers.oci.driver import OciDriver
from assay.drivers.oci.runtime import CRUN, RUNC, RUNSC, OwnKernel, Runtime

__all__ = ["CRUN", "RUNC", "RUNSC", "OciDriver", "OwnKernel", "Runtime"]
