"""What stands beside a sandbox's own walls, or behind them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from assay.doctor.checks.boot import with_boot_parameter
from assay.doctor.facts import Machine
from assay.doctor.findings import Finding, listed, note, ok, unknown, warning


def core_dumps(machine: Machine) -> Iterator[Finding]:
    """Whether a crash in a sandbox starts a program of the host."""
    pattern = machine.hardening.core_pattern
    if pattern is None:
        yield unknown("core-pattern", "kernel.core_pattern")
    elif pattern.startswith(("|", "@")):
        words = pattern.lstrip("|@").split()
        handler = words[0] if words else "nothing"
        yield warning(
            "core-pattern",
            f"crashes are handed to {handler} on the host, with what learners made of them",
            "sysctl -w kernel.core_pattern=core",
        )
    else:
        yield ok("core-pattern", f"a file ({pattern or 'none'}), and none in sandboxes")


def mandatory_access(machine: Machine) -> Iterator[Finding]:
    """AppArmor and SELinux."""
    facts = machine.hardening
    if facts.apparmor is None or facts.selinux is None:
        yield unknown("access-control", "AppArmor and SELinux")
        return
    active = []
    if facts.apparmor:
        profile = facts.apparmor_profile or "unconfined"
        active.append(f"AppArmor (this process: {profile})")
    if facts.selinux:
        active.append(f"SELinux ({facts.selinux})")
    if active:
        yield ok("access-control", " and ".join(active))
    else:
        yield note(
            "access-control", "neither AppArmor nor SELinux: one wall fewer behind the others"
        )


def ptrace(machine: Machine) -> Iterator[Finding]:
    """Yama. Sandboxes forbid ptrace themselves; this is for the host's own processes."""
    scope = machine.hardening.ptrace_scope
    if scope is None:
        yield unknown("ptrace-scope", "kernel.yama.ptrace_scope")
    elif scope > 0:
        yield ok("ptrace-scope", f"{scope}: programs can't trace any other of their user")
    elif scope == 0:
        yield note(
            "ptrace-scope",
            "0: on the host, programs can trace all others of their user",
            "sysctl -w kernel.yama.ptrace_scope=1",
        )
    else:
        yield note("ptrace-scope", "this kernel has no Yama; sandboxes forbid ptrace themselves")


def terminals(machine: Machine) -> Iterator[Finding]:
    """TIOCSTI lets a program type for whoever has the same terminal."""
    legacy = machine.hardening.legacy_tiocsti
    if legacy:
        yield note(
            "legacy-tiocsti",
            "on: a program can type into the terminal that it was started from; sandboxes get "
            "terminals of their own",
            "sysctl -w dev.tty.legacy_tiocsti=0",
        )
    elif legacy is False:
        yield ok("legacy-tiocsti", "off")


def vsyscall(machine: Machine) -> Iterator[Finding]:
    """Code at an address that never changes."""
    match machine.hardening.vsyscall:
        case None:
            yield unknown("vsyscall", "/proc/self/maps")
        case "emulate":
            yield note(
                "vsyscall",
                "readable code at a fixed address, which only programs from before 2013 need",
                with_boot_parameter("vsyscall=xonly"),
            )
        case mode:
            yield ok("vsyscall", mode)


def hidepid(machine: Machine) -> Iterator[Finding]:
    """Whether users of the host see one another's processes. Sandboxes never see the host's."""
    option = machine.hardening.hidepid
    if option is None:
        yield unknown("hidepid", "how /proc is mounted")
    elif option in ("", "0", "off"):
        yield note("hidepid", "off on the host; sandboxes have a /proc of their own that hides")
    else:
        yield ok("hidepid", option)


def panic_on_warn(machine: Machine) -> Iterator[Finding]:
    """A warning of the kernel that a learner finds a way to should not stop the machine."""
    if machine.hardening.panic_on_warn:
        yield warning(
            "panic-on-warn",
            "any warning of the kernel stops the machine",
            "sysctl -w kernel.panic_on_warn=0",
        )


def protected_files(machine: Machine) -> Iterator[Finding]:
    """What the kernel refuses in /tmp and its like; it is one switch for host and sandboxes."""
    protections = machine.hardening.protections
    if protections is None:
        yield unknown("protected-files", "fs.protected_symlinks and its like")
        return
    off = [f"fs.protected_{name}" for name, value in protections.items() if value == 0]
    if off:
        yield warning(
            "protected-files",
            f"{listed(off)} {'is' if len(off) == 1 else 'are'} 0: in /tmp a learner can lay out "
            "links, pipes and files that a privileged program then follows or opens",
            "sysctl -w " + " ".join(f"{name}=1" for name in off),
        )
    else:
        yield ok("protected-files", "links, pipes and files of others in /tmp are not followed")


def mitigations(machine: Machine) -> Iterator[Finding]:
    """Whether programs can read through the processor what they may not."""
    texts = machine.processors.vulnerabilities
    if texts is None:
        yield unknown("mitigations", "the processor's vulnerabilities")
        return
    bare = sorted(name for name, text in texts.items() if text.startswith("Vulnerable"))
    if machine.kernel.has_parameter("mitigations=off"):
        yield warning(
            "mitigations",
            "switched off at boot: sandboxes can read one another's memory",
            "sed -i 's/mitigations=off//' /etc/default/grub && update-grub && reboot",
        )
    elif bare and machine.kernel.hypervisor:
        yield warning(
            "mitigations",
            f"the processor is open to {listed(bare)}; only who runs this virtual machine's host "
            "can mend it",
        )
    elif bare:
        yield warning(
            "mitigations",
            f"the processor is open to {listed(bare)}",
            "apt-get install intel-microcode amd64-microcode && reboot",
        )
    else:
        yield ok("mitigations", "on for all that the processor is known for")


def core_sharing(machine: Machine) -> Iterator[Finding]:
    """What shares a core shares its caches, and can listen to the other's work."""
    match machine.processors.threads_share_cores:
        case None:
            yield unknown("smt", "whether threads share cores")
        case True:
            yield note(
                "smt",
                "on: two learners can share a core at a time, which is a side channel between them",
                "echo off > /sys/devices/system/cpu/smt/control",
            )
        case _:
            yield ok("smt", "no two threads share a core (learners still take turns on one)")


CHECKS: Final = (
    core_dumps,
    mandatory_access,
    ptrace,
    terminals,
    vsyscall,
    hidepid,
    panic_on_warn,
    protected_files,
    mitigations,
    core_sharing,
)
