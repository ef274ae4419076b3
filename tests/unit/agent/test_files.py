"""Files in and out: entries on the wire, streaming, errors, and what a hostile agent may say."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.agent import protocol as wire
from assay.agent.client import Agent
from assay.agent.entries import END_OF_ENTRIES, Entry, EntryKind, EntryReader, entry_header
from assay.agent.files import (
    delete_files,
    download,
    get_files,
    list_files,
    put_files,
    read_file,
    upload,
    write_file,
)
from assay.domain.errors import FileError, InvalidInput, ProtocolViolation

W = "/workspace"


async def pieces(data: bytes, size: int = 7) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read_all(data: bytes, size: int = 7) -> list[tuple[Entry, bytes]]:
    reader = EntryReader(pieces(data, size))
    found = []
    while (one := await reader.next()) is not None:
        found.append((one[0], b"".join([piece async for piece in reader.content()])))
    return found


entries = st.builds(
    Entry,
    name=st.text(min_size=1, max_size=20).filter(
        lambda name: "\0" not in name and not name.startswith("/") and ".." not in name
    ),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 1),
    modified_ns=st.integers(-(2**63), 2**63 - 1),
    content=st.binary(max_size=50),
)


@given(st.lists(entries, max_size=5), st.integers(1, 60))
async def test_entries_survive_every_way_of_cutting_the_stream(
    sent: list[Entry], size: int
) -> None:
    data = b""
    for entry in sent:
        content = entry.content or b""
        data += entry_header(Entry(**{**as_fields(entry), "size": len(content)})) + content
    found = await read_all(data + END_OF_ENTRIES, size)
    assert [(entry.name, entry.mode, entry.modified_ns, content) for entry, content in found] == [
        (entry.name, entry.mode, entry.modified_ns, entry.content) for entry in sent
    ]


def as_fields(entry: Entry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in Entry.__slots__}


@given(st.binary(max_size=300), st.integers(1, 60))
async def test_arbitrary_bytes_are_entries_or_a_violation(data: bytes, size: int) -> None:
    with suppress(ProtocolViolation):
        await read_all(data, size)


HEADER = entry_header(Entry(name="name", size=3, content=b""))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEADER,
        HEADER + b"abc",
        b"?" + HEADER[1:] + b"abc" + END_OF_ENTRIES,
        HEADER[:1] + b"\x02" + HEADER[2:] + b"abc" + END_OF_ENTRIES,
        HEADER[:6] + b"\x01\0" + HEADER[8:] + b"abc" + END_OF_ENTRIES,
        HEADER.replace(b"name", b"/etc") + b"abc" + END_OF_ENTRIES,
        HEADER.replace(b"name", b"a/..") + b"abc" + END_OF_ENTRIES,
        HEADER.replace(b"name", b"a\0bc") + b"abc" + END_OF_ENTRIES,
        HEADER[:2] + b"\0\0" + HEADER[4:40] + b"abc" + END_OF_ENTRIES,
        HEADER[:2] + b"\xff\xff" + HEADER[4:] + bytes(70_000) + END_OF_ENTRIES,
    ],
    ids=range(11),
)
async def test_entries_that_are_cut_or_lead_out_are_violations(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        await read_all(data)


async def test_content_that_is_not_read_is_skipped() -> None:
    data = HEADER + b"abc" + entry_header(Entry(name="b", kind=EntryKind.FOLDER)) + END_OF_ENTRIES
    reader = EntryReader(pieces(data))
    names = []
    while (one := await reader.next()) is not None:
        names.append(one[0].name)
    assert names == ["name", "b"]


async def test_write_read_list_delete(session) -> None:
    agent = (await session()).agent
    await write_file(agent, W, "a/b.txt", b"hello", mode=0o600)
    assert await read_file(agent, W, "a/b.txt", most=5) == b"hello"
    found = {entry.name: entry for entry in await list_files(agent, W, depth=2)}
    assert set(found) == {"a", "a/b.txt"}
    assert found["a"].kind is EntryKind.FOLDER
    assert (found["a/b.txt"].size, found["a/b.txt"].mode) == (5, 0o600)
    assert [entry.name for entry in await list_files(agent, W, "a", depth=0)] == ["a"]
    await delete_files(agent, W, "a", "never")
    assert await list_files(agent, W) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [("none", "ENOENT"), (".", "EISDIR"), ("large", "EFBIG"), ("../etc/passwd", "EXDEV")],
)
async def test_failures_have_the_name_of_an_errno(session, path: str, reason: str) -> None:
    agent = (await session()).agent
    await write_file(agent, W, "large", bytes(1000))
    with pytest.raises(FileError) as failed:
        await read_file(agent, W, path, most=10)
    assert failed.value.reason == reason
    assert not agent._executions or await agent.ping()


async def test_an_empty_folder_is_no_file(session) -> None:
    agent = (await session()).agent
    await put_files(agent, W, [Entry(name="d", kind=EntryKind.FOLDER, mode=0o755)])
    with pytest.raises(FileError, match="directory"):
        await read_file(agent, W, "d", most=10)


async def test_a_listing_is_bounded(session) -> None:
    agent = (await session()).agent
    await put_files(agent, W, [Entry(name=f"f{i}", content=b"") for i in range(30)])
    with pytest.raises(FileError) as failed:
        await list_files(agent, W, most=20)
    assert failed.value.reason == "E2BIG"


async def test_folders_stream_out_with_their_content(session) -> None:
    agent = (await session()).agent
    wanted = {f"t/{i}/file": bytes([i]) * i * 1000 for i in range(30)}
    await put_files(agent, W, [Entry(name=n, content=data) for n, data in wanted.items()])
    found = {}
    async with aclosing(get_files(agent, W, "t", most=10**6)) as files:
        async for received in files:
            if received.has_content:
                data = b"".join([piece async for piece in received.content()])
                found[received.entry.name] = data
    assert found == wanted


async def test_more_content_than_asked_for_is_an_error(session) -> None:
    agent = (await session()).agent
    await put_files(agent, W, [Entry(name=f"{i}", content=bytes(100)) for i in range(5)])

    async def get_all() -> None:
        async for received in get_files(agent, W, most=450):
            async for _ in received.content():
                pass

    with pytest.raises(FileError) as failed:
        await get_all()
    assert failed.value.reason == "EFBIG"


async def test_a_reader_that_leaves_early_leaves_nothing_behind(session) -> None:
    opened = await session()
    agent = opened.agent
    await write_file(agent, W, "large", bytes(5_000_000))
    async with aclosing(download(agent, W, "large")) as content:
        async for _ in content:
            break
    await settle(opened)


async def settle(opened) -> None:
    """Until no execution is left at either end."""
    there = opened.driver.sandbox(opened.sandbox.id)
    async with asyncio.timeout(10):
        while opened.agent._executions or there.executions:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("source", ["file", "pieces"])
async def test_uploads_stream_from_files_and_iterators(session, source: str) -> None:
    agent = (await session()).agent
    data = bytes(range(256)) * 10_000
    reader = io.BytesIO(data) if source == "file" else pieces(data, 50_000)
    await upload(agent, W, "up", reader, len(data), mode=0o755)
    assert await read_file(agent, W, "up", most=10**7) == data
    assert (await list_files(agent, W, "up"))[0].mode == 0o755


@pytest.mark.parametrize("size", [99, 101])
async def test_a_source_of_another_size_is_the_callers_mistake(session, size: int) -> None:
    opened = await session()
    agent = opened.agent
    with pytest.raises(InvalidInput):
        await upload(agent, W, "up", io.BytesIO(bytes(100)), size)
    await settle(opened)
    assert await list_files(agent, W) == []


async def test_a_full_disk_is_said_whatever_is_still_to_be_sent(session) -> None:
    agent = (await session()).agent
    with pytest.raises(FileError) as failed:
        await upload(agent, W, "up", pieces(bytes(80_000_000), 10**6), 80_000_000)
    assert failed.value.reason == "ENOSPC"
    await write_file(agent, W, "small", b"x")


async def test_a_cancelled_upload_leaves_nothing_behind(session) -> None:
    opened = await session()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(10_000)
            await asyncio.sleep(0.001)

    task = asyncio.create_task(upload(opened.agent, W, "up", endless(), 2**40))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait((task,))
    await settle(opened)
    assert await list_files(opened.agent, W) == []


@pytest.mark.parametrize("name", ["a\0b", "", "\ud800", "x" * 5000])
async def test_names_that_no_file_can_have_are_the_callers_mistake(session, name: str) -> None:
    agent = (await session()).agent
    with pytest.raises(InvalidInput):
        await write_file(agent, W, name, b"")


async def test_names_need_not_be_text(session) -> None:
    agent = (await session()).agent
    name = b"\xff\xfe \n\xc3".decode("utf-8", "surrogateescape")
    await write_file(agent, W, name, b"x")
    assert [entry.name for entry in await list_files(agent, W)] == [name]
    assert await read_file(agent, W, name, most=10) == b"x"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"ENOSPC a: No space left on device\nEIO b: x\n", "ENOSPC"),
        (b"", "EIO"),
        (b"\xff\xff garbage", "EIO"),
        (b"E" * 100_000, "EIO"),
    ],
)
async def test_what_the_agent_says_of_a_failure_is_read_with_care(
    link, message: bytes, reason: str
) -> None:
    agent, peer = await link()
    task = asyncio.create_task(delete_files(agent, W, "x"))
    await peer.expect(wire.EXEC)
    offset = 0
    for start in range(0, len(message), 50_000):
        piece = message[start : start + 50_000]
        await peer.output(1, offset, piece, stream=2)
        offset += len(piece)
    await peer.send(wire.frame(1, wire.EXIT, wire.number(32, 1)))
    with pytest.raises(FileError) as failed:
        await task
    assert failed.value.reason == reason


async def flood(peer, piece: bytes, stream: int) -> int:
    """Send one piece again and again, as the window allows, until the host has had enough."""
    sent = acknowledged = 0
    await peer.window(1, 2**20)
    while True:
        while sent + len(piece) - acknowledged <= wire.WINDOW_BYTES:
            await peer.output(1, sent, piece, stream=stream)
            sent += len(piece)
        frame = await peer.receive()
        if frame.type == wire.CANCEL:
            return sent
        if frame.type == wire.ACK:
            acknowledged = wire.to_number(frame.payload)


async def get_all(agent: Agent, **bounds: int) -> list[str]:
    async with aclosing(get_files(agent, W, most=10, **bounds)) as files:
        return [received.entry.name async for received in files]


ONE = entry_header(Entry(name="x", kind=EntryKind.FOLDER))


@pytest.mark.parametrize(
    ("ask", "stream", "bytes_most"),
    [
        (lambda agent: list_files(agent, W), 1, 10_000 * len(ONE)),
        (lambda agent: list_files(agent, W, most_bytes=5000), 1, 5000),
        (lambda agent: list_files(agent, W), 2, 2**20),
        (lambda agent: get_all(agent), 1, 100_000 * len(ONE)),
        (lambda agent: get_all(agent, most_entries=50), 1, 50 * len(ONE)),
        (lambda agent: get_all(agent, most_bytes=5000), 1, 5000),
        (lambda agent: delete_files(agent, W, "x"), 1, 2**20),
        (lambda agent: delete_files(agent, W, "x"), 2, 2**20),
        (lambda agent: write_file(agent, W, "x", b""), 2, 2**20),
    ],
    ids=["list", "names", "complaints", "get", "few", "few bytes", "delete", "moans", "put"],
)
async def test_an_answer_without_end_is_cut(
    link, ask: Callable[[Agent], Awaitable[object]], stream: int, bytes_most: int
) -> None:
    agent, peer = await link()
    asking = asyncio.ensure_future(ask(agent))
    flooding = asyncio.create_task(flood(peer, ONE * 1000, stream))
    with pytest.raises(FileError) as failed:
        await asking
    assert failed.value.reason == "E2BIG"
    assert agent.lost is None
    async with asyncio.timeout(10):
        assert await flooding <= bytes_most + 2 * wire.WINDOW_BYTES


async def test_entries_that_have_come_do_not_keep_others_waiting() -> None:
    reader = EntryReader(pieces(ONE * 10_000 + END_OF_ENTRIES, size=60_000))
    read = 0

    async def read_them() -> None:
        nonlocal read
        while await reader.next() is not None:
            read += 1

    task = asyncio.create_task(read_them())
    seen = [0]
    while not task.done():
        await asyncio.sleep(0)
        seen.append(read)
    assert read == 10_000
    assert max(later - earlier for earlier, later in pairwise(seen)) <= 256
