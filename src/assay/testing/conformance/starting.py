"""How a program starts: what it is given, and what happens when there is none."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from assay.agent.files import delete_files, list_files, write_file
from assay.domain.command import WORKSPACE, Command
from assay.domain.outcome import OutcomeKind
from assay.driver.port import Cleanup
from assay.testing.case import Group, expect, expect_equal, expect_outcome
from assay.testing.workbench import PROBE, QUICK, Workbench

group = Group("starting")

_ARGUMENTS = (
    "",
    " ",
    "two words",
    "it's",
    '"quoted"',
    "line\nbreak",
    "tab\t",
    "$HOME `id` $(id) ; & | > *",
    "-n",
    "--",
    "\\",
    "äöü 漢字 🙂",
    "\udcff\udcfe",  # bytes that are no UTF-8
    "x" * 30_000,
)


@group.case()
async def arguments_arrive_verbatim(bench: Workbench) -> None:
    """Arguments reach the program byte for byte; no shell looks at them."""
    output = await bench.said(await bench.shared(), "args", *_ARGUMENTS)
    wanted = [argument.encode("utf-8", "surrogateescape") for argument in _ARGUMENTS]
    expect_equal(output.split(b"\0")[:-1], wanted, "the list of arguments")


@group.case()
async def environment_is_what_was_asked_for(bench: Workbench) -> None:
    """The environment holds exactly the variables of the command, and nothing of the agent's."""
    wanted = {"A": "x y", "NIL": "", "LF": "a\nb", "ÄÖ": "🙂", "PATH": "/nowhere", "EQ": "a=b"}
    output = await bench.said(await bench.shared(), "env", environment=wanted)
    entries = (entry.partition("=") for entry in output.decode().split("\0")[:-1])
    expect_equal({name: value for name, _, value in entries}, wanted, "the environment")


@group.case()
async def program_is_looked_up_in_path(bench: Workbench) -> None:
    """A name without a slash is searched in the PATH that the command brings."""
    session = await bench.shared()
    for path, found in ((f"/nowhere:{WORKSPACE}", True), ("/nowhere", False)):
        command = Command(argv=("probe", "echo", "hi"), environment={"PATH": path}, limits=QUICK)
        completed = await session.run(command)
        expect_equal(completed.outcome.code, 0 if found else 127, f"the exit code with PATH={path}")


@group.case()
async def working_directory(bench: Workbench) -> None:
    """A program starts in the folder that the command names."""
    session = await bench.shared()
    for folder in (WORKSPACE, "/tmp", "/"):
        output = await bench.said(session, "who", working_directory=folder)
        expect_equal(output.strip().rpartition(b"cwd=")[2].decode(), folder, "the folder")


@group.case("privilege_separation")
async def image_says_user_and_working_folder(bench: Workbench) -> None:
    """User, group and working folder of a root file system hold for programs and for files."""
    spec = bench.spec()
    root = replace(spec.root, user=1234, group=1235, working_folder="/course/work")
    session = await bench.session_of(replace(spec, root=root))
    who = Command(
        argv=("/course/work/probe", "who"), uid=root.user, gid=root.group,
        working_directory=root.working_folder, limits=QUICK,
    )  # fmt: skip
    said = _without_mark(bench, (await session.run(who)).stdout)
    expect_equal(said, b"uid=1234 gid=1235 groups=- cwd=/course/work\n", "who it is, and where")
    wrote = await session.run(replace(who, argv=(who.argv[0], "write", "mine", "1")))
    expect(wrote.outcome.success, f"it can't write in its folder: {wrote.stderr!r}")
    entries = await list_files(session.agent, root.working_folder)
    owners = {entry.name: entry.uid for entry in entries}
    expect_equal(owners, {"probe": 1234, "mine": 1234}, "whose the files are")


@group.case("privilege_separation")
async def learners_have_no_groups(bench: Workbench) -> None:
    """A learner's program runs with the numeric uid it was given, and its group alone.

    But for the one by which an agent without control groups knows the execution's processes.
    """
    session = await bench.shared()
    for uid in (10001, 1, 23456):
        output = await bench.said(session, "who", uid=uid, working_directory="/")
        output = _without_mark(bench, output)
        expect_equal(output, f"uid={uid} gid={uid} groups=- cwd=/\n".encode(), "who it is")


