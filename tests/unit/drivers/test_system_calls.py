"""The list of system calls on both machines, by the tables of the library that runtimes use."""

from __future__ import annotations

import ctypes
import os

import pytest

from assay.drivers.linux import seccomp

AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBERS = range(600)

NEVER = {
    # Attack surface that no learner's program needs, or that libraries do without.
    *("io_uring_enter", "io_uring_register", "io_uring_setup", "vmsplice", "memfd_secret"),
    *("io_setup", "io_destroy", "io_submit", "io_cancel", "io_getevents", "io_pgetevents"),
    *("landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self"),
    *("mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr"),
    *("map_shadow_stack", "process_mrelease", "remap_file_pages"),
}
NEVER_ON_X86 = {
    *("_sysctl", "sysfs", "ustat", "get_thread_area", "set_thread_area"),
    *("afs_syscall", "getpmsg", "putpmsg", "security", "tuxcall", "vserver"),  # never were
}


def table(machine: str) -> set[str]:
    """The names of a machine's system calls, as far as this version of the library knows them."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        message = "lacks libseccomp.so.2, which comes with crun and runc"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    name_of = library.seccomp_syscall_resolve_num_arch
    name_of.restype = ctypes.c_void_p
    found = set()
    for number in NUMBERS:
        name = name_of(ctypes.c_uint32(AUDIT_ARCHITECTURE[machine]), number)
        if name:
            found.add(ctypes.string_at(name).decode())
            library.free(ctypes.c_void_p(name))
    return found


def named(machine: str, *actions: str) -> set[str]:
    rules = seccomp.profile(machine)["syscalls"]
    return {name for rule in rules if rule["action"] in actions for name in rule["names"]}


@pytest.mark.parametrize("machine", sorted(AUDIT_ARCHITECTURE))
def test_every_system_call_of_a_machine_was_thought_about(machine: str) -> None:
    known = named(machine, "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO") | NEVER
    known |= NEVER_ON_X86 if machine == "x86_64" else set()
    assert table(machine) <= known


def test_aarch64_lacks_nothing_but_what_only_x86_has() -> None:
    """Every call that both machines have is treated alike; what is left is one list of old ones."""
    both = table("x86_64") & table("aarch64")
    for action in ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"):
        assert named("x86_64", action) & both == named("aarch64", action) & both
    only_x86 = named("x86_64", "SCMP_ACT_ALLOW") - named("aarch64", "SCMP_ACT_ALLOW")
    assert {"open", "fork", "arch_prctl"} <= only_x86
    assert only_x86.isdisjoint(table("aarch64"))
    assert table("aarch64") <= table("x86_64")


def test_a_profile_names_one_architecture() -> None:
    """Programs for a 32-bit relative of it make other calls by the same numbers."""
    assert seccomp.profile("x86_64")["architectures"] == ["SCMP_ARCH_X86_64"]
    assert seccomp.profile("aarch64")["architectures"] == ["SCMP_ARCH_AARCH64"]
