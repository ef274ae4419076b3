"""An interpreter that waits for the next program, which must not be able to tell.

Each case runs what it is about twice: by an interpreter that has waited, and by one that is
started for it; the module `colorsys`, which nothing needs, shows which was which.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.agent.execution import Completed
from assay.agent.files import delete_files, list_files, write_file
from assay.agent.session import Session
from assay.domain.command import WORKSPACE, Command, TerminalSize
from assay.domain.limits import MIB
from assay.domain.outcome import OutcomeKind
from assay.testing.case import Group, NotTestable, expect, expect_equal, expect_outcome
from assay.testing.python import (
    VARIABLES,
    interpreter,
    let_wait,
    python,
    python_session,
    run_file,
)
from assay.testing.workbench import Started, Workbench

group = Group("interpreter", needs=("interpreters",))

MARK = "colorsys"
WAITED = f"import sys; print({MARK!r} in sys.modules)"

_IDENTITY = """
import sys
modules = sorted(name for name in sys.modules)
own = {name: str(value).split(" at 0x")[0] for name, value in globals().items() if name[0] == "_"}
import json, os, resource, signal
print(json.dumps({
    "modules": modules, "globals": sorted(own.items()), "main": sys.modules["__main__"].__name__,
    "argv": sys.argv, "whole argv": sys.orig_argv, "path": sys.path, "flags": str(sys.flags),
    "executable": sys.executable, "hook": str(sys.excepthook), "options": sys._xoptions,
    "environment": sorted(os.environ.items()), "folder": os.getcwd(), "umask": os.umask(0),
    "user": [os.getresuid(), os.getresgid()], "parent": os.getppid(),
    "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
    "descriptors": sorted(os.listdir("/proc/self/fd")),
    "in lists": open("/proc/self/cmdline").read().rstrip(chr(0)),
    "name": open("/proc/self/comm").read(),
    "limits": [resource.getrlimit(number) for number in range(16)],
    "ignored": [n for n in range(1, 65) if signal.getsignal(n) == signal.SIG_IGN],
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "first victim": open("/proc/self/oom_score_adj").read(),
    "streams": [[s.name, s.encoding, s.errors, s.line_buffering, s.write_through, s.isatty()]
                for s in (sys.stdin, sys.stdout, sys.stderr)],
}))
"""


async def _waiting(bench: Workbench, *packages: str, **limits: Any) -> Session:
    session = await python_session(bench, **limits)
    session.agent.keep_interpreter(interpreter(*packages))
    await let_wait(bench, session)
    return session


async def _both(
    bench: Workbench, session: Session, source: str, *arguments: str, **options: Any
) -> tuple[Completed, Completed]:
    """The same program by an interpreter that waits, and by one that is started for it."""
    session.agent.keep_interpreter(interpreter(MARK))
    await let_wait(bench, session)
    waited = await run_file(bench, session, source, *arguments, **options)
    session.agent.keep_interpreter(None)
    anew = await run_file(bench, session, source, *arguments, **options)
    return waited, anew


async def _expect(
    bench: Workbench, session: Session, waited: bool, *arguments: str, **options: Any
) -> None:
    await let_wait(bench, session)
    completed = await session.run(python(bench, *arguments, **options))
    expect_equal(
        (completed.stdout, completed.stderr), (b"%s\n" % str(waited).encode(), b""),
        f"what `python3 {' '.join(arguments)}` says",
    )  # fmt: skip


@group.case()
async def becomes_the_program(bench: Workbench) -> None:
    """An interpreter that waits has imported what it was told to, and becomes `python3 file.py`."""
    session = await _waiting(bench, MARK)
    await write_file(session.agent, WORKSPACE, "which.py", WAITED.encode())
    for _ in range(3):
        await _expect(bench, session, True, "which.py")
    session.agent.keep_interpreter(None)
    completed = await session.run(python(bench, "which.py"))
    expect_equal(completed.stdout, b"False\n", "what a program says that nothing waits for")


@group.case()
async def same_identity(bench: Workbench) -> None:
    """Arguments, variables, folder, user, limits, descriptors, signals: all as if started anew."""
    session = await python_session(bench)
    waited, anew = await _both(bench, session, _IDENTITY, "a", "b c", "", "ä", stdin=b"x")
    expect(waited.outcome.success, f"it ended with {waited.outcome}: {waited.stderr[-300:]!r}")
    one, other = json.loads(waited.stdout), json.loads(anew.stdout)
    extra = set(one.pop("modules")) - set(other.pop("modules"))
    expect(MARK in extra, "no interpreter had waited")
    if bench.capabilities.own_kernel:  # which lets nobody write into /proc/self/mem
        del other["in lists"]
    for name, value in other.items():
        expect_equal(one[name], value, name)
    session.agent.keep_interpreter(interpreter())
    await let_wait(bench, session)
    bare = await session.run(python(bench, "program.py"))
    modules = [json.loads(said.stdout)["modules"] for said in (bare, anew)]
    expect_equal(modules[0], modules[1], "the modules that are there without any package")


@group.case(timeout=60)
async def same_endings(bench: Workbench) -> None:
    """Exit codes, exceptions with their lines, signals and clean-up at the end are the same."""
    session = await python_session(bench)
    for source in (
        "import sys; sys.exit('a reason')",
        "import os; os.kill(os.getpid(), 11)",
        "def f(n):\n    return 1 / n\n\nif __name__ == '__main__':\n    f(0)\n",
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError('k') from error\n",
        "raise KeyboardInterrupt",
        "import sys\ndef hook(*a): print('hook', a[0].__name__, a[2].tb_lineno)\n"
        "sys.excepthook = hook\n1 / 0",
        "print('never'\n",
        "x = '\0'",
        "import atexit, sys, threading, time\natexit.register(print, 'at the end')\n"
        "said = threading.Event()\n"
        "late = lambda: (said.wait(), time.sleep(.1), print('late'))\n"
        "threading.Thread(target=late).start()\nprint('early')\nsaid.set()\nsys.exit(7)",
        "def f(): f()\ntry:\n    f()\nexcept RecursionError:\n    print('deep')",
        "import inspect, multiprocessing, pickle, sys\nclass A: pass\ndef f(x): return x + 1\n"
        "if __name__ == '__main__':\n"
        "    print(inspect.getsource(f), type(pickle.loads(pickle.dumps(A()))) is A)\n"
        "    print(__file__, __name__, sys.path[0])\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as p: print(p.map(f, [1, 2]))",
    ):
        waited, anew = await _both(bench, session, source)
        found, wanted = ((one.stdout, one.stderr, one.outcome) for one in (waited, anew))
        expect_equal(found, wanted, f"the end of {source!r}")
    missing = await _both(bench, session, "", name="other.py")
    await delete_files(session.agent, WORKSPACE, "other.py")
    session.agent.keep_interpreter(interpreter(MARK))
    await let_wait(bench, session)
    gone = await session.run(python(bench, "other.py"))
    expect_outcome(missing[0].outcome, OutcomeKind.EXITED, code=0)
    expect_outcome(gone.outcome, OutcomeKind.EXITED, code=2)
    expect(b"No such file" in gone.stderr, f"a file that is not there: {gone.stderr!r}")


@group.case()
async def everything_is_fresh(bench: Workbench) -> None:
    """Random numbers, the seed of hashes and the process are new for each program."""
    session = await _waiting(bench, "random", "ssl", "uuid")
    said = []
    source = (
        "import os, random, secrets, ssl, uuid\n"
        "print(random.random(), hash('x'), os.getpid(), secrets.token_hex(),"
        " ssl.RAND_bytes(8).hex(), uuid.uuid4(), sep='|')"
    )
    for _ in range(3):
        await let_wait(bench, session)
        said.append((await run_file(bench, session, source)).stdout.decode().split("|"))
    for values in zip(*said, strict=True):
        expect_equal(len(set(values)), 3, f"the number of different values among {values}")


@group.case(timeout=60)
async def same_limits(bench: Workbench) -> None:
    """Time, memory and output are limited, and measured, from the request on."""
    session = await _waiting(bench, MARK, "decimal", memory_bytes=48 * MIB, disk_bytes=8 * MIB)
    slept = await run_file(bench, session, "import time; time.sleep(60)", wall=0.3)
    expect_outcome(slept.outcome, OutcomeKind.TIMED_OUT, clock="wall")
    await let_wait(bench, session)
    spun = await run_file(bench, session, "while True: pass", cpu=0.3)
    expect_outcome(spun.outcome, OutcomeKind.TIMED_OUT, clock="cpu")
    await let_wait(bench, session)
    flooded = await run_file(bench, session, "while True: print('x' * 1000)", output=10_000)
    expect_outcome(flooded.outcome, OutcomeKind.OUTPUT_LIMIT)
    expect_equal(len(flooded.stdout), 10_000, "the bytes of output")
    if bench.capabilities.memory_limit and bench.capabilities.oom_facts:
        await let_wait(bench, session)
        grown = await run_file(bench, session, "x = [b'x' * (1 << 20) for _ in range(1000)]")
        expect_outcome(grown.outcome, OutcomeKind.OUT_OF_MEMORY)


@group.case("exact_cpu_time")
async def imports_are_not_counted(bench: Workbench) -> None:
    """Processor time that went into imports before the request is not the program's."""
    session = await _waiting(bench, "asyncio", "unittest", "http.server", "email", "ctypes")
    waited = await run_file(bench, session, "import asyncio, http.server, unittest; print(1)")
    session.agent.keep_interpreter(None)
    anew = await session.run(python(bench, "program.py"))
    used = [completed.facts.cpu_ns for completed in (waited, anew)]
    expect(used[0] is not None and used[1] is not None, "processor time was not measured")
    one, other = (measured.value for measured in used if measured is not None)
    expect(one < other / 2, f"{one / 1e6:.1f} ms were counted, and {other / 1e6:.1f} anew")


