"""Files of runners, with the meaning that Poseidon's clients rely on."""

from typing import cast

import pytest

from assay.agent.client import Agent
from assay.agent.entries import Entry
from assay.agent.files import batches
from assay.domain.errors import FileError, InvalidInput
from assay.runners import FileToWrite
from assay.runners.files import _within, change_files

from .conftest import Server

WORKSPACE = "/workspace"


async def names(runner, path: str = ".", **how: object) -> set[str]:
    return {entry.name for entry in await runner.list_files(path, **how)}


def put(**files: bytes) -> list[FileToWrite]:
    return [FileToWrite(path=name, content=content) for name, content in files.items()]


async def content(runner, path: str, **how: object) -> bytes:
    async with runner.read_file(path, **how) as (size, pieces):
        data = b"".join([piece async for piece in pieces])
    assert len(data) == size
    return data


async def test_files_are_roots_and_folders_are_for_everybody(server: Server) -> None:
    runner = await server.runners.create("bash")
    await runner.change_files(
        (),
        [
            FileToWrite(path="open/"),
            FileToWrite(path="a.txt", content=b"one"),
            FileToWrite(path="deep/er/b.txt", content=b"two"),
            FileToWrite(path="/tmp/c.txt", content=b"three"),
            FileToWrite(path="empty"),
        ],
    )
    found = {entry.name: entry for entry in await runner.list_files("./", depth=9)}
    assert found.keys() >= {"open", "a.txt", "deep", "deep/er", "deep/er/b.txt", "empty"}
    assert (found["a.txt"].mode, found["a.txt"].uid, found["a.txt"].gid) == (0o744, 0, 0)
    assert (found["open"].mode, found["open"].kind) == (0o1777, "d")
    assert (found["deep"].mode, found["deep"].uid) == (0o755, 0)
    assert await content(runner, "/tmp/c.txt") == b"three"
    assert await content(runner, "deep/../a.txt") == b"one"
    assert await content(runner, f"{WORKSPACE}/deep/er/b.txt") == b"two"


async def test_what_is_deleted_goes_before_what_is_copied(server: Server) -> None:
    runner = await server.runners.create("bash")
    await runner.change_files((), put(old=b"1", same=b"1"))
    await runner.change_files(["old", "same", "never-there"], put(same=b"2"))
    assert await names(runner) >= {"same"}
    assert "old" not in await names(runner)
    assert await content(runner, "same") == b"2"


async def test_a_star_leaves_what_begins_with_a_dot_and_a_dot_leaves_nothing(
    server: Server,
) -> None:
    runner = await server.runners.create("bash")
    files = [FileToWrite(path=name) for name in ("a", "b/c", ".hidden", "d/.e")]
    await runner.change_files((), files)
    await runner.change_files(["./*"], put(new=b""))
    assert await names(runner) == {".hidden", "new"}
    await runner.change_files(["."], ())
    assert await names(runner) == set()
    await runner.change_files((), files)
    await runner.change_files([f"{WORKSPACE}/"], ())
    assert await names(runner) == set()


async def test_one_path_that_fails_keeps_no_other_from_its_turn(server: Server) -> None:
    runner = await server.runners.create("bash")
    with pytest.raises(FileError) as raised:
        await runner.change_files(
            ["a"],
            [
                FileToWrite(path="good1", content=b"1"),
                FileToWrite(path="good1/below", content=b"1"),
                FileToWrite(path="good2/", content=b""),
                FileToWrite(path="good2", content=b""),
                FileToWrite(path="good3", content=b"3"),
            ],
        )
    message = raised.value.message
    assert "good1/below: Not a directory" in message
    assert "good2: Is a directory" in message
    assert len(message.splitlines()) == 2
    assert await names(runner) >= {"good1", "good2", "good3"}


