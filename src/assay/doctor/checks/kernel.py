"""The kernel, what it runs on, its clock, its randomness, and hardware virtualisation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from assay.doctor.facts import Machine
from assay.doctor.findings import Finding, failure, note, ok, unknown, warning

_OLDEST: Final = (5, 6)
"""openat2, with which the agent follows no link out of a folder."""
_GOOD: Final = (5, 14)
"""cgroup.kill, with which nothing survives."""
_FAST_CLOCKS: Final = frozenset(
    {"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"}
)
_KVM_API: Final = 12


def kernel(machine: Machine) -> Iterator[Finding]:
    """Whether the kernel is new enough."""
    facts = machine.kernel
    if facts.release is None:
        yield unknown("kernel", "its version")
        return
    shown = f"Linux {facts.release} on {facts.architecture or 'an unknown processor'}"
    if facts.distribution:
        shown += f", {facts.distribution}"
    upgrade = "apt-get update && apt-get full-upgrade && reboot"
    if facts.version is None:
        yield note("kernel", f"{shown}: a version that does not say how old it is")
    elif facts.version < _OLDEST:
        yield failure("kernel", f"{shown}: too old, the agent needs Linux 5.6", upgrade)
    elif facts.version < _GOOD:
        yield warning(
            "kernel", f"{shown}: cgroup.kill came with Linux 5.14, cleaning up is slower", upgrade
        )
    else:
        yield ok("kernel", shown)


def place(machine: Machine) -> Iterator[Finding]:
    """Metal, virtual machine or container."""
    hypervisor, container = machine.kernel.hypervisor, machine.kernel.container
    if container is None or hypervisor is None:
        yield unknown("runs-on", "whether this is a virtual machine")
    elif container == "wsl":
        yield note(
            "runs-on", "Windows Subsystem for Linux: good for trying Assay out, not to serve"
        )
    elif container:
        yield note(
            "runs-on",
            f"a container ({container}): sandboxes in it need CAP_SYS_ADMIN and control groups "
            "that it may write",
        )
    elif hypervisor:
        yield ok("runs-on", f"a virtual machine ({hypervisor})")
    else:
        yield ok("runs-on", "the metal")


def clock(machine: Machine) -> Iterator[Finding]:
    """Whether reading the clock is fast, and so measurements are good."""
    source = machine.kernel.clock_source
    if source is None:
        yield unknown("clock", "the clock source")
    elif source in _FAST_CLOCKS:
        yield ok("clock", source)
    else:
        yield note(
            "clock",
            f"{source}: every look at it is a system call, so programs that measure time are slow",
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
        )


def entropy(machine: Machine) -> Iterator[Finding]:
    """Whether secrets are secret."""
    bits, version = machine.kernel.entropy_bits, machine.kernel.version
    if bits is None:
        yield unknown("entropy", "the kernel's entropy")
    elif bits < 128 and (version is None or version < (5, 18)):
        yield warning(
            "entropy",
            f"the kernel has {bits} bits of entropy: whoever needs randomness waits",
            "apt-get install rng-tools5",
        )
    else:
        yield ok("entropy", f"{bits} bits")


def kvm(machine: Machine) -> Iterator[Finding]:
    """Whether virtual machines would be fast here. No sandbox of crun or runc needs them."""
    facts = machine.kvm
    if facts.there is None:
        yield unknown("kvm", "/dev/kvm")
    elif not facts.there:
        load = "modprobe kvm_intel || modprobe kvm_amd" if facts.processor_can else ""
        yield note("kvm", "no /dev/kvm: drivers with virtual machines can't be used here", load)
    elif facts.error in ("EACCES", "EPERM"):
        user = machine.rights.user or "USER"
        yield note(
            "kvm", "/dev/kvm may not be opened by you", f"usermod --append --groups kvm {user}"
        )
    elif facts.error or facts.api != _KVM_API:
        yield note("kvm", f"/dev/kvm does not work: {facts.error or f'version {facts.api}'}")
    elif machine.kernel.has_parameter("nested_pvm=1"):
        yield note(
            "kvm", "/dev/kvm opens, but is PVM's: it boots only kernels that are built for PVM"
        )
    else:
        yield ok("kvm", "/dev/kvm works")


CHECKS: Final = (kernel, place, clock, entropy, kvm)
