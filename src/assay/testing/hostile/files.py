"""Files that are meant to catch whoever reads, lists or removes them, and full disks."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Final

from assay.agent.entries import Entry, EntryKind
from assay.agent.files import (
    delete_files,
    get_files,
    list_files,
    put_files,
    read_file,
    write_file,
)
from assay.agent.session import Session
from assay.domain.command import WORKSPACE
from assay.domain.errors import FileError, InvalidInput
from assay.domain.limits import MIB
from assay.domain.outcome import OutcomeKind
from assay.testing.case import Failure, Group, NotTestable, expect, expect_equal, expect_outcome
from assay.testing.conformance.files import expect_file_error
from assay.testing.hostile.processes import expect_usable
from assay.testing.verdicts import expect_refused
from assay.testing.workbench import LOW, Workbench

group = Group("files", hostile=True)

_TRAPS: Final = (
    "shadow", "environ", "up", "zero", "random", "loop", "root", "self-fd", "init-root", "nowhere",
    "agent", "tty", "fifo", "socket",
)  # fmt: skip
_WRITABLE: Final = ("/tmp", "/var/tmp", "/dev/shm", WORKSPACE)


@group.case()
async def reading_traps(bench: Workbench) -> None:
    """Links, FIFOs and sockets are refused as files, at once, to learners and to root."""
    session = await bench.session()
    await bench.said(session, "trap-files", f"{WORKSPACE}/traps")
    looked_at = [one for one in _TRAPS if one != "socket" or bench.capabilities.socket_files]
    for privileged in (False, True):
        for name in looked_at:
            async with asyncio.timeout(bench.patient(3)):
                await expect_file_error(
                    read_file(
                        session.agent, WORKSPACE, f"traps/{name}", most=MIB, privileged=privileged
                    ),
                    f"reading {name}",
                )
    await expect_usable(bench, session)


@group.case()
async def taking_traps_along(bench: Workbench) -> None:
    """A folder full of traps is listed, fetched and removed: nothing outside of it is touched."""
    session = await bench.session()
    await bench.said(session, "trap-files", f"{WORKSPACE}/traps")
    listed = await list_files(session.agent, WORKSPACE, "traps", depth=3, privileged=True)
    expect(len(listed) >= 20, f"only {len(listed)} of the traps are listed")
    contents = {}
    async with contextlib.aclosing(
        get_files(session.agent, WORKSPACE, "traps", most=MIB, privileged=True)
    ) as files:
        async for received in files:
            if received.has_content:
                name = received.entry.name.rpartition("/")[2]
                contents[name] = b"".join([piece async for piece in received.content()])
    expect(not set(_TRAPS) & set(contents), f"traps came with content: {sorted(contents)}")
    expect_equal(contents.get("-rf"), b"4", "the content of an ordinary file among them")
    await delete_files(session.agent, WORKSPACE, "traps", privileged=True)
    await expect_file_error(list_files(session.agent, WORKSPACE, "traps"), "what is left", "ENOENT")
    await expect_usable(bench, session)


@group.case()
async def writing_through_traps(bench: Workbench) -> None:
    """Writing to the name of a trap replaces it or fails; it never hangs and never follows."""
    session = await bench.session()
    await bench.said(session, "trap-files", f"{WORKSPACE}/traps")
    for name in _TRAPS:
        async with asyncio.timeout(bench.patient(3)):
            with contextlib.suppress(FileError):
                await write_file(session.agent, WORKSPACE, f"traps/{name}", b"x", privileged=True)
    for name in ("shadow", "up", "root", "agent"):
        with contextlib.suppress(FileError):
            await write_file(
                session.agent, WORKSPACE, f"traps/{name}/inside", b"x", privileged=True
            )
    completed = await bench.run(session, "read", "/etc/shadow", privileged=True)
    expect(completed.stdout != b"x", "a write went through a link")
    await expect_usable(bench, session)


@group.case()
async def names_that_lead_out(bench: Workbench) -> None:
    """An archive's entries cannot leave their folder, by name or by a link of the same archive."""
    session = await bench.session()
    await bench.said(session, "write", "/tmp/victim", "text")
    evil = ["../tmp/victim", "/tmp/victim", "a/../../tmp/victim", "..", "a/..", "./../tmp/victim"]
    for name in evil:
        with contextlib.suppress(FileError, InvalidInput):
            await put_files(
                session.agent, WORKSPACE, [Entry(name=name, content=b"evil")], privileged=True
            )
    with contextlib.suppress(FileError, InvalidInput):
        link = Entry(name="way", kind=EntryKind.LINK, link="/tmp")
        inside = Entry(name="way/victim", content=b"evil")
        await put_files(session.agent, WORKSPACE, [link, inside], privileged=True)
    for kind in (EntryKind.CHARACTER_DEVICE, EntryKind.BLOCK_DEVICE, EntryKind.PIPE):
        await expect_file_error(
            put_files(session.agent, WORKSPACE, [Entry(name="node", kind=kind)], privileged=True),
            f"making a {kind.name}",
        )
    expect_equal(await bench.said(session, "read", "/tmp/victim"), b"text", "the other file")
    await expect_usable(bench, session)


