"""Network namespaces of `lean`: who has one, and which serve a second sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from assay.agent.session import Session, open_session
from assay.domain.command import Command
from assay.driver.port import SandboxSpec
from assay.drivers.lean import LeanDriver
from assay.drivers.linux.driver import LocalDriver

pytestmark = pytest.mark.root

LOOKS = """
import os, socket
for family, own in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"):
    socket.socket(family, socket.SOCK_STREAM).bind((own, 5000))
a, b = socket.socketpair()
a.send(b"to myself")
hidden = socket.socket(socket.AF_UNIX)
hidden.bind("\\0here")
hidden.listen()
print(open("/proc/net/dev").read().count(":"), socket.if_nameindex())
"""
DEEDS = {
    "a packet": """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))
""",
    "a packet of IPv6": """
import socket
socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"x", ("::1", 9))
""",
    "a connection": """
import socket
listener = socket.create_server(("127.0.0.1", 5000))
socket.create_connection(("127.0.0.1", 5000)).close()
""",
    "a packet for nowhere": """
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 9))
except OSError:
    pass
""",
    "a connection to nowhere of IPv6": """
import socket
try:
    socket.create_connection(("2001:db8::1", 9))
except OSError:
    pass
""",
    "a connection of MPTCP to nowhere": """
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect(("127.255.255.255", 9))
except OSError:
    pass
""",
    "a label of a flow that outlives its socket": """
import socket, struct
wanted = struct.pack("!16sI", socket.inet_pton(socket.AF_INET6, "::1"), 0)
wanted += struct.pack("BBHHHI", 0, 255, 1, 60, 60, 0)
made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
made.setsockopt(socket.IPPROTO_IPV6, 32, wanted)
assert len(open("/proc/net/ip6_flowlabel").readlines()) == 2
""",
}  # fmt: skip


async def did(session: Session, program: str) -> None:
    done = await session.run(Command(argv=("/usr/bin/python3", "-I", "-S", "-c", program)))
    assert done.outcome.success, (done.outcome, done.stderr)


def network_of(session: Session) -> int:
    return Path("/proc", session.sandbox.facts["process"], "ns/net").stat().st_ino


MANY = 10
"""Sandboxes of which one gets a network that is left: it rests until the kernel has forgotten its
sockets, and longer on a busy machine. The one that is left first is given away first."""


async def networks(
    driver: LocalDriver, spec: SandboxSpec, program: str, *, tries: int = 1
) -> tuple[int, int]:
    """Of a sandbox in which a program ran, and of the next one; or of a later one with the same."""
    async with open_session(driver, spec) as session:
        await did(session, program)
        first = network_of(session)
    for _ in range(tries):
        await asyncio.sleep(0.2)
        async with open_session(driver, spec) as session:
            await did(session, "import socket; socket.create_server(('127.0.0.1', 5000))")
            if (second := network_of(session)) == first:
                break
    return first, second


async def test_one_in_which_nothing_happened_serves_a_second_sandbox(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    first, second = await networks(lean, spec, LOOKS, tries=MANY)

    assert second == first


@pytest.mark.parametrize("deed", DEEDS)
async def test_none_in_which_anything_happened_serves_a_second_sandbox(
    lean: LocalDriver, spec: SandboxSpec, deed: str
) -> None:
    first, second = await networks(lean, spec, DEEDS[deed])

    assert second != first


JOINS = """
import os, socket, struct
for family, level, option, what in (
    (socket.AF_INET, socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
     socket.inet_aton("239.1.2.3") + socket.inet_aton("127.0.0.1")),
    (socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
     socket.inet_pton(socket.AF_INET6, "ff05::1:3") + struct.pack("i", 1)),
):
    socket.socket(family, socket.SOCK_DGRAM).setsockopt(level, option, what)
os._exit(0)
"""


async def test_what_is_said_later_of_who_joined_a_group_is_said_in_no_other_sandbox(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    for _ in range(5):
        async with open_session(lean, spec) as session:
            await did(session, JOINS)
        async with open_session(lean, spec) as session:
            await asyncio.sleep(0.05)
            text = "print(open('/proc/net/dev').read().split('lo:')[1].split()[:2])"
            command = Command(argv=("/usr/bin/python3", "-I", "-S", "-c", text))
            assert (await session.run(command)).stdout == b"['0', '0']\n"


async def test_a_second_sandbox_finds_nothing_in_it_that_a_first_one_would_not(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    everything = """
import os
for name in sorted(os.listdir("/proc/net")):
    path = f"/proc/net/{name}"
    if os.path.isfile(path) and os.access(path, os.R_OK) and name not in {of_the_machine}:
        print(name, open(path, errors="replace").read())
print(os.popen("cat /proc/sys/net/core/somaxconn /proc/sys/net/ipv4/tcp_[rw]mem").read())
"""
    of_the_machine = {"sockstat", "protocols", "softnet_stat", "unix", "packet", "psched"}
    seen: list[tuple[int, str]] = []
    while len(seen) <= MANY:
        async with open_session(lean, spec) as session:
            program = everything.replace("{of_the_machine}", repr(of_the_machine))
            command = Command(argv=("/usr/bin/python3", "-I", "-S", "-c", program))
            seen.append((network_of(session), (await session.run(command)).stdout.decode()))
        if seen[0][0] in [network for network, _ in seen[1:]]:
            break
        await asyncio.sleep(0.2)
    (first, before), (second, after) = seen[0], seen[-1]

    assert second == first
    assert after == before
    assert "netstat" in after


async def test_two_sandboxes_at_a_time_never_have_the_same(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(lean, spec) as one, open_session(lean, spec) as other:
        assert network_of(one) != network_of(other)
    async with open_session(lean, spec) as one, open_session(lean, spec) as other:
        assert network_of(one) != network_of(other)


async def test_nobody_but_its_own_processes_is_in_it(lean: LocalDriver, spec: SandboxSpec) -> None:
    async with open_session(lean, spec) as session:
        assert isinstance(lean, LeanDriver)
        assert Path(f"/proc/{lean.helper}/ns/net").stat().st_ino != network_of(session)
        # Not even by a descriptor: who is made meanwhile could go there.
        async with open_session(lean, spec) as later:
            own = f"net:[{network_of(session)}]"
            agent = later.sandbox.facts["process"]
            for each in Path(f"/proc/{agent}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # it has closed that meanwhile
                    assert str(each.readlink()) != own


async def test_a_helper_that_is_killed_takes_none_with_it_that_is_in_use(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    assert isinstance(lean, LeanDriver)
    async with open_session(lean, spec) as session:
        assert lean.helper is not None
        os.kill(lean.helper, signal.SIGKILL)
        await did(session, DEEDS["a connection"])
        async with open_session(lean, spec) as later:
            assert network_of(later) != network_of(session)
            await did(later, DEEDS["a connection"])
