"""Files in and out of a sandbox."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable
from typing import Final

from assay.agent.entries import Entry, EntryKind
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
from assay.agent.session import Session
from assay.domain.command import WORKSPACE
from assay.domain.errors import FileError
from assay.domain.limits import MIB
from assay.testing import pattern
from assay.testing.case import Failure, Group, expect, expect_equal
from assay.testing.leaks import resident_bytes
from assay.testing.workbench import Workbench

group = Group("files")

_OUTSIDE: Final = ("../etc/passwd", "/etc/passwd", "a/../../etc/passwd", "../../..")


async def expect_file_error(work: Awaitable[object], what: str, *reasons: str) -> None:
    """Raise Failure unless the work fails with FileError, for one of these reasons if given."""
    try:
        await work
    except FileError as error:
        expect(
            not reasons or error.reason in reasons,
            f"{what} failed with {error.reason} instead of {' or '.join(reasons)}",
        )
        return
    raise Failure(f"{what} was not refused")


async def content_of(session: Session, path: str, root: str = WORKSPACE) -> bytes:
    """A file's content."""
    return await read_file(session.agent, root, path, most=MIB)


@group.case()
async def write_then_read(bench: Workbench) -> None:
    """What the host writes programs read, and the other way round; owner and mode are right."""
    session = await bench.shared()
    data = bytes(range(256)) * 100
    await write_file(session.agent, WORKSPACE, "a/b/c.bin", data)
    expect_equal(await bench.said(session, "read", "a/b/c.bin"), data, "what the program reads")
    await bench.said(session, "write", "a/from-program", "text")
    expect_equal(await content_of(session, "a/from-program"), b"text", "what the host reads")
    status = await bench.said(session, "stat", "a/b/c.bin")
    expect_equal(status, b"type=- mode=0644 uid=10001 gid=10001 size=25600\n", "its status")
    await delete_files(session.agent, WORKSPACE, "a")


@group.case()
async def replacing(bench: Workbench) -> None:
    """Writing a file again replaces its content and its mode."""
    session = await bench.shared()
    await write_file(session.agent, WORKSPACE, "twice", b"a longer first text")
    await write_file(session.agent, WORKSPACE, "twice", b"second", mode=0o755)
    expect_equal(await content_of(session, "twice"), b"second", "the content")
    expect(b"mode=0755" in await bench.said(session, "stat", "twice"), "the mode is the old one")
    await delete_files(session.agent, WORKSPACE, "twice")


@group.case()
async def set_user_id_bits_are_dropped(bench: Workbench) -> None:
    """Set-user-id, set-group-id and sticky bits do not get into a sandbox."""
    session = await bench.shared()
    for privileged in (False, True):
        await write_file(session.agent, WORKSPACE, "bits", b"x", mode=0o6755, privileged=privileged)
        expect(b"mode=0755" in await bench.said(session, "stat", "bits"), "the bits were kept")
        await delete_files(session.agent, WORKSPACE, "bits", privileged=privileged)


@group.case()
async def listing(bench: Workbench) -> None:
    """A listing names what is there down to its depth, with kind, size, mode and link."""
    session = await bench.session()
    await put_files(
        session.agent,
        "/tmp",
        [
            Entry(name="tree", kind=EntryKind.FOLDER, mode=0o700),
            Entry(name="tree/file", content=b"12345", mode=0o600),
            Entry(name="tree/sub/deep", content=b""),
        ],
    )
    await bench.said(session, "link", "/etc/passwd", "/tmp/tree/link")
    found = {
        entry.name.rpartition("/")[2]: entry
        for entry in await list_files(session.agent, "/tmp", "tree")
    }
    expect(set(found) >= {"file", "sub", "link"}, f"the listing holds {sorted(found)}")
    expect("deep" not in found, "the listing goes deeper than one level")
    expect_equal((found["file"].size, found["file"].mode), (5, 0o600), "size and mode of a file")
    expect_equal(found["sub"].kind, EntryKind.FOLDER, "the kind of a folder")
    expect_equal(found["link"].kind, EntryKind.LINK, "the kind of a link")
    expect_equal(found["link"].link, "/etc/passwd", "where the link leads")
    deep = await list_files(session.agent, "/tmp", "tree", depth=5)
    expect(any(entry.name.endswith("sub/deep") for entry in deep), "depth 5 does not show all")


