"""Technologies as they are, without any of Assay: what the benchmarks compare with.

    crowd.py       starts many programs at once, by the program `floor`, and ends them
    bubblewrap.py  `bwrap` with every namespace      lxc.py   `lxc-start`

These are no drivers: what they start is a program that does nothing, without an agent, limits or
a filter of system calls.
"""

from assay.drivers.alone.bubblewrap import BubblewrapAlone
from assay.drivers.alone.lxc import LxcAlone

__all__ = ["BubblewrapAlone", "LxcAlone"]
