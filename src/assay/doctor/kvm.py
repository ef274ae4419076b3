"""Tries /dev/kvm, which is the one fact that no file tells."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from typing import Final

from assay.doctor.facts import Kvm
from assay.doctor.files import Files

_GET_API_VERSION: Final = 0xAE00


def look_at_kvm(files: Files) -> Kvm:
    """Open /dev/kvm and ask it for its version; nothing is made in it."""
    processors = files.text("/proc/cpuinfo")
    can = None if processors is None else bool(re.search(r"\b(vmx|svm)\b", processors))
    if not files.has("/dev/kvm"):
        return Kvm(there=False, processor_can=can)
    try:
        device = os.open(files.at("/dev/kvm"), os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return Kvm(there=True, processor_can=can, error=_name(error))
    try:
        return Kvm(there=True, processor_can=can, api=fcntl.ioctl(device, _GET_API_VERSION))
    except OSError as error:
        return Kvm(there=True, processor_can=can, error=_name(error))
    finally:
        os.close(device)


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))