@group.case()
async def listing_is_bounded(bench: Workbench) -> None:
    """A listing of more entries than were asked for fails instead of growing."""
    session = await bench.shared()
    entries = [Entry(name=f"many/{i}", content=b"") for i in range(50)]
    await put_files(session.agent, WORKSPACE, entries)
    await expect_file_error(
        list_files(session.agent, WORKSPACE, "many", most=20), "a listing of 50 entries", "E2BIG"
    )
    await delete_files(session.agent, WORKSPACE, "many")


@group.case()
async def deleting(bench: Workbench) -> None:
    """Deleting takes folders with all that is in them; what is not there is no error."""
    session = await bench.shared()
    await write_file(session.agent, WORKSPACE, "d/e/f", b"x")
    await bench.said(session, "link", "/etc", f"{WORKSPACE}/d/link")
    await delete_files(session.agent, WORKSPACE, "d", "never-there")
    names = [entry.name for entry in await list_files(session.agent, WORKSPACE)]
    expect(not any(name == "d" or name.startswith("d/") for name in names), f"there is {names}")
    expect_equal((await bench.run(session, "stat", "/etc/passwd")).outcome.code, 0, "the exit code")


@group.case()
async def errors_have_their_reason(bench: Workbench) -> None:
    """A file operation that fails says why, by the name of an errno."""
    agent = (await bench.shared()).agent
    await expect_file_error(
        read_file(agent, WORKSPACE, "none", most=10), "reading what is not there", "ENOENT"
    )
    await expect_file_error(read_file(agent, WORKSPACE, ".", most=10), "reading a folder", "EISDIR")
    await expect_file_error(
        read_file(agent, WORKSPACE, "probe", most=10), "reading more than was asked for", "EFBIG"
    )
    await expect_file_error(
        list_files(agent, WORKSPACE, "none"), "listing what is not there", "ENOENT"
    )
    await expect_file_error(
        read_file(agent, "/not/there", "x", most=10), "reading below no folder", "ENOENT"
    )


@group.case()
async def no_path_leads_out(bench: Workbench) -> None:
    """No path, absolute or with `..`, leads out of its root: not to read, write or delete."""
    session = await bench.shared()
    agent = session.agent
    for path in _OUTSIDE:
        await expect_file_error(read_file(agent, WORKSPACE, path, most=MIB), f"reading {path}")
        await expect_file_error(list_files(agent, WORKSPACE, path), f"listing {path}")
        await expect_file_error(write_file(agent, WORKSPACE, path, b"x"), f"writing {path}")
    for path in ("../tmp/victim", "/tmp/victim"):
        await bench.said(session, "write", "/tmp/victim", "text")
        with contextlib.suppress(FileError):
            await delete_files(agent, WORKSPACE, path, privileged=True)
        expect_equal(await bench.said(session, "read", "/tmp/victim"), b"text", "the other file")


@group.case()
async def no_link_leads_out(bench: Workbench) -> None:
    """Symbolic links are never followed out of the root, not even by the sandbox's own root."""
    session = await bench.session()
    agent = session.agent
    await bench.said(session, "write", "/tmp/victim", "text")
    for target, name in (("/tmp", "out"), ("../tmp", "up"), ("/tmp/victim", "file")):
        await bench.said(session, "link", target, f"{WORKSPACE}/{name}")
    for privileged in (False, True):
        for path in ("out/victim", "up/victim", "file"):
            await expect_file_error(
                read_file(agent, WORKSPACE, path, most=MIB, privileged=privileged),
                f"reading {path} through a link",
            )
        for path in ("out/victim", "up/new"):
            await expect_file_error(
                write_file(agent, WORKSPACE, path, b"mine", privileged=privileged),
                f"writing {path} through a link",
            )
        with contextlib.suppress(FileError):
            await delete_files(agent, WORKSPACE, "out/victim", privileged=privileged)
    # A link may be replaced itself; what it leads to may not be touched.
    await write_file(agent, WORKSPACE, "file", b"mine")
    await delete_files(agent, WORKSPACE, "out", "up")
    expect_equal(await bench.said(session, "read", "/tmp/victim"), b"text", "the other file")


