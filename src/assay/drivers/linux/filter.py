"""Makes a program for the kernel of a profile of system calls, by libseccomp."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from assay.domain.errors import DriverUnavailable
from assay.drivers.linux.confinement import machine
from assay.drivers.linux.seccomp import profile

_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_MASKED_EQ: Final = 7
_OPTIMIZE: Final = 8
_AS_TREE: Final = 2
_NEEDLESS: Final = (-errno.EEXIST, -errno.EACCES)
"""Two rules that are the same, or one that does what is done without it."""
REMEDY: Final = "apt-get install libseccomp2"


class _Argument(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = (
        ("index", ctypes.c_uint), ("op", ctypes.c_int),
        ("first", ctypes.c_uint64), ("second", ctypes.c_uint64),
    )  # fmt: skip


@cache
def compiled(*, devices: bool = False) -> bytes:
    """The program for this machine's sandboxes, or those with devices of the host.

    Raises DriverUnavailable.
    """
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        raise DriverUnavailable(
            f"the library libseccomp is not on this machine; install it: {REMEDY}"
        ) from None
    library.seccomp_init.restype = ctypes.c_void_p
    rules = profile(machine(), devices=devices)
    context = ctypes.c_void_p(library.seccomp_init(_refusal(rules["defaultErrnoRet"])))
    try:
        # Before libseccomp 2.5 there is no such thing, and the program looks in a row.
        library.seccomp_attr_set(context, _OPTIMIZE, ctypes.c_uint32(_AS_TREE))
        for rule in rules["syscalls"]:
            _add(library, context, rule)
        return _exported(library, context)
    finally:
        library.seccomp_release(context)


def _refusal(number: int) -> ctypes.c_uint32:
    return ctypes.c_uint32(_ERRNO | number)


def _add(library: ctypes.CDLL, context: ctypes.c_void_p, rule: Mapping[str, Any]) -> None:
    allowed = rule["action"] == "SCMP_ACT_ALLOW"
    action = ctypes.c_uint32(_ALLOW) if allowed else _refusal(rule["errnoRet"])
    given = [
        _Argument(each["index"], _MASKED_EQ, each["value"], each["valueTwo"])
        for each in rule.get("args", ())
    ]
    arguments = (_Argument * len(given))(*given)
    for name in rule["names"]:
        call = library.seccomp_syscall_resolve_name(name.encode())
        if call < 0:  # one that this architecture, or this library, doesn't know
            continue
        status = library.seccomp_rule_add_array(context, action, call, len(given), arguments)
        if status not in (0, *_NEEDLESS):
            raise DriverUnavailable(f"libseccomp refused a rule for {name}: {os.strerror(-status)}")


def _exported(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    file = os.memfd_create("seccomp")
    try:
        status = library.seccomp_export_bpf(context, file)
        if status != 0:
            raise DriverUnavailable(f"libseccomp made no program: {os.strerror(-status)}")
        return os.pread(file, os.fstat(file).st_size, 0)
    finally:
        os.close(file)