def _without_mark(bench: Workbench, output: bytes) -> bytes:
    if bench.capabilities.cleanup not in (Cleanup.KILL_ALL, Cleanup.STOP_WALK):
        return output
    return re.sub(rb" groups=60\d\d\d ", b" groups=- ", output)


@group.case("privilege_separation")
async def privileged_is_root(bench: Workbench) -> None:
    """A privileged program is the sandbox's root, and starts where learners can't write."""
    output = await bench.said(await bench.shared(), "who", privileged=True)
    expect(output.startswith(b"uid=0 gid=0 "), f"a privileged program is {output!r}")
    expect_equal(output.strip().rpartition(b"cwd=")[2], b"/", "the folder")


@group.case()
async def exit_codes(bench: Workbench) -> None:
    """Every exit code from 0 to 255 arrives as it is; 137 is no out-of-memory."""
    session = await bench.shared()
    for code in range(256):
        completed = await bench.run(session, "exit", str(code))
        expect_outcome(completed.outcome, OutcomeKind.EXITED, code=code)


@group.case()
async def signals_that_end_a_program(bench: Workbench) -> None:
    """A program that dies of a signal is reported with that signal."""
    session = await bench.shared()
    for number in (1, 2, 3, 4, 6, 8, 9, 11, 13, 14, 15, 31):
        completed = await bench.run(session, "signal", str(number))
        expect_outcome(completed.outcome, OutcomeKind.SIGNALED, signal=number)


@group.case()
async def not_found(bench: Workbench) -> None:
    """A program that is not there gives exit code 127 and ENOENT."""
    completed = await (await bench.shared()).run(Command(argv=("/workspace/none",), limits=QUICK))
    expect_outcome(completed.outcome, OutcomeKind.EXITED, code=127)
    expect_equal(completed.facts.start_error, "ENOENT", "the error")


@group.case()
async def not_executable(bench: Workbench) -> None:
    """What cannot be executed gives exit code 126: a file without the right, a folder, a text."""
    session = await bench.shared()
    await write_file(session.agent, WORKSPACE, "plain", b"text\n", mode=0o644)
    await write_file(session.agent, WORKSPACE, "text", b"no program\n", mode=0o755)
    cases = (("/workspace/plain", "EACCES"), ("/tmp", "EACCES"), ("/workspace/text", "ENOEXEC"))
    for path, error in cases:
        completed = await session.run(Command(argv=(path,), limits=QUICK))
        expect_outcome(completed.outcome, OutcomeKind.EXITED, code=126)
        expect_equal(completed.facts.start_error, error, f"the error for {path}")
    await delete_files(session.agent, WORKSPACE, "plain", "text")


@group.case()
async def bad_working_directory(bench: Workbench) -> None:
    """A working directory that is not there is a failed start, not a run elsewhere."""
    completed = await bench.run(await bench.shared(), "echo", "hi", working_directory="/not/there")
    expect_equal(completed.facts.start_error, "ENOENT", "the error")
    expect(completed.outcome.code in (126, 127), f"the outcome is {completed.outcome}")
    expect_equal(completed.stdout, b"", "the output")


@group.case()
async def several_at_once(bench: Workbench) -> None:
    """Programs run side by side in one sandbox, each with its own output."""
    session = await bench.shared()
    names = [f"number {i}" for i in range(8)]
    completed = await asyncio.gather(*(bench.run(session, "prompt", name, "0.2") for name in names))
    expect_equal([one.stdout.decode() for one in completed], names, "the outputs")


@group.case()
async def nothing_is_kept_in_the_way(bench: Workbench) -> None:
    """A failed start leaves the sandbox ready for the next program."""
    session = await bench.shared()
    for _ in range(20):
        await session.run(Command(argv=("/none",), limits=QUICK))
    command = Command(argv=(PROBE, "echo", "hi"), limits=QUICK)
    expect_equal((await session.run(command)).stdout, b"hi\n", "the output")