@group.case()
async def streams(bench: Workbench) -> None:
    """Standard input, output and error are the program's, whatever imports have said before."""
    session = await _waiting(bench, "this", MARK)
    source = "import sys\nprint(sys.stdin.read().upper())\nprint('error', file=sys.stderr)"
    completed = await run_file(bench, session, source, stdin=b"x" * 100_000)
    expect_equal(completed.stdout, b"X" * 100_000 + b"\n", "the output")
    expect_equal(completed.stderr, b"error\n", "the error output")
    await let_wait(bench, session)
    closed = await run_file(bench, session, "print(repr(input('? ')))")
    expect(b"EOFError" in closed.stderr, f"without input: {closed.stderr!r}")


@group.case()
async def terminal(bench: Workbench) -> None:
    """A terminal is the program's controlling one, as interactive and as wide as was asked for."""
    session = await _waiting(bench, MARK)
    await write_file(
        session.agent, WORKSPACE, "talk.py",
        f"import os, sys\nprint({MARK!r} in sys.modules, os.isatty(0), os.get_terminal_size(),"
        " sys.stdout.line_buffering, os.tcgetpgrp(0) == os.getpid())\n"
        "try:\n    print('Hello', input('Who? '))\n    open('/dev/tty').close()\n    input()\n"
        "except KeyboardInterrupt:\n    print('stopped')".encode(),
    )  # fmt: skip
    size = TerminalSize(rows=30, columns=90)
    command = python(bench, "talk.py", terminal=size, stdin=True, more={"TERM": "dumb"})
    execution = await session.start(command)
    started = Started(session=session, command=command, execution=execution)
    said = await started.read(b"Who? ")
    wanted = b"True True os.terminal_size(columns=90, lines=30) True True"
    expect_equal(said.splitlines()[0], wanted, "what it says of its terminal")
    await execution.write(b"Ada\n")
    await started.read(b"Hello Ada\r\n")
    await asyncio.sleep(0.05)
    if bench.capabilities.terminal_keys:
        await execution.write(b"\x03")
        await started.read(b"stopped\r\n")
        _, outcome = await started.conclude()
        expect_outcome(outcome, OutcomeKind.EXITED, code=0)
    else:
        await execution.cancel()
        await started.conclude()


