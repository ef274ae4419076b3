"""Sandboxes that are virtual machines of their own: a kernel, a disk of the image, our process 1.

`driver.py` has the port's methods and `workshop.py` does, step by step, what they ask for. The
other files are what these are made of, beside what drivers share (`linux`):

    machine.py   what a virtual machine is, and the port of those that run one: the monitors
    qemu.py      the monitor QEMU           guest_kernel.py  the distribution's kernel, its modules
    firecracker.py  the monitor Firecracker initrd.py        what a machine begins with
    template.py  machines that are kept     disk.py          an image as a file system in a file
    plan.py      what is done in a machine  link.py          streams to its agent
    folder.py    what is on disk
"""

from assay.drivers.microvm.driver import MicroVmDriver
from assay.drivers.microvm.firecracker import Firecracker, no_virtualization
from assay.drivers.microvm.qemu import Qemu

__all__ = ["Firecracker", "MicroVmDriver", "Qemu", "no_virtualization"]