@group.case()
async def folder_that_becomes_a_link(bench: Workbench) -> None:
    """A folder that turns into a link to /etc and back, all the time, never leads anybody out."""
    session = await bench.session()
    own = await bench.run(session, "read", "/etc/passwd")
    await write_file(session.agent, WORKSPACE, "race/x", b"")
    swapping = await bench.start(session, "swap", f"{WORKSPACE}/race", "/etc", wall=None, cpu=None)
    await swapping.read(b"swapping\n")
    inside = 0
    for number in range(150):
        try:
            got = await read_file(
                session.agent, WORKSPACE, "race/a/passwd", most=MIB, privileged=number % 2 == 0
            )
        except FileError:
            continue
        expect(got != own.stdout and got == b"mine", f"a read went through the link: {got[:80]!r}")
        inside += 1
    for _ in range(30):
        with contextlib.suppress(FileError):
            await write_file(session.agent, WORKSPACE, "race/a/planted", b"evil", privileged=True)
    expect(inside > 0, "the folder was never read: the case proves nothing")
    await swapping.execution.cancel()
    await swapping.conclude()
    planted = await bench.run(session, "stat", "/etc/planted")
    expect(not planted.outcome.success, "a write went through the link")
    await delete_files(session.agent, WORKSPACE, "race")


@group.case()
async def file_that_changes_while_it_is_read(bench: Workbench) -> None:
    """A file that shrinks and grows while it is fetched gives bytes or an error, never a hang."""
    session = await bench.session()
    churning = await bench.start(session, "churn", f"{WORKSPACE}/churn", wall=None, cpu=None)
    await churning.read(b"churning\n")
    for _ in range(40):
        async with asyncio.timeout(bench.patient(5)):
            with contextlib.suppress(FileError):
                await read_file(session.agent, WORKSPACE, "churn", most=2 * MIB)
    await churning.execution.cancel()
    await churning.conclude()
    await expect_usable(bench, session)


@group.case()
async def sparse_terabyte(bench: Workbench) -> None:
    """A sparse file of a terabyte is refused by its size, at once, and costs nothing."""
    session = await bench.session()
    await bench.said(session, "sparse", f"{WORKSPACE}/sparse", "1024")
    async with asyncio.timeout(bench.patient(3)):
        await expect_file_error(
            read_file(session.agent, WORKSPACE, "sparse", most=MIB), "reading a terabyte", "EFBIG"
        )
    await delete_files(session.agent, WORKSPACE, "sparse")
    await expect_usable(bench, session)


