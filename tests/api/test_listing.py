"""Entries as `ls -l` shows them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec

from assay.agent.entries import Entry, EntryKind
from assay.api.accounts import Accounts, accounts_of
from assay.api.listing import as_ls
from assay.driver.port import RootFilesystem

NAMES = Accounts(users={0: "root", 10001: "learner"}, groups={0: "root"})


def folder(name: str, mode: int = 0o1777) -> Entry:
    return Entry(name=name, kind=EntryKind.FOLDER, mode=mode, uid=0, gid=0)


def file(name: str, **more: int) -> Entry:
    return Entry(name=name, **{"mode": 0o744, "uid": 0, "gid": 0, **more})


def test_a_file_has_all_that_ls_says() -> None:
    entry = file("test.txt", size=5, modified_ns=1_700_000_000_900_000_000)
    (shown,) = as_ls([entry], "./", NAMES, recursive=True)
    assert msgspec.to_builtins(shown) == {
        "name": "./test.txt",
        "entryType": "-",
        "size": 5,
        "modificationTime": 1_700_000_000,
        "permissions": "rwxr--r--",
        "owner": "root",
        "group": "root",
    }


def test_a_link_names_its_target_and_unknown_owners_are_numbers() -> None:
    link = Entry(name="cwd", kind=EntryKind.LINK, mode=0o777, uid=7, gid=8, link="/workspace")
    (shown,) = as_ls([link], "/proc/self/cwd", NAMES, itself=True)
    assert (shown.name, shown.entry_type, shown.link_target) == (
        "/proc/self/cwd",
        "l",
        "/workspace",
    )
    assert (shown.owner, shown.group) == ("7", "8")


def test_special_permissions_have_their_letters() -> None:
    modes = {0o1777: "rwxrwxrwt", 0o1770: "rwxrwx--T", 0o4755: "rwsr-xr-x", 0o2644: "rw-r-Sr--"}
    for mode, letters in modes.items():
        assert as_ls([folder("x", mode)], "./", NAMES)[0].permissions == letters


def test_hidden_files_and_what_is_in_hidden_folders_are_left_out() -> None:
    names = [".b", ".git", ".git/config", "a/.x", "a/y", "a", "c.d"]
    entries = [folder(name) if name in (".git", "a") else file(name) for name in names]
    assert [each.name for each in as_ls(entries, ".", NAMES, recursive=True)] == [
        "./a",
        "./c.d",
        "./a/y",
    ]


def test_names_that_are_no_text_are_shown_all_the_same() -> None:
    (shown,) = as_ls([file("a\udcff")], "./", NAMES)
    assert shown.name == "a\ufffd"


def test_the_order_is_that_of_ls(tmp_path: Path) -> None:
    for name in ("b/c/d", "b/a", "B", "a b", "é", "z", "b.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    entries = []
    for path in tmp_path.rglob("*"):
        name = str(path.relative_to(tmp_path))
        entries.append(folder(name) if path.is_dir() else file(name))
    shown = [each.name for each in as_ls(entries, ".", NAMES, recursive=True)]
    env = {"LC_ALL": "C", "PATH": os.environ["PATH"]}
    listed = subprocess.run(
        ["ls", "-1R", "--literal"], cwd=tmp_path, env=env, capture_output=True, check=True
    )
    expected, here = [], ""
    for line in listed.stdout.decode().splitlines():
        if line.endswith(":"):
            here = line[:-1]
        elif line:
            expected.append(f"{here}/{line}")
    assert shown == expected


def test_an_images_accounts_are_read_without_leaving_it(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nada:x:7:7::/:/\nbroken\n")
    (tmp_path / "etc/group").symlink_to("/proc/self/environ")  # of the sandbox, not ours
    accounts = accounts_of(RootFilesystem(digest="accounts", path=tmp_path))
    assert (accounts.user(7), accounts.user(8), accounts.group(0)) == ("ada", "8", "root")
