"""Attacks on the interpreter that waits for the next program, and by what waits in its way.

It is there only while no program runs, so there is nobody who could stop it, change its memory or
write into its pipes; and what it imports is found without a look into the learner's folders.

These cases fail when that is off: an interpreter that is kept beside programs is seen by `watcher`,
and one that is started with the learner's HOME runs `usercustomize`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from assay.agent.files import delete_files, list_files, write_file
from assay.agent.session import Session
from assay.domain.command import WORKSPACE
from assay.domain.outcome import OutcomeKind
from assay.testing.case import Group, expect, expect_equal, expect_outcome
from assay.testing.conformance.interpreter import MARK, WAITED
from assay.testing.python import interpreter, let_wait, python, python_session, run_file
from assay.testing.workbench import Started, Workbench

group = Group("waiting", hostile=True, needs=("interpreters",))

_WATCHER: Final = """
import os, signal, sys, time

def interpreters():
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        try:
            line = open(f"/proc/{pid}/cmdline").read()
        except OSError:
            continue
        if pid not in (1, os.getpid()) and "posix" in line:
            yield pid

late = time.monotonic() + 5
while any(interpreters()) and time.monotonic() < late:
    time.sleep(0.01)  # what was dismissed for this program may still be ending
print("watching", flush=True)
seen = set()
while not os.path.exists(sys.argv[1]):
    for pid in interpreters():
        seen.add(pid)
        for path, flags in (("mem", os.O_RDWR), ("fd/1", os.O_WRONLY)):
            try:
                os.write(os.open(f"/proc/{pid}/{path}", flags), b"poison")
            except OSError:
                pass
        os.kill(pid, signal.SIGSTOP)
print(sorted(seen))
"""
_LEFT_BEHIND: Final = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    if os.fork() == 0:
        while True:
            try:
                os.kill(-1, int(sys.argv[1]))
            except OSError:
                pass
time.sleep(0.1)
try:
    os.kill(-1, int(sys.argv[1]))
except OSError:
    pass
"""
_TRACE: Final = b"open('/workspace/ran', 'a').write(__name__)\n"


async def _serves(bench: Workbench, session: Session) -> None:
    await let_wait(bench, session)
    completed = await run_file(bench, session, WAITED, name="serves.py")
    expect_equal((completed.stdout, completed.stderr), (b"True\n", b""), "what the next one says")


async def _waiting(bench: Workbench) -> Session:
    session = await python_session(bench)
    session.agent.keep_interpreter(interpreter(MARK))
    await let_wait(bench, session)
    return session


@group.case()
async def watcher(bench: Workbench) -> None:
    """While any program runs, no interpreter waits: it can't be seen, stopped or written to."""
    session = await _waiting(bench)
    await write_file(session.agent, WORKSPACE, "watch.py", _WATCHER.encode())
    command = python(bench, "watch.py", "enough")
    watching = Started(session=session, command=command, execution=await session.start(command))
    await watching.read(b"watching\n")
    for _ in range(3):
        beside = await run_file(bench, session, WAITED, name="beside.py")
        expect_equal(beside.stdout, b"False\n", "what a program beside another one says")
        await asyncio.sleep(0.1)
    await write_file(session.agent, WORKSPACE, "enough", b"")
    said = b"".join([chunk.data async for chunk in watching.execution.output()])
    _, outcome = await watching.conclude()
    expect_equal((said, outcome.code), (b"[]\n", 0), "the interpreters that were seen")
    await _serves(bench, session)


@group.case(timeout=60)
async def what_programs_leave(bench: Workbench) -> None:
    """Processes that stay, ignore signals and signal everybody end with their program."""
    session = await _waiting(bench)
    for number in (19, 9, 15):  # SIGSTOP, SIGKILL, SIGTERM
        left = await run_file(bench, session, _LEFT_BEHIND, str(number), wall=0.7)
        lost = left.outcome.kind is OutcomeKind.LOST
        expect(not lost, f"it ended with {left.outcome}")
        await _serves(bench, session)


@group.case()
async def files_that_python_would_run(bench: Workbench) -> None:
    """Nothing of the learner's is run before somebody asks for it, whatever its name is."""
    session = await python_session(bench)
    where = await run_file(bench, session, "import site; print(site.getusersitepackages())")
    packages = where.stdout.decode().strip().removeprefix(f"{WORKSPACE}/")
    names = (
        f"{packages}/usercustomize.py", f"{packages}/sitecustomize.py", f"{packages}/{MARK}.py",
        "usercustomize.py", "sitecustomize.py", f"{MARK}.py", "encodings.py", "posix.py", "os.py",
        "pyvenv.cfg", "python3._pth",
    )  # fmt: skip
    for name in names:
        await write_file(session.agent, WORKSPACE, name, _TRACE)
    line = b"import sys; open('/workspace/ran', 'a').write('pth')\n"
    await write_file(session.agent, WORKSPACE, f"{packages}/a.pth", line)
    session.agent.keep_interpreter(interpreter(MARK))
    await let_wait(bench, session)
    found = {entry.name for entry in await list_files(session.agent, WORKSPACE)}
    expect("ran" not in found, "an interpreter that waits has run a learner's file")
    own = await run_file(bench, session, "print(1)", name="in/program.py")
    expect_equal(own.stdout, b"1\n", "what a program says")
    found = {entry.name for entry in await list_files(session.agent, WORKSPACE)}
    expect("ran" in found, "the learner's packages were not run for the learner's program")
    await delete_files(session.agent, WORKSPACE, ".local", *(n for n in names if "/" not in n))
    await _serves(bench, session)


@group.case()
async def changes_of_one_program(bench: Workbench) -> None:
    """What a program changes in its modules is gone with it."""
    session = await _waiting(bench)
    poison = (
        f"import builtins, sys, {MARK}, random\nbuiltins.print = None\nrandom.seed(1)\n"
        f"{MARK}.poison = 1\nsys.path.insert(0, '/tmp')\nsys.modules['json'] = sys"
    )
    expect_outcome((await run_file(bench, session, poison)).outcome, OutcomeKind.EXITED, code=0)
    await let_wait(bench, session)
    look = (
        f"import json, sys, {MARK}\n"
        f"print(hasattr({MARK}, 'poison'), '/tmp' in sys.path, json is sys)"
    )
    completed = await run_file(bench, session, look)
    expect_equal(completed.stdout, b"False False False\n", "what is left for the next program")


@group.case()
async def requests_in_a_flood(bench: Workbench) -> None:
    """Programs in a row and at the same time all run, whether an interpreter was there or not."""
    session = await _waiting(bench)
    await write_file(session.agent, WORKSPACE, "echo.py", b"import sys; print(sys.argv[1])")
    for burst in (1, 5, 2, 1, 1, 1):
        numbers = [str(number) for number in range(burst)]
        done = await asyncio.gather(
            *(session.run(python(bench, "echo.py", number)) for number in numbers)
        )
        said = [one.stdout.decode().strip() for one in done]
        expect_equal(said, numbers, "what programs in a flood say")
    await _serves(bench, session)