async def test_a_file_is_listed_by_its_name_and_a_folder_by_what_is_in_it(server: Server) -> None:
    runner = await server.runners.create("bash")
    await runner.change_files((), [FileToWrite(path="sub/x.txt"), FileToWrite(path="sub/y/z")])
    assert await names(runner, "sub/x.txt") == {"x.txt"}
    assert await names(runner, "sub/x.txt", depth=0) == {"x.txt"}
    assert await names(runner, "sub", depth=0) == {"sub"}
    assert await names(runner, "sub") == {"x.txt", "y"}
    assert await names(runner, "./sub/", depth=5) == {"x.txt", "y", "y/z"}
    assert "workspace" in await names(runner, "/")
    with pytest.raises(FileError) as raised:
        await runner.list_files("missing")
    assert raised.value.reason == "ENOENT"


async def test_a_learners_rights_hold_unless_privileged(server: Server) -> None:
    runner = await server.runners.create("bash")
    files = server.driver.sandbox(runner.lease.sandbox_id).files
    await runner.change_files((), put(secret=b"s"))
    files.find(f"{WORKSPACE}/secret", 0).mode = 0o600
    with pytest.raises(FileError) as raised:
        await content(runner, "secret")
    assert raised.value.reason == "EACCES"
    assert await content(runner, "secret", privileged=True) == b"s"


async def test_a_folder_has_no_content(server: Server) -> None:
    runner = await server.runners.create("bash")
    await runner.change_files((), [FileToWrite(path="f/x", content=b"x")])
    for path in ("f", "."):
        with pytest.raises(FileError) as raised:
            await content(runner, path)
        assert raised.value.reason in ("EISDIR", "EINVAL")


async def test_leaving_a_file_half_read_costs_nothing(server: Server) -> None:
    runner = await server.runners.create("bash")
    await runner.change_files((), put(big=bytes(3_000_000)))
    async with runner.read_file("big") as (size, pieces):
        assert size == 3_000_000
        async for _ in pieces:
            break
    assert len(await content(runner, "big")) == 3_000_000


async def test_nonsense_changes_nothing(server: Server) -> None:
    runner = await server.runners.create("bash")
    for delete, path in (([], "a\0b"), (["/"], "x"), (["../.."], "x"), ([], "..")):
        with pytest.raises(InvalidInput):
            await runner.change_files(delete, [FileToWrite(path=path)])
    assert await names(runner) == set()


def test_a_path_is_meant_from_the_working_folder_and_leads_nowhere_else() -> None:
    assert _within("/workspace", "a/b") == "workspace/a/b"
    assert _within("/workspace", "./a//b/") == "workspace/a/b"
    assert _within("/workspace", "//etc/passwd") == "etc/passwd"
    assert _within("/workspace", "../../../../etc") == "etc"
    assert _within("/", "a") == "a"
    assert _within("/", ".") == "."


def test_many_names_go_in_several_turns() -> None:
    names = [f"{number:0100}" for number in range(1000)]
    found = list(batches(names))
    assert [name for batch in found for name in batch] == names
    assert 2 < len(found) < 6
    assert list(batches([])) == []


async def test_a_folder_is_listed_once_however_often_all_of_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed, deleted = [], []

    async def list_files(agent: object, *path: str, **_: object) -> list[Entry]:
        listed.append(path)
        return [Entry(name="workspace/a"), Entry(name="workspace/.hidden")]

    async def delete_files(agent: object, folder: str, *names: str, **_: object) -> None:
        deleted.extend(names)

    monkeypatch.setattr("assay.agent.files.list_files", list_files)
    monkeypatch.setattr("assay.agent.files.delete_files", delete_files)
    await change_files(cast("Agent", None), "workspace", ["./*", "b", "./*", "b"] * 100, [])
    assert (len(listed), sorted(deleted)) == (1, ["workspace/a", "workspace/b"])
    deleted.clear()
    await change_files(cast("Agent", None), "workspace", [".", "./*", "x/.."], [])
    assert sorted(deleted) == ["workspace/.hidden", "workspace/a"]
