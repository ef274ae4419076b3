"""What `lean` does on the host for its server, and what happens when it can't."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay.agent.native import program
from assay.agent.session import open_session
from assay.domain.errors import AssayError, RuntimeFailed
from assay.driver.port import SandboxSpec
from assay.drivers.lean import LeanDriver
from assay.drivers.lean import helper as helper_module
from assay.drivers.lean.helper import Helper, Refused
from assay.drivers.linux import spares
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.process import Hold
from assay.drivers.linux.stage import words

pytestmark = pytest.mark.root


@pytest.fixture
async def helper() -> AsyncIterator[Helper]:
    made = Helper(program("lean"), lambda _pid: None)
    yield made
    await made.aclose()


async def test_an_errand_ends_at_the_first_step_that_can_not_be_taken(
    helper: Helper, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("one\ntwo 2\n")
    with pytest.raises(Refused, match="lean") as refused:
        await helper.do(words([
            ("unlink", f"{tmp_path}/a"), ("line", f"{tmp_path}/b", "two"),
            ("unlink", f"{tmp_path}/c"),
        ]))  # fmt: skip
    assert refused.value.detail == f"other than was expected: {tmp_path}/b: Invalid argument"
    assert [each.name for each in sorted(tmp_path.iterdir())] == ["b", "c"]

    await helper.do(words([("unlink", f"{tmp_path}/c")]))  # it goes on


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (("line", "{0}/file", "a line"), ""),
        (("line", "{0}/file", "the last one"), ""),
        (("line", "{0}/file", "the last"), "other than was expected"),
        (("line", "{0}/file", "line"), "other than was expected"),
        (("line", "{0}/none", "x"), "No such file"),
        (("line_soon", "{0}/file", "a line"), ""),
        (("line_soon", "{0}/file", "x"), "other than was expected"),
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
async def test_each_step_says_what_is_wrong(
    helper: Helper, tmp_path: Path, step: tuple[str, ...], said: str
) -> None:
    (tmp_path / "file").write_text("a line\n\nthe last one")
    (tmp_path / "number").write_text("7\n")
    (tmp_path / "full/one").mkdir(parents=True)
    (tmp_path / "full/other").mkdir()
    (tmp_path / "link").symlink_to("there")
    errand = words([tuple(word.format(tmp_path) for word in step)])
    if not said:
        await helper.do(errand)
        return
    with pytest.raises(Refused) as refused:
        await helper.do(errand)
    assert said in refused.value.detail


async def test_an_errand_of_a_helper_that_was_killed_is_done_by_the_next(
    helper: Helper, tmp_path: Path
) -> None:
    await helper.do(words([("append", f"{tmp_path}/file", "1\n")]))
    assert helper.pid is not None
    os.kill(helper.pid, signal.SIGKILL)
    for number in range(2, 5):
        with contextlib.suppress(AssayError):  # it may have heard the first one still
            await helper.do(words([("append", f"{tmp_path}/file", f"{number}\n")]))
    assert (tmp_path / "file").read_text().startswith("1\n")
    assert (tmp_path / "file").read_text().endswith("4\n")


async def test_what_a_server_has_asked_for_that_was_killed_is_not_done_later(
    helper: Helper, tmp_path: Path
) -> None:
    """The next server may have tidied up by then: nobody would look for what is made afterwards."""
    await helper.do(words([("append", f"{tmp_path}/file", "1\n")]))
    process, connection = helper._process, helper._connection
    assert process is not None
    assert connection is not None
    os.kill(process.pid, signal.SIGSTOP)
    await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED)
    asking = asyncio.ensure_future(helper.do(words([("append", f"{tmp_path}/file", "2\n")])))
    await asyncio.sleep(0.05)
    asyncio.get_running_loop().remove_reader(connection.fileno())  # a dead server ends nobody
    connection.shutdown(socket.SHUT_RDWR)  # as the kernel does for it
    os.kill(process.pid, signal.SIGCONT)
    assert await asyncio.to_thread(process.wait, 10) == 0
    await helper.aclose()
    with pytest.raises(RuntimeFailed):
        await asking
    assert (tmp_path / "file").read_text() == "1\n"


async def test_a_helper_that_hangs_is_given_up_and_whoever_waits_for_it_goes_on(
    helper: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    await helper.do(words([("append", f"{file}", "1\n")]))
    assert helper.pid is not None
    monkeypatch.setattr(helper_module, "_SECONDS_TO_STEP", 0.5)
    hanging = helper.pid
    os.kill(hanging, signal.SIGSTOP)
    long = words([("line", f"{file}", "x" * 4000)])
    errands = [asyncio.ensure_future(helper.do(long)) for _ in range(300)]  # more than it is sent
    done, late = await asyncio.wait(errands, timeout=20)
    assert not late
    assert {type(each.exception()) for each in done} <= {RuntimeFailed, Refused}
    assert helper.pid != hanging
    monkeypatch.undo()
    await helper.do(words([("append", f"{file}", "2\n")]))
    assert file.read_text() == "1\n2\n"


async def test_hundreds_of_refused_errands_leave_no_descriptor(
    helper: Helper, tmp_path: Path
) -> None:
    def held() -> int:
        return len(list(Path(f"/proc/{helper.pid}/fd").iterdir()))

    await helper.do(words([("append", f"{tmp_path}/file", "1\n")]))
    before = held()
    for step in (("line", f"{tmp_path}/file", "2"), ("put", f"{tmp_path}", "2")):
        for _ in range(100):
            with pytest.raises(Refused):
                await helper.do(words([step]))
    assert held() == before


async def test_a_plan_that_has_lost_its_descriptors_is_no_errand(
    helper: Helper, tmp_path: Path
) -> None:
    await helper.do(words([("append", f"{tmp_path}/file", "1\n")]))
    assert helper._connection is not None
    helper._connection.send(words([("append", f"{tmp_path}/file", "on the host, as root\n")]))
    await helper.do(words([("append", f"{tmp_path}/file", "2\n")]))  # and the answer is to this one
    assert (tmp_path / "file").read_text() == "1\n2\n"


async def test_a_sandbox_is_gone_though_the_answer_of_its_errand_was_lost(
    lean: LocalDriver, spec: SandboxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[bytes] = []

    async def lost(self: Helper, errand: bytes) -> None:
        await does(self, errand)
        done.append(errand)
        raise RuntimeFailed("lean has ended on an errand")

    does = Helper.do
    monkeypatch.setattr(spares, "SPARES_MOST", 1 << 20)  # whatever others have laid aside
    for _ in range(20):  # now and then it is removed in another way, on a busy machine
        async with open_session(lean, spec):
            monkeypatch.setattr(Helper, "do", lost)
        monkeypatch.setattr(Helper, "do", does)
        if done:
            break
    assert done
    assert isinstance(lean, LeanDriver)
    assert lean._lean._made == {}
    monkeypatch.undo()
    async with open_session(lean, spec):
        pass


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_an_errand_has_done_stays_done_though_its_answer_was_lost(
    lean: LocalDriver, spec: SandboxSpec, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    """Who is killed now, as a server may be, can't see to it in another way."""
    assert isinstance(lean, LeanDriver)
    done: list[bytes] = []

    async def lost(self: Helper, errand: bytes) -> None:
        await does(self, errand)
        done.append(errand)
        raise asyncio.CancelledError if cancelled else RuntimeFailed("lean has ended on an errand")

    does = Helper.do
    monkeypatch.setattr(spares, "SPARES_MOST", 1 << 20)  # whatever others have laid aside
    async with open_session(lean, spec):
        pass
    for _ in range(20):  # now and then it is not as new, on a busy machine
        sandbox = await lean.create(spec)
        monkeypatch.setattr(Helper, "do", lost)
        remove = lean._lean.groups.remove
        monkeypatch.setattr(lean._lean.groups, "remove", lambda *_: None)
        with contextlib.suppress(asyncio.CancelledError):
            await lean.destroy(sandbox.id)
        monkeypatch.setattr(Helper, "do", does)
        monkeypatch.setattr(lean._lean.groups, "remove", remove)
        if done:
            break
        lean._lean.groups.remove(sandbox.id, None)
    assert done
    assert await lean.list() == []
    assert not list(Path("/sys/fs/cgroup").glob(f"*/assay/{sandbox.id}"))


