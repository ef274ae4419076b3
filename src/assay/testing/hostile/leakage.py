"""What one sandbox, or one program in it, can learn of others.

"The next run" is the next lease, and so a fresh sandbox.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Final

from assay.agent.ports import open_port
from assay.domain.command import TerminalSize
from assay.domain.errors import AssayError
from assay.testing.case import (
    Failure,
    Group,
    NotTestable,
    expect,
    expect_equal,
    expect_in_time,
)
from assay.testing.verdicts import expect_refused, read_verdicts
from assay.testing.workbench import ENVIRONMENT, Workbench

group = Group("leakage", hostile=True)

_AGENTS_OWN = 4

_SHARED: Final = ("/", "/etc/passwd", "/.assay/agent")
_DEVICES: Final = {
    "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "fd", "stdin", "stdout",
    "stderr", "shm", "mqueue", "core", "console",
}  # fmt: skip
_ROOTS_OWN: Final = (
    # Of the image, and so no secret from the one who may read all of it:
    "read:/etc/shadow", "read:/etc/gshadow", "read:/etc/sudoers",
    # The agent's folder and groups, which are its own; what it can do there `agent` tries:
    "list:/.assay/control", "list:/.assay/cgroup/memory", "list:/.assay/cgroup/unified",
    # Process 1 has the same owner. Numbers of descriptors, but neither where they lead nor memory;
    # files that may be opened, but what would be written is refused, or harms the sandbox alone:
    "read:/proc/1/cmdline", "read:/proc/1/mountinfo", "read:/proc/1/cgroup",
    "list:/proc/1/fd", "list:/proc/1/fdinfo", "list:/proc/1/task/1/fd", "write:/proc/1/comm",
    "write:/proc/1/oom_score_adj", "write:/proc/1/clear_refs", "write:/proc/1/uid_map",
    "write:/proc/1/gid_map", "write:/proc/1/setgroups", "write:/proc/1/coredump_filter",
    "cmdline-of-others",
)  # fmt: skip
_SHOWN: Final = (
    "read:/proc/1/environ", "read:/proc/1/cmdline", "read:/proc/1/maps", "read:/proc/1/auxv",
    "read:/proc/1/mountinfo", "read:/proc/1/io", "read:/proc/1/cgroup",
    "list:/proc/1/fd", "list:/proc/1/fdinfo", "list:/proc/1/task/1/fd",
    "link:/proc/1/fd/0", "link:/proc/1/fd/3", "environ-of-others", "cmdline-of-others",
    "maps-of-others",
)  # fmt: skip
"""What everybody may know of all programs, where processes are not private; memory is not in it."""
_UNMASKED: Final = (
    "read:/proc/key-users", "read:/proc/slabinfo", "read:/proc/pagetypeinfo",
    "read:/proc/kpageflags", "read:/proc/kpagecount", "read:/proc/vmallocinfo",
    "write:/proc/bus/pci/00",
)  # fmt: skip
"""Of the host, where an engine's own list of masks holds. The last is a folder, which is there."""
_OWN_SETTINGS: Final = (
    "write:/proc/sys/kernel/hostname", "write:/proc/sys/kernel/shmmax",
    "write:/proc/sys/kernel/msgmax", "write:/proc/sys/kernel/sem",
    "write:/proc/sys/vm/overcommit_memory", "write:/proc/sys/net/ipv4/ip_forward",
    "write:/proc/sys/net/core/somaxconn",
)  # fmt: skip
"""Settings of a kernel of the sandbox's own, for its root to open."""
_OWN_DEVICES: Final = frozenset(("fuse", "net"))
"""Of such a kernel: its file systems and networks, not the host's."""


@group.case()
async def traces_of_an_earlier_learner(bench: Workbench) -> None:
    """Nothing that a learner leaves anywhere is there for the next one."""
    mark = uuid.uuid4().hex
    earlier = await bench.session()
    made = await bench.said(earlier, "mark", mark)
    expect(int(made.rpartition(b"=")[2]) >= 6, f"the probe left hardly a trace: {made!r}")
    again = await bench.said(earlier, "marks", mark)
    expect_equal(again.rpartition(b"=")[2], made.rpartition(b"=")[2], "the traces it finds itself")
    beside = await bench.session()
    await earlier.aclose()
    for session in (beside, await bench.session()):
        expect_equal(await bench.said(session, "marks", mark), b"marks=0\n", "what the next finds")


@group.case("privilege_separation")
async def traces_of_a_privileged_program(bench: Workbench) -> None:
    """Not even what the sandbox's root wrote is there for the next learner."""
    mark = uuid.uuid4().hex
    earlier = await bench.session()
    await bench.said(earlier, "mark", mark, privileged=True)
    await earlier.aclose()
    session = await bench.session()
    expect_equal(await bench.said(session, "marks", mark), b"marks=0\n", "what the next one finds")