@group.case(timeout=60)
async def what_does_not_fit_starts_anew(bench: Workbench) -> None:
    """Options, other variables, users' packages and files that hide a module: a new interpreter."""
    session = await _waiting(bench, MARK)
    await write_file(session.agent, WORKSPACE, "which.py", WAITED.encode())
    await write_file(session.agent, WORKSPACE, "in/which.py", WAITED.encode())
    await write_file(session.agent, WORKSPACE, "bare/which.py", WAITED.encode())
    await write_file(session.agent, WORKSPACE, "bare/colorsys.py", b"")
    for waited, *arguments in (
        (True, "which.py"), (True, "./which.py"), (True, "/workspace/in/which.py", "-c"),
        (False, "-B", "which.py"), (False, "-c", WAITED), (False, "bare/which.py"),
        (False, "-m", "which"),
    ):  # fmt: skip
        await _expect(bench, session, waited, *arguments)
    await _expect(bench, session, True, "which.py", more={"TERM": "dumb"})
    for more in ({"PYTHONHASHSEED": "1"}, {"LANG": "C"}, {"ANY": "thing"}, {"PATH": "/usr/bin"}):
        await _expect(bench, session, False, "which.py", more=more)
    await _expect(bench, session, False, "which.py", files=64)
    await _expect(bench, session, True, "which.py", working_directory="/workspace/in")
    await let_wait(bench, session)
    by_name = replace(python(bench, "which.py"), argv=("python3", "which.py"))
    expect_equal((await session.run(by_name)).stdout, b"True\n", "what `python3` in PATH says")
    version = await session.run(
        python(bench, "-c", "import site; print(site.getusersitepackages())")
    )
    folder = version.stdout.decode().strip().removeprefix(f"{WORKSPACE}/")
    await write_file(session.agent, WORKSPACE, f"{folder}/usercustomize.py", b"import colorsys")
    await let_wait(bench, session)
    own = await session.run(python(bench, "which.py"))
    expect_equal(own.stdout, b"True\n", "what a program says that has packages of its own")
    await delete_files(session.agent, WORKSPACE, ".local")