async def test_a_sandbox_that_goes_as_soon_as_it_is_made_is_locked_by_nobody(
    lean: LocalDriver, spec: SandboxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_session(lean, spec):
        pass
    assert isinstance(lean, LeanDriver)
    refuse = lambda *_: pytest.fail("somebody still had its lock")  # noqa: E731
    monkeypatch.setattr(lean._lean, "remove", refuse)
    slow = await asyncio.create_subprocess_exec(
        "strace", "--attach", f"{lean.helper}", "--output", "/dev/null", "--trace", "close",
        "--inject", "close:delay_exit=30000", stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert slow.stderr is not None
        assert b"attached" in await slow.stderr.readline()
        for _ in range(3):
            await lean.destroy((await lean.create(spec)).id)
    finally:
        slow.terminate()
        await slow.wait()


def test_a_hold_that_was_let_go_of_kills_nobody() -> None:
    child = subprocess.Popen(["/bin/sleep", "60"])
    try:
        hold = Hold(os.pidfd_open(child.pid))
        assert hold.runs()
        hold.close()
        reused = os.pidfd_open(child.pid)  # most often with the same number
        hold.kill(time.monotonic() + 1)
        os.close(reused)
        assert not hold.runs()
        assert child.poll() is None
        again = Hold(os.pidfd_open(child.pid))
        again.kill(time.monotonic() + 5)
        assert not again.runs()
        again.close()
    finally:
        child.kill()
        child.wait()


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
