"""Ways out of a sandbox without a network."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

from assay.testing.case import Group, expect, expect_equal
from assay.testing.verdicts import expect_refused
from assay.testing.workbench import Workbench

group = Group("network", hostile=True, needs=("network_off",))


def _own_addresses() -> list[str]:
    """The addresses of this host, as the kernel routes them, and its loopback."""
    found = {"127.0.0.1"}
    with suppress(OSError):
        lines = Path("/proc/net/fib_trie").read_text().splitlines()
        for line, below in pairwise(lines):
            if "/32 host LOCAL" in below:
                found.add(line.split()[-1])
    return sorted(found)


@asynccontextmanager
async def _listening() -> AsyncIterator[tuple[int, list[str]]]:
    """A TCP server on all addresses of the host: its port, and who called."""
    callers: list[str] = []

    def on_call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(str(writer.get_extra_info("peername")))
        writer.close()

    server = await asyncio.start_server(on_call, "0.0.0.0", 0)  # noqa: S104
    try:
        yield server.sockets[0].getsockname()[1], callers
    finally:
        server.close()
        await server.wait_closed()


@group.case(timeout=60)
async def egress(bench: Workbench) -> None:
    """No packet leaves: TCP, UDP, ICMP, DNS, IPv6, metadata, private ranges, the host itself."""
    session = await bench.session()
    async with _listening() as (port, callers):
        targets = [text for address in _own_addresses() for text in (address, str(port))]
        verdicts = expect_refused(
            await bench.said(session, "egress", *targets, wall=50.0),
            own_kernel=bench.capabilities.own_kernel,
        )
    expect_equal(callers, [], "who reached the host")
    waited = [name for name, verdict in verdicts.items() if verdict.endswith("TIMEOUT")]
    expect_equal(waited, [], "attempts that ran into a time limit: something took the packet")


@group.case("privilege_separation", timeout=60)
async def egress_as_root(bench: Workbench) -> None:
    """The sandbox's root has no way out either."""
    session = await bench.session()
    async with _listening() as (port, callers):
        targets = [text for address in _own_addresses() for text in (address, str(port))]
        output = await bench.said(session, "egress", *targets, privileged=True, wall=50.0)
        expect_refused(output, own_kernel=bench.capabilities.own_kernel)
    expect_equal(callers, [], "who reached the host")
    expect_refused(
        await bench.said(session, "sockets", privileged=True),
        own_kernel=bench.capabilities.own_kernel,
    )


@group.case()
async def loopback_alone(bench: Workbench) -> None:
    """The only interface that is up is loopback, and it works."""
    session = await bench.session()
    expect_equal(await bench.said(session, "interfaces"), b"lo\n", "the interfaces")
    expect_equal(await bench.said(session, "loopback"), b"loopback ok\n", "a connection to itself")


@group.case()
async def loopback_is_each_sandboxs_own(bench: Workbench) -> None:
    """What listens on one sandbox's loopback is not there in another."""
    one, two = await bench.session(), await bench.session()
    server = await bench.start(one, "serve", "8089")
    await server.read(b"listening\n")
    expect_refused(
        await bench.said(two, "egress", "127.0.0.1", "8089", wall=25.0),
        own_kernel=bench.capabilities.own_kernel,
    )
    await server.execution.cancel()
    await server.conclude()


@group.case()
async def abstract_sockets_of_the_host(bench: Workbench) -> None:
    """The host's abstract UNIX sockets are not there in a sandbox."""
    name = f"probe-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"\0{name}")
        listener.listen(1)
        expect_refused(
            await bench.said(await bench.session(), "dial-abstract", name),
            own_kernel=bench.capabilities.own_kernel,
        )
        listener.setblocking(False)
        with suppress(BlockingIOError):
            listener.accept()[0].close()
            expect(False, "a sandbox reached an abstract socket of the host")