@group.case()
async def abstract_sockets(bench: Workbench) -> None:
    """An abstract UNIX socket is reached from its own sandbox and from no other."""
    name = f"probe-{uuid.uuid4().hex}"
    one, two = await bench.session(), await bench.session()
    listening = await bench.start(one, "listen-abstract", name)
    await listening.read(b"listening\n")
    within = read_verdicts(await bench.said(one, "dial-abstract", name))
    expect_equal(within["abstract-socket"], "ALLOWED", "dialling in the same sandbox")
    expect_refused(await bench.said(two, "dial-abstract", name))
    await listening.execution.cancel()
    await listening.conclude()


@group.case()
async def locks_of_a_neighbour(bench: Workbench) -> None:
    """Locks on files that all sandboxes show are each sandbox's own, and are no messages."""
    await _expect_own_locks(bench, _SHARED)


@group.case("own_devices")
async def locks_on_devices(bench: Workbench) -> None:
    """The same goes for the devices that every sandbox has."""
    await _expect_own_locks(bench, ("/dev/null", "/dev/zero"))


async def _expect_own_locks(bench: Workbench, paths: Sequence[str]) -> None:
    if bench.capabilities.own_kernel:
        raise NotTestable("own_kernel: it keeps locks itself, and knows fewer kinds")
    one, two = await bench.session(), await bench.session()
    for path in paths:
        holding = await bench.start(one, "hold-locks", path)
        await holding.read(b"locked\n")
        within = await bench.said(one, "see-locks", path)
        beside = await bench.said(two, "see-locks", path)
        await holding.execution.cancel()
        await holding.conclude()
        expect_equal(within, b"flock=held posix=held description=held\n", f"{path} within")
        expect_equal(beside, b"flock=free posix=free description=free\n", f"{path} beside")


@group.case()
async def watching_a_neighbour(bench: Workbench) -> None:
    """A watched folder tells of one's own programs, and nothing of a neighbour's."""
    one, two = await bench.session(), await bench.session()
    for reader, expected in ((one, b"noticed=1\n"), (two, b"noticed=0\n")):
        watching = await bench.start(one, "watch", "/etc")
        if (await watching.read(b"\n")).startswith(b"watching"):  # else the kernel lacks it
            await bench.said(reader, "read", "/etc/passwd")
            noticed = await watching.read(b"\n")
            expect_in_time(reader is two or noticed == expected, "its own program was not noticed")
            expect_equal(noticed, expected, "what was noticed")
        await watching.conclude()


def _shown(bench: Workbench) -> set[str]:
    """What the driver says that it can't hide."""
    able = bench.capabilities
    return {
        *(() if able.private_processes else _SHOWN), *(() if able.masks else _UNMASKED),
    }  # fmt: skip


@group.case("privilege_separation")
async def looking_around(bench: Workbench) -> None:
    """A learner reads nothing of the host, of process 1 or of privileged programs, and writes
    none of the kernel's settings.
    """
    session = await bench.session()
    grader = await bench.start(
        session, "prompt", "ready", "30", privileged=True,
        environment={**ENVIRONMENT, "ANSWER": "42"},
    )  # fmt: skip
    await grader.read(b"ready")
    # The agent's own programs run with a learner's rights, but with its memory: not to be read.
    server = await bench.start(session, "serve", "8080")
    await server.read(b"listening\n")
    port = await open_port(session.agent, 8080)
    expect_refused(
        await bench.said(session, "look", wall=25.0),
        except_for=_shown(bench),
        own_kernel=bench.capabilities.own_kernel,
    )
    await port.aclose()
    await server.execution.cancel()
    await server.conclude()
    await grader.execution.cancel()
    await grader.conclude()


@group.case("privilege_separation")
async def looking_around_as_root(bench: Workbench) -> None:
    """The sandbox's root sees and sets nothing of the host either, nor the agent's memory."""
    session = await bench.session()
    output = await bench.said(session, "look", privileged=True, wall=25.0)
    own_kernel = bench.capabilities.own_kernel
    except_for = {*_ROOTS_OWN, *_shown(bench), *(_OWN_SETTINGS if own_kernel else ())}
    expect_refused(output, except_for=except_for, own_kernel=own_kernel)


@group.case("privilege_separation")
async def reaching_the_agent(bench: Workbench) -> None:
    """A learner cannot reach, read, replace or move the agent, its socket or its groups."""
    session = await bench.session()
    expect_refused(await bench.said(session, "agent"))
    await session.agent.ping()


@group.case("privilege_separation")
async def replacing_the_agent_as_root(bench: Workbench) -> None:
    """The sandbox's root cannot replace the agent's program, read its secret or raise limits."""
    session = await bench.session()
    expect_refused(await bench.said(session, "agent", privileged=True))
    await session.agent.ping()


@group.case("privilege_separation", "reattachment")
async def impersonating_the_agent(bench: Workbench) -> None:
    """A privileged program that listens in the agent's place is never sent the secret."""
    spec = bench.spec()
    session = await bench.session_of(spec)
    impostor = await bench.start(session, "usurp", privileged=True)
    await impostor.read(b"usurp")
    answered = False
    try:
        async with asyncio.timeout(bench.patient(8)):
            agent = await bench.connect_agent(session.sandbox.id, spec.secret, epoch=2)
            answered = await agent.ping() >= 0
    except (AssayError, TimeoutError):
        pass
    await asyncio.sleep(0.1)
    if not answered:  # else the true agent has answered, and the first connection is closed
        await impostor.execution.cancel()
        said = b"".join([chunk.data async for chunk in impostor.execution.output()])
        got = [line for line in said.splitlines() if line.startswith(b"received")]
        expect(all(line == b"received 0 bytes" for line in got), f"the impostor {got}")