@group.case()
async def archive_in_and_out(bench: Workbench) -> None:
    """Many files go in by one stream and come out by another, unchanged."""
    session = await bench.session()
    wanted = {f"tree/{i % 7}/{i}.txt": f"content {i}".encode() * i for i in range(200)}
    await put_files(session.agent, WORKSPACE, [Entry(name=n, content=c) for n, c in wanted.items()])
    found = {}
    async with contextlib.aclosing(
        get_files(session.agent, WORKSPACE, "tree", most=64 * MIB)
    ) as files:
        async for received in files:
            if received.has_content:
                content = b"".join([piece async for piece in received.content()])
                found[received.entry.name] = content
    got = {name if name.startswith("tree/") else f"tree/{name}": c for name, c in found.items()}
    expect_equal(got, wanted, "what came out")


@group.case()
async def strange_names(bench: Workbench) -> None:
    """Names of any bytes go in and out: spaces, newlines, dashes, invalid UTF-8, 255 bytes."""
    session = await bench.session()
    names = ["with space", "new\nline", "-rf", "\udcff\udcfe", "🙂", "n" * 255, "...", "\x1b[31m"]
    entries = [Entry(name=f"odd/{name}", content=name.encode("utf-8", "surrogateescape"))
               for name in names]  # fmt: skip
    await put_files(session.agent, WORKSPACE, entries)
    listed = {
        entry.name.removeprefix("odd/")
        for entry in await list_files(session.agent, WORKSPACE, "odd")
        if entry.kind is EntryKind.FILE
    }
    expect_equal(listed, set(names), "the names")
    for name in names:
        content = await content_of(session, f"odd/{name}")
        expect_equal(content, name.encode("utf-8", "surrogateescape"), f"the content of {name!r}")
    await delete_files(session.agent, WORKSPACE, *(f"odd/{name}" for name in names))
    left = await list_files(session.agent, WORKSPACE, "odd", depth=2)
    names_left = {entry.name.rpartition("/")[2] for entry in left} & set(names)
    expect(not names_left, f"there is still {names_left}")


@group.case(timeout=90)
async def hundred_megabytes_in_constant_memory(bench: Workbench) -> None:
    """A file of 100 MB goes in and out without being held on the host."""
    size = 100 * 1000 * 1000
    session = await bench.session(memory_bytes=320 * MIB, disk_bytes=128 * MIB)
    before, most = resident_bytes(), 0
    digest = hashlib.sha256()

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal most
        piece, left = pattern.flood(MIB), size
        while left:
            part = piece[:left]
            digest.update(part)
            left -= len(part)
            yield part
            most = max(most, resident_bytes())

    await upload(session.agent, WORKSPACE, "large", pieces(), size)
    back = hashlib.sha256()
    async for part in download(session.agent, WORKSPACE, "large"):
        back.update(part)
        most = max(most, resident_bytes())
    expect_equal(back.hexdigest(), digest.hexdigest(), "the content's digest")
    expect(most - before < 16 * MIB, f"the host's memory grew by {(most - before) / MIB:.1f} MiB")


@group.case("disk_limit")
async def full_disk_is_said(bench: Workbench) -> None:
    """Writing more than fits fails with ENOSPC, and deleting makes room again."""
    session = await bench.session(disk_bytes=4 * MIB)
    await expect_file_error(
        write_file(session.agent, WORKSPACE, "large", b"x" * (6 * MIB)), "a large file", "ENOSPC"
    )
    await delete_files(session.agent, WORKSPACE, "large")
    await write_file(session.agent, WORKSPACE, "small", b"x" * MIB)
