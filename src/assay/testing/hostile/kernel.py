"""The kernel's surface: calls that no learner needs.

How these cases fail when a protection is off: without a seccomp profile most of `syscalls` is
refused by missing capabilities, but user namespaces, io_uring, keyrings, perf, userfaultfd, bpf
and the kernel's log are not; with a profile that knows only 64-bit calls, `foreign` fails.
"""

from __future__ import annotations

from pathlib import Path

from assay.domain.outcome import OutcomeKind
from assay.testing.case import Group, NotTestable, expect, expect_outcome
from assay.testing.hostile.processes import expect_usable
from assay.testing.verdicts import expect_refused
from assay.testing.workbench import Workbench

group = Group("kernel", hostile=True)


@group.case()
async def forbidden_calls(bench: Workbench) -> None:
    """Namespaces, mounts, keyrings, bpf, perf, io_uring, modules, tracing and more are refused."""
    session = await bench.session()
    verdicts = expect_refused(
        await bench.said(session, "syscalls", wall=25.0), own_kernel=bench.capabilities.own_kernel
    )
    expect(len(verdicts) > 80, f"only {len(verdicts)} calls were tried")
    await expect_usable(bench, session)


@group.case("privilege_separation")
async def forbidden_calls_as_root(bench: Workbench) -> None:
    """They are refused to the sandbox's root as well."""
    session = await bench.session()
    expect_refused(
        await bench.said(session, "syscalls", privileged=True, wall=25.0),
        own_kernel=bench.capabilities.own_kernel,
    )
    await expect_usable(bench, session)


def _need_other_architectures(bench: Workbench) -> None:
    """User-mode-linux takes a 32-bit call for the 64-bit one that has its number."""
    if "User Mode Linux" in Path("/proc/cpuinfo").read_text():
        raise NotTestable("user-mode-linux knows no calls but its own")
    if bench.capabilities.own_kernel:
        raise NotTestable("own_kernel: it may take them for other calls of its own")


@group.case()
async def calls_of_other_architectures(bench: Workbench) -> None:
    """The same calls by their 32-bit and x32 numbers are refused, too."""
    _need_other_architectures(bench)
    expect_refused(await bench.said(await bench.session(), "foreign"))


@group.case("privilege_separation")
async def calls_of_other_architectures_as_root(bench: Workbench) -> None:
    """They are refused to the sandbox's root as well."""
    _need_other_architectures(bench)
    expect_refused(await bench.said(await bench.session(), "foreign", privileged=True))


@group.case()
async def socket_families(bench: Workbench) -> None:
    """Raw and packet sockets, odd netlink, and families that nobody needs are refused."""
    expect_refused(
        await bench.said(await bench.session(), "sockets"), own_kernel=bench.capabilities.own_kernel
    )


@group.case()
async def filters(bench: Workbench) -> None:
    """Filters of sockets and of system calls, which fill the host's own memory, are refused."""
    expect_refused(
        await bench.said(await bench.session(), "filters"), own_kernel=bench.capabilities.own_kernel
    )


@group.case("privilege_separation")
async def filters_as_root(bench: Workbench) -> None:
    """They are refused to the sandbox's root as well."""
    expect_refused(
        await bench.said(await bench.session(), "filters", privileged=True),
        own_kernel=bench.capabilities.own_kernel,
    )


@group.case("privilege_separation")
async def clocks_as_root(bench: Workbench) -> None:
    """The sandbox's root cannot set a clock either."""
    expect_refused(
        await bench.said(await bench.session(), "clock", privileged=True),
        own_kernel=bench.capabilities.own_kernel,
    )


@group.case()
async def crash_leaves_no_harm(bench: Workbench) -> None:
    """Fifty crashes in a row leave the sandbox as it was."""
    session = await bench.session()
    for _ in range(50):
        completed = await bench.run(session, "crash")
        expect_outcome(completed.outcome, OutcomeKind.SIGNALED, signal=11)
    await expect_usable(bench, session)