@group.case("privilege_separation")
async def searching_the_secret(bench: Workbench) -> None:
    """The secret that opens the agent is found nowhere, by learners or by the sandbox's root."""
    spec = bench.spec()
    session = await bench.session_of(spec)
    for form in (spec.secret.reveal(), spec.secret.reveal().hex().encode()):
        inverse = bytes(255 - byte for byte in form).hex()
        for privileged in (False, True):
            expect_refused(await bench.said(session, "find-secret", inverse, privileged=privileged))
    # What it looks for it does find:
    await bench.said(session, "write", "/tmp/planted", "a planted secret")
    inverse = bytes(255 - byte for byte in b"a planted secret").hex()
    found = read_verdicts(await bench.said(session, "find-secret", inverse))
    expect(found["find-secret"].startswith("ALLOWED"), "the search finds nothing at all")


@group.case("privilege_separation", "private_processes")
async def other_processes(bench: Workbench) -> None:
    """A learner sees no process of other sandboxes, of the host, or of other users."""
    session, other = await bench.session(), await bench.session()
    foreign = await bench.start(other, "sleep", "30")
    for privileged in (False, True):
        output = await bench.said(session, "processes", privileged=privileged)
        lines = output.decode().splitlines()
        expect(len(lines) >= 1, "the probe does not even see itself")
        seen = [line for line in lines if not privileged and "uid=10001 " not in line]
        expect_equal(seen, [], "processes of other users")
        # The sandbox's root sees the agent, too: itself, its keepers and the prepared process.
        most = 1 + (_AGENTS_OWN if privileged else 0)
        expect(len(lines) <= most, f"{len(lines)} processes are visible")
    await foreign.execution.cancel()
    await foreign.conclude()


@group.case()
async def devices(bench: Workbench) -> None:
    """In /dev there are the harmless devices and no others."""
    names = (await bench.said(await bench.session(), "devices")).decode().split()
    expect("null" in names, "there is no /dev/null")
    harmless = _DEVICES | (_OWN_DEVICES if bench.capabilities.own_kernel else frozenset())
    expect_equal(sorted(set(names) - harmless), [], "devices that a learner does not need")


@group.case()
async def inherited_descriptors(bench: Workbench) -> None:
    """A program has its three streams and no other descriptor of the agent's."""
    session = await bench.session()
    for options in ({}, {"terminal": TerminalSize()}, {"privileged": True}, {"stdin": True}):
        output = await bench.said(session, "descriptors", **options)
        numbers = [line.split()[0] for line in output.decode().splitlines()]
        expect_equal(numbers, ["fd=0", "fd=1", "fd=2"], f"the descriptors with {options}")


@group.case()
async def descriptors_beside_others(bench: Workbench) -> None:
    """Programs that start at the same time do not inherit each other's streams."""
    session = await bench.session()
    others = [await bench.start(session, "cat", stdin=True) for _ in range(8)]
    for _ in range(10):
        output = await bench.said(session, "descriptors")
        numbers = [line.split()[0] for line in output.decode().splitlines()]
        expect_equal(numbers, ["fd=0", "fd=1", "fd=2"], "the descriptors")
    for started in others:  # had anyone inherited an input, this end would never come
        await started.execution.end_input()
        _, outcome = await started.conclude()
        expect(outcome.success, f"the outcome is {outcome}")


@group.case()
async def randomness(bench: Workbench) -> None:
    """Random numbers, the start-up seed and addresses differ between programs and sandboxes."""
    values: list[str] = []
    for _ in range(2):
        session = await bench.session()
        for _ in range(3):
            values.append((await bench.said(session, "random")).decode())
    columns = list(zip(*(value.split() for value in values), strict=True))
    if len(columns) != 3:
        raise Failure(f"the probe said {values[0]!r}")
    for name, column in zip(("getrandom", "AT_RANDOM", "stack address"), columns, strict=True):
        expect_equal(len(set(column)), len(values), f"the number of different values of {name}")


@group.case("privilege_separation")
async def another_users_files(bench: Workbench) -> None:
    """A learner can neither read nor replace what a privileged program keeps to itself."""
    session = await bench.session()
    await bench.said(session, "nest", "/tmp", "1", privileged=True)  # a folder of root's, mode 0700
    folder = f"/tmp/{'d' * 200}"
    await bench.said(session, "write", f"{folder}/tests", "hidden", privileged=True)
    for argv in (("read", f"{folder}/tests"), ("write", f"{folder}/tests", "mine")):
        completed = await bench.run(session, *argv)
        expect_equal(completed.stderr[:6], b"EACCES", f"`{argv[0]}` of a hidden file")
    completed = await bench.run(session, "link", "/etc/passwd", f"{folder}/tests")
    expect(not completed.outcome.success, "a hidden file was replaced")
