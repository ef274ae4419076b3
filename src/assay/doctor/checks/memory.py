"""Memory, swap, and what the kernel does when there is none left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from assay.doctor.checks.boot import with_boot_parameter
from assay.doctor.facts import Machine
from assay.doctor.findings import Finding, failure, note, ok, unknown, warning
from assay.domain.limits import MIB, SandboxLimits

IDLE_BYTES: Final = 1.2 * MIB
"""What an idle, warm sandbox costs at most (SPECIFICATION.md)."""


def memory(machine: Machine) -> Iterator[Finding]:
    """How many sandboxes there is room for."""
    total, available = machine.memory.total_bytes, machine.memory.available_bytes
    if total is None or available is None:
        yield unknown("memory", "/proc/meminfo")
        return
    idle, busy = int(available / IDLE_BYTES), available // SandboxLimits().memory_bytes
    shown = (
        f"{available // MIB} of {total // MIB} MiB available: {idle} idle sandboxes, "
        f"or {busy} that use all of their {SandboxLimits().memory_bytes // MIB} MiB"
    )
    if idle < machine.sandboxes:
        yield warning("memory", f"{shown}; {machine.sandboxes} are wanted")
    else:
        yield ok("memory", shown)


def swap(machine: Machine) -> Iterator[Finding]:
    """Whether limits on memory are limits."""
    size, counted = machine.memory.swap_bytes, machine.groups.swap_is_counted
    if size is None:
        yield unknown("swap", "/proc/meminfo")
    elif size == 0:
        yield ok("swap", "none")
    elif counted:
        yield note(
            "swap",
            f"{size // MIB} MiB, which sandboxes are kept off; it makes the host less even",
            "swapoff --all",
        )
    elif counted is None:
        yield warning(
            "swap",
            f"{size // MIB} MiB, and whether groups count it could not be read",
            "swapoff --all",
        )
    else:
        yield warning(
            "swap",
            f"{size // MIB} MiB that groups don't count: programs swap instead of reaching their "
            "memory limit, and what they hold reaches the disk",
            f"swapoff --all (or: {with_boot_parameter('swapaccount=1')})",
        )


def overcommit(machine: Machine) -> Iterator[Finding]:
    """Whether programs that reserve much and use little can start."""
    mode = machine.memory.overcommit
    if mode is None:
        yield unknown("overcommit", "vm.overcommit_memory")
    elif mode == 2:
        yield warning(
            "overcommit",
            "the kernel promises no memory that it hasn't got: Java, Go and sanitizers reserve "
            "more than they use, and fail",
            "sysctl -w vm.overcommit_memory=0",
        )
    else:
        yield ok("overcommit", "as usual" if mode == 0 else "always")


def panic_on_oom(machine: Machine) -> Iterator[Finding]:
    """Whether running out of memory stops the machine."""
    mode = machine.memory.panic_on_oom
    if mode is None:
        yield unknown("panic-on-oom", "vm.panic_on_oom")
    elif mode == 2:
        yield failure(
            "panic-on-oom",
            "a learner's program that reaches its memory limit stops the whole machine",
            "sysctl -w vm.panic_on_oom=0",
        )
    elif mode == 1:
        yield warning(
            "panic-on-oom",
            "the machine stops when its memory is used up, where killing a sandbox would do",
            "sysctl -w vm.panic_on_oom=0",
        )
    else:
        yield ok("panic-on-oom", "off")


CHECKS: Final = (memory, swap, overcommit, panic_on_oom)
