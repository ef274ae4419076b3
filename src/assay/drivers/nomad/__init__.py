"""Sandboxes as allocations of a Nomad cluster, which places them on its clients.

driver.py      the port's methods              job.py         what Nomad is told, as data
batches.py     many in one request             allocation.py  what it says, and what that means
api.py         requests to it                  speech.py      its words for a byte stream
kind.py        what such sandboxes are like    options.py     what an operator says of it
"""

from assay.drivers.nomad.driver import NomadDriver
from assay.drivers.nomad.options import Options, read_options

__all__ = ["NomadDriver", "Options", "read_options"]