@group.case()
async def lines_for_bash(bench: Workbench) -> None:
    """A line of plain words is its program, as bash would start it; any other one is bash's."""
    session = await _waiting(bench, MARK)
    if not Path("/bin/bash").exists():
        raise NotTestable("there is no /bin/bash on this machine")
    await write_file(session.agent, WORKSPACE, "which.py", WAITED.encode())
    await write_file(session.agent, WORKSPACE, "program.py", _IDENTITY.encode())
    for waited, line in (
        (True, "python3 which.py"), (True, "/usr/bin/python3  which.py a=b -x "),
        (False, "python3 which.py $HOME"), (False, "python3 which.py; true"),
        (False, "A=b python3 which.py"), (False, "python3 'which.py'"),
        (False, "python3 -B which.py"), (False, "python3 which.py | cat"),
        (False, "python3 which.py # x"), (False, "exec python3 which.py"),
        (False, "python3 which.py ~"),
    ):  # fmt: skip
        await let_wait(bench, session)
        completed = await session.run(_line(bench, line))
        expect_equal(completed.stdout, b"%s\n" % str(waited).encode(), f"what {line!r} says")
        await session.run(python(bench, "which.py"))  # after three others, none would wait
    said = []
    for asked in (interpreter(MARK), None):
        session.agent.keep_interpreter(asked)
        if asked is not None:
            await let_wait(bench, session)
        completed = await session.run(_line(bench, "python3 program.py a --b"))
        said.append(json.loads(completed.stdout))
        said[-1].pop("modules")
        if bench.capabilities.own_kernel:
            said[-1].pop("in lists")
    for name, value in said[1].items():
        expect_equal(said[0][name], value, name)


def _line(bench: Workbench, line: str) -> Command:
    return replace(python(bench), argv=("/bin/bash", "-c", line))


@group.case("privilege_separation")
async def never_for_root(bench: Workbench) -> None:
    """A privileged program is never run by an interpreter that waits for a learner's."""
    session = await _waiting(bench, MARK)
    await write_file(session.agent, WORKSPACE, "which.py", WAITED.encode())
    await _expect(bench, session, False, "which.py", privileged=True, working_directory=WORKSPACE)
    await _expect(bench, session, True, "which.py")


@group.case()
async def modules_that_are_not_there(bench: Workbench) -> None:
    """A package that can't be imported, or says something, doesn't keep the others from it."""
    session = await _waiting(bench, "no_such_package", "this", MARK)
    completed = await run_file(bench, session, WAITED)
    expect_equal(completed.stdout, b"True\n", "the output")
    expect_equal(completed.stderr, b"", "the error output")


@group.case()
async def files_go_on_meanwhile(bench: Workbench) -> None:
    """Files are put and listed while an interpreter waits, and it goes on waiting."""
    session = await _waiting(bench, MARK)
    await write_file(session.agent, WORKSPACE, "which.py", WAITED.encode())
    names = {entry.name for entry in await list_files(session.agent, WORKSPACE)}
    expect("which.py" in names, f"the files are {names}")
    completed = await session.run(python(bench, "which.py"))
    expect_equal(completed.stdout, b"True\n", "the output")
    expect(VARIABLES["HOME"] == WORKSPACE, "the learner's HOME is the workspace")