@group.case("disk_limit")
async def filling_the_disk(bench: Workbench) -> None:
    """All writable places together hold as many bytes as the limit says, and no more."""
    session = await bench.session()
    total = 0
    for place in _WRITABLE:
        said = await bench.said(session, "fill", place, "keep")
        size, _, error = said.decode().strip().removeprefix("bytes=").partition(" error=")
        total += int(size)
        expect_equal(error, "ENOSPC", f"the error when {place} is full")
    expect(
        LOW.disk_bytes // 2 < total <= LOW.disk_bytes,
        f"{total} bytes fit, {LOW.disk_bytes} are allowed",
    )
    await expect_file_error(
        write_file(session.agent, WORKSPACE, "more", b"x" * MIB), "writing more", "ENOSPC"
    )
    await expect_usable(bench, session)
    for place in _WRITABLE:
        await delete_files(session.agent, place, *(f"fill-{i}" for i in range(1, 60)))
    await write_file(session.agent, WORKSPACE, "more", b"x" * MIB)


@group.case("inode_limit")
async def filling_the_table_of_files(bench: Workbench) -> None:
    """All writable places together hold as many files as the limit says; programs run on."""
    session = await bench.session()
    total = 0
    for place in _WRITABLE:
        said = await bench.said(session, "inodes", place)
        count, _, error = said.decode().strip().removeprefix("inodes=").partition(" error=")
        total += int(count)
        expect_equal(error, "ENOSPC", f"the error when {place} is full")
    expect(total <= LOW.inodes, f"{total} files fit, {LOW.inodes} are allowed")
    expect(total > LOW.inodes // 2, f"only {total} files fit, {LOW.inodes} are allowed")
    await expect_file_error(
        write_file(session.agent, WORKSPACE, "more", b""), "making one more", "ENOSPC"
    )
    await expect_usable(bench, session)


@group.case(timeout=60)
async def very_many_files(bench: Workbench) -> None:
    """A folder of very many files is listed up to the bound, in bounded time, and removed."""
    session = await bench.session(inodes=30_000)
    await bench.said(session, "inodes", WORKSPACE, "20000", wall=30.0)
    async with asyncio.timeout(bench.patient(5)):
        await expect_file_error(
            list_files(session.agent, WORKSPACE, most=10_000), "listing 20,000 files", "E2BIG"
        )
    await write_file(session.agent, WORKSPACE, "other", b"x")
    await expect_usable(bench, session)


@group.case(timeout=60)
async def very_deep_folders(bench: Workbench) -> None:
    """Folders nested far beyond the longest path are listed, fetched or refused, and removed."""
    session = await bench.session()
    await bench.said(session, "nest", WORKSPACE, "700")
    async with asyncio.timeout(bench.patient(10)):
        with contextlib.suppress(FileError):
            await list_files(session.agent, WORKSPACE, depth=100_000)
        with contextlib.suppress(FileError):
            await _fetch_all(session, "d" * 200)
    async with asyncio.timeout(bench.patient(10)):
        await delete_files(session.agent, WORKSPACE, "d" * 200)
    await expect_file_error(
        list_files(session.agent, WORKSPACE, "d" * 200), "what should be gone", "ENOENT"
    )
    await expect_usable(bench, session)


@group.case()
async def writing_beyond_the_writable_layer(bench: Workbench) -> None:
    """Nothing of the root file system can be written, replaced or linked to."""
    expect_refused(await bench.said(await bench.session(), "root-write"))


@group.case("privilege_separation")
async def writing_beyond_the_writable_layer_as_root(bench: Workbench) -> None:
    """The sandbox's root cannot either: the root file system is shared by all sandboxes."""
    session = await bench.session()
    # A device that it may mention is no harm, and what it adds to its own /dev is its own.
    own = ("write:/dev/planted", "hard-link:/dev/null")
    expect_refused(await bench.said(session, "root-write", privileged=True), except_for=own)


@group.case("inert_mounts")
async def mounts_give_no_rights(bench: Workbench) -> None:
    """No mount honours set-user-id bits or device nodes, and the root is read-only."""
    if bench.capabilities.own_kernel:
        raise NotTestable("own_kernel: what its mounts say of themselves binds only itself")
    output = (await bench.said(await bench.session(), "mounts")).decode()
    allowed = [line for line in output.splitlines() if line.startswith("ALLOWED")]
    expect_equal(allowed, [], "mounts that give rights")
    expect(len(output.splitlines()) >= 3, "the probe saw hardly a mount")


@group.case()
async def core_dumps(bench: Workbench) -> None:
    """A crash leaves no core, neither in the sandbox nor with a handler of the host's."""
    session = await bench.session()
    completed = await bench.run(session, "crash")
    expect_outcome(completed.outcome, OutcomeKind.SIGNALED, signal=11)
    names = [entry.name for entry in await list_files(session.agent, WORKSPACE)]
    cores = [name for name in names if "core" in name]
    expect_equal(cores, [], "what the crash left")


@group.case()
async def removing_a_folder_that_becomes_a_link(bench: Workbench) -> None:
    """Removing a folder that turns into a link meanwhile removes nothing elsewhere."""
    session = await bench.session()
    await bench.said(session, "nest", "/tmp", "1", privileged=True)
    keep = f"/tmp/{'d' * 200}"
    await bench.said(session, "write", f"{keep}/passwd", "kept", privileged=True)
    await write_file(session.agent, WORKSPACE, "race/x", b"")
    swapping = await bench.start(session, "swap", f"{WORKSPACE}/race", keep, wall=None, cpu=None)
    await swapping.read(b"swapping\n")
    for _ in range(60):
        with contextlib.suppress(FileError):
            await delete_files(session.agent, WORKSPACE, "race/a/passwd", privileged=True)
        with contextlib.suppress(FileError):
            await put_files(
                session.agent, WORKSPACE, [Entry(name="race/a/passwd", content=b"evil")]
            )
    await swapping.execution.cancel()
    await swapping.conclude()
    with contextlib.suppress(FileError):
        await delete_files(session.agent, WORKSPACE, "race", privileged=True)
    kept = await bench.said(session, "read", f"{keep}/passwd", privileged=True)
    expect_equal(kept, b"kept", "the file of another folder")


@group.case()
async def file_under_a_lease(bench: Workbench) -> None:
    """A program that holds a lease on its file cannot make the host wait for it."""
    session = await bench.session()
    leasing = await bench.start(session, "lease", f"{WORKSPACE}/leased", wall=None)
    await leasing.read(b"\n")
    for privileged in (False, True):
        async with asyncio.timeout(bench.patient(4)):
            with contextlib.suppress(FileError):
                await read_file(session.agent, WORKSPACE, "leased", most=MIB, privileged=privileged)
        async with asyncio.timeout(bench.patient(4)):
            with contextlib.suppress(FileError):
                await write_file(session.agent, WORKSPACE, "leased", b"x", privileged=privileged)
    await leasing.execution.cancel()
    await leasing.conclude()
    await expect_usable(bench, session)


@group.case("privilege_separation")
async def closed_workspace(bench: Workbench) -> None:
    """A learner who closes the workspace has hurt nobody else, and it can be mended."""
    session = await bench.session()
    await bench.said(session, "chmod", "0000", WORKSPACE)
    completed = await bench.run(session, "echo", "hi")
    expect_equal(completed.facts.start_error, "EACCES", "the error of the next program")
    await expect_file_error(
        list_files(session.agent, WORKSPACE), "listing the closed workspace", "EACCES"
    )
    await write_file(session.agent, WORKSPACE, "mended", b"x", privileged=True)
    probe = await read_file(session.agent, WORKSPACE, "probe", most=MIB, privileged=True)
    await write_file(session.agent, "/tmp", "probe", probe, mode=0o755)
    mend = bench.command("chmod", "0755", WORKSPACE, working_directory="/")
    completed = await session.run(replace(mend, argv=("/tmp/probe", *mend.argv[1:])))
    expect_outcome(completed.outcome, OutcomeKind.EXITED, code=0)
    await expect_usable(bench, session)


async def _fetch_all(session: Session, path: str) -> None:
    async with contextlib.aclosing(get_files(session.agent, WORKSPACE, path, most=MIB)) as files:
        async for received in files:
            if received.entry.kind is EntryKind.LINK:
                raise Failure("there is a link where only folders were made")
