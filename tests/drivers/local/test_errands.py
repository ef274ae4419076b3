"""What `lean` does on the host for its server, and what happens when it can't."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.agent.native import program
from assay.agent.session import open_session
from assay.domain.errors import AssayError
from assay.driver.port import SandboxSpec
from assay.drivers.lean.helper import Helper, Refused
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.stage import words

pytestmark = pytest.mark.root


@pytest.fixture
def helper() -> Iterator[Helper]:
    made = Helper(program("lean"), lambda _pid: None)
    yield made
    made.close()


def test_an_errand_ends_at_the_first_step_that_can_not_be_taken(
    helper: Helper, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("one\ntwo 2\n")
    with pytest.raises(Refused, match="lean") as refused:
        helper.do(words([
            ("unlink", f"{tmp_path}/a"), ("line", f"{tmp_path}/b", "two"),
            ("unlink", f"{tmp_path}/c"),
        ]))  # fmt: skip
    assert refused.value.detail == f"other than was expected: {tmp_path}/b: Invalid argument"
    assert [each.name for each in sorted(tmp_path.iterdir())] == ["b", "c"]

    helper.do(words([("unlink", f"{tmp_path}/c")]))  # it goes on


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (("line", "{0}/file", "a line"), ""),
        (("line", "{0}/file", "the last one"), ""),
        (("line", "{0}/file", "the last"), "other than was expected"),
        (("line", "{0}/file", "line"), "other than was expected"),
        (("line", "{0}/none", "x"), "No such file"),
        (("most", "{0}/number", "7"), ""),
        (("most", "{0}/number", "6"), "too much"),
        (("points", "{0}/link", "there"), ""),
        (("points", "{0}/link", "the"), "points elsewhere"),
        (("points", "{0}/file", "there"), "points elsewhere"),
        (("rename", "{0}/none", "{0}/x"), "No such file"),
        (("rmdir", "{0}"), "not empty"),
        (("rmdir_if", "{0}"), "not empty"),
        (("rmdir_if", "{0}/none"), ""),
        (("line_if", "{0}/none", "x"), ""),
        (("line_if", "{0}/file", "x"), "other than was expected"),
        (("among", "{0}/full", "one", "other"), ""),
        (("among", "{0}/full", "one", "none"), "more than was expected"),
        (("among", "{0}/full/one", "one", "other"), ""),
        (("among", "{0}/none", "one", "other"), "No such file"),
        (("append", "{0}/file", "\n"), ""),
        (("append", "{0}/none/file", "\n"), "No such file"),
        (("dance", "{0}"), "no such step"),
        (("line", "{0}/file"), "too few words"),
    ],
)  # fmt: skip
def test_each_step_says_what_is_wrong(
    helper: Helper, tmp_path: Path, step: tuple[str, ...], said: str
) -> None:
    (tmp_path / "file").write_text("a line\n\nthe last one")
    (tmp_path / "number").write_text("7\n")
    (tmp_path / "full/one").mkdir(parents=True)
    (tmp_path / "full/other").mkdir()
    (tmp_path / "link").symlink_to("there")
    errand = words([tuple(word.format(tmp_path) for word in step)])
    if not said:
        helper.do(errand)
        return
    with pytest.raises(Refused) as refused:
        helper.do(errand)
    assert said in refused.value.detail


def test_an_errand_of_a_helper_that_was_killed_is_done_by_the_next(
    helper: Helper, tmp_path: Path
) -> None:
    helper.do(words([("append", f"{tmp_path}/file", "1\n")]))
    assert helper.pid is not None
    os.kill(helper.pid, signal.SIGKILL)
    for number in range(2, 5):
        with contextlib.suppress(AssayError):  # it may have heard the first one still
            helper.do(words([("append", f"{tmp_path}/file", f"{number}\n")]))
    assert (tmp_path / "file").read_text().startswith("1\n")
    assert (tmp_path / "file").read_text().endswith("4\n")


def test_hundreds_of_refused_errands_leave_no_descriptor(helper: Helper, tmp_path: Path) -> None:
    def held() -> int:
        return len(list(Path(f"/proc/{helper.pid}/fd").iterdir()))

    helper.do(words([("append", f"{tmp_path}/file", "1\n")]))
    before = held()
    for step in (("line", f"{tmp_path}/file", "2"), ("put", f"{tmp_path}", "2")):
        for _ in range(100):
            with pytest.raises(Refused):
                helper.do(words([step]))
    assert held() == before


async def test_users_that_are_another_sandboxes_by_now_are_not_freed(
    lean: LocalDriver, spec: SandboxSpec, state: Path
) -> None:
    async with open_session(lean, spec) as session:
        (link,) = (state / "users").iterdir()
        assert str(link.readlink()) == session.sandbox.id
        link.unlink()
        link.symlink_to("a-sandbox-of-another-server")
    assert str(link.readlink()) == "a-sandbox-of-another-server"
    link.unlink()
    assert await lean.list() == []
