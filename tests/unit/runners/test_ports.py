"""Ports of runners: only those that are exposed, with back-pressure, gone with the lease."""

import asyncio

import pytest

from assay.domain.errors import ConnectionLost, NotFound
from assay.runners import ports as ports_module

from .conftest import begin, environment, until


@pytest.fixture
async def with_port(start):
    served = {"web": environment("web", exposed_ports=(8080, 9090))}
    return await start(environments=served)


async def exchange(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        if writer.can_write_eof():
            writer.write_eof()
        return await asyncio.wait_for(reader.read(-1), 5)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
        await asyncio.wait((asyncio.ensure_future(writer.wait_closed()),))


async def test_an_environment_without_ports_has_none(start) -> None:
    server = await start()
    runner = await server.runners.create("bash")
    assert runner.lease.ports == ()
    with pytest.raises(NotFound):
        await runner.open_port(8080)


async def test_an_exposed_port_is_mapped_and_answers(with_port) -> None:
    runner = await with_port.runners.create("web")
    assert [mapping.exposed_port for mapping in runner.lease.ports] == [8080, 9090]
    assert (await with_port.storage.leases())[0].ports == runner.lease.ports
    attachment = await begin(runner, "serve")
    sandbox = with_port.driver.sandbox(runner.lease.sandbox_id)
    await until(lambda: sandbox.ports)
    data = b"hello " * 100_000
    mapped = runner.lease.ports[0].port
    assert await exchange(mapped, data) == data.upper()
    assert await exchange(runner.lease.ports[1].port, b"x") == b""
    await attachment.abandon()


async def test_a_stream_to_a_port_is_opened_and_counted(with_port) -> None:
    runner = await with_port.runners.create("web")
    attachment = await begin(runner, "serve")
    sandbox = with_port.driver.sandbox(runner.lease.sandbox_id)
    await until(lambda: sandbox.ports)
    stream = await runner.open_port(8080)
    await stream.write(b"abc")
    assert await stream.read(10) == b"ABC"
    assert runner._tunnels == 1
    await stream.aclose()
    await stream.aclose()
    assert runner._tunnels == 0
    nothing = await runner.open_port(9090)
    with pytest.raises(ConnectionLost):
        await nothing.read(1)
    await nothing.aclose()
    await attachment.abandon()


async def test_too_many_connections_are_hung_up_on(with_port, monkeypatch) -> None:
    monkeypatch.setattr(ports_module, "CONNECTIONS_MOST", 1)
    runner = await with_port.runners.create("web")
    attachment = await begin(runner, "serve")
    sandbox = with_port.driver.sandbox(runner.lease.sandbox_id)
    await until(lambda: sandbox.ports)
    mapped = runner.lease.ports[0].port
    first, first_writer = await asyncio.open_connection("127.0.0.1", mapped)
    first_writer.write(b"a")
    assert await first.read(1) == b"A"
    assert await exchange(mapped, b"b") == b""
    first_writer.close()
    await first_writer.wait_closed()
    await until(lambda: runner._tunnels == 0)
    assert await exchange(mapped, b"c") == b"C"
    await attachment.abandon()


async def test_the_end_of_a_lease_closes_its_ports_and_hangs_up(with_port) -> None:
    runner = await with_port.runners.create("web")
    await begin(runner, "serve")
    sandbox = with_port.driver.sandbox(runner.lease.sandbox_id)
    await until(lambda: sandbox.ports)
    mapped = runner.lease.ports[0].port
    reader, writer = await asyncio.open_connection("127.0.0.1", mapped)
    writer.write(b"a")
    assert await reader.read(1) == b"A"
    await with_port.runners.delete(runner.id)
    assert await asyncio.wait_for(reader.read(-1), 5) == b""
    writer.close()
    with pytest.raises(OSError, match="onnect"):
        await asyncio.open_connection("127.0.0.1", mapped)


async def test_the_next_server_listens_where_the_killed_one_did(start) -> None:
    served = {"web": environment("web", exposed_ports=(8080,))}
    first = await start(environments=served)
    runner = await first.runners.create("web")
    await first.stop(killed=True)
    second = await start(environments=served)
    await second.adopt_all()
    assert second.runners.get(runner.id).lease.ports == runner.lease.ports


async def test_a_lease_that_was_over_before_the_next_server_came_leaves_no_listener(start) -> None:
    served = {"web": environment("web", exposed_ports=(8080, 9090))}
    first = await start(environments=served)
    runner = await first.runners.create("web", most_seconds=0.3)
    await first.stop(killed=True)
    await asyncio.sleep(0.3)
    second = await start(environments=served)
    await second.adopt_all()
    await until(lambda: second.stock.discarded)
    assert second.runners.all() == []
    for mapping in runner.lease.ports:
        with pytest.raises(OSError, match="onnect"):
            await asyncio.open_connection("127.0.0.1", mapping.port)
