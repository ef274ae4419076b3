"""What programs in a sandbox can see, reach and use up."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from assay.agent.session import Session, open_session
from assay.domain.command import Command
from assay.domain.errors import SandboxGone
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.domain.outcome import OutcomeKind
from assay.driver.port import SandboxSpec
from assay.drivers.linux.driver import LocalDriver

pytestmark = pytest.mark.root

PYTHON = "/usr/bin/python3"


@pytest.fixture
async def session(driver: LocalDriver, spec: SandboxSpec) -> AsyncIterator[Session]:
    limits = SandboxLimits(memory_bytes=128 * MIB, processes=20, disk_bytes=8 * MIB, inodes=100)
    async with open_session(driver, replace(spec, limits=limits)) as opened:
        yield opened


async def python(session: Session, program: str, *, privileged: bool = False) -> str:
    """The output of a Python program; fails when it does."""
    command = Command(argv=(PYTHON, "-I", "-S", "-c", program), privileged=privileged)
    done = await session.run(command)
    assert done.outcome.success, (done.outcome, done.stdout, done.stderr)
    return done.stdout.decode()


SYSTEM_CALLS = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return errno.errorcode[ctypes.get_errno()] if result == -1 else result
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86_64's")
async def test_system_calls_that_reach_for_the_kernel_are_refused(session: Session) -> None:
    found = await python(
        session,
        SYSTEM_CALLS
        + """
for name, number, arguments in [
    ("unshare", 272, [0x10000000]), ("setns", 308, [0, 0]), ("mount", 165, [0] * 5),
    ("umount2", 166, [0, 0]), ("pivot_root", 155, [0, 0]), ("chroot", 161, [0]),
    ("ptrace", 101, [0] * 4), ("process_vm_readv", 310, [0] * 6), ("bpf", 321, [0, 0, 0]),
    ("perf_event_open", 298, [0] * 5), ("userfaultfd", 323, [0]), ("keyctl", 250, [0] * 5),
    ("add_key", 248, [0] * 5), ("open_by_handle_at", 304, [0] * 3), ("syslog", 103, [3, 0, 0]),
    ("clock_settime", 227, [0, 0]), ("fsopen", 430, [0, 0]), ("open_tree", 428, [0] * 3),
    ("pidfd_getfd", 438, [0] * 3), ("kexec_load", 246, [0] * 4), ("swapon", 167, [0, 0]),
    ("io_uring_setup", 425, [0, 0]), ("clone3", 435, [0, 0]), ("an unknown one", 900, []),
    ("a new user namespace", 56, [0x10000011, 0, 0, 0, 0]), ("raw socket", 41, [2, 3, 1]),
    ("AF_PACKET", 41, [17, 3, 0]), ("AF_ALG", 41, [38, 5, 0]), ("AF_VSOCK", 41, [40, 1, 0]),
    ("netlink audit", 41, [16, 3, 9]), ("sync", 162, []),
    ("inotify", 294, [0]), ("TIOCSTI", 16, [0, 0x5412, 0]),
    ("TIOCSTI, hidden", 16, [0, 0x100005412, 0]),
    ("sync_file_range", 277, [0] * 4), ("fadvise64", 221, [0] * 4),
    ("seccomp", 317, [1, 0, 0]), ("PR_SET_SECCOMP", 157, [22, 2, 0, 0, 0]),
    ("SO_ATTACH_FILTER", 54, [0, 1, 26, 0, 0]),
]:
    print(name, call(number, *arguments))
""",
    )
    answers = dict(line.rsplit(" ", 1) for line in found.splitlines())

    without = {"io_uring_setup", "clone3", "an unknown one", "a new user namespace"}
    without |= {"netlink audit"}
    families = {"AF_PACKET", "AF_ALG", "AF_VSOCK"}
    for name, answer in answers.items():
        if name in ("sync", "sync_file_range", "fadvise64"):
            assert answer == "0", name
        elif name in without:
            assert answer == "ENOSYS", name
        elif name in families:
            assert answer == "EAFNOSUPPORT", name
        elif name == "inotify":
            assert answer == "EMFILE"
        else:
            assert answer == "EPERM", name


async def test_the_second_sandbox_has_the_same_filter_as_the_first(
    driver: LocalDriver, spec: SandboxSpec
) -> None:
    seen = set()
    for _ in range(3):
        async with open_session(driver, spec) as session:
            calls = SYSTEM_CALLS + "print(call(272, 0), call(435, 0, 0))"
            status = await python(session, "print(*open('/proc/self/status'))")
            seen.add((await python(session, calls), "Seccomp:\t2" in status))

    assert seen == {("EPERM ENOSYS\n", True)}


async def test_a_learner_has_no_rights_and_sees_only_its_own_processes(session: Session) -> None:
    program = """
import os
print(os.getuid(), os.getgid(), os.getgroups(), os.getcwd(), os.uname().nodename)
status = dict(line.strip().partition(":\\t")[::2] for line in open("/proc/self/status"))
print(*(int(status["Cap" + kind], 16) for kind in ("Inh", "Prm", "Eff", "Amb")))
print(status["NoNewPrivs"], status["Seccomp"])
print(len([name for name in os.listdir("/proc") if name.isdecimal()]))
"""
    assert (await python(session, program)).splitlines() == [
        "10001 10001 [] /workspace sandbox",
        "0 0 0 0",
        "1 2",
        "1",
    ]


async def test_a_program_as_root_has_the_five_capabilities_at_most(session: Session) -> None:
    program = "print([line.split()[1] for line in open('/proc/self/status') if 'CapEff' in line])"
    (found,) = eval(await python(session, program, privileged=True))

    assert int(found, 16) & ~0xE3 == 0


async def test_only_the_writable_layer_can_be_written(session: Session) -> None:
    program = """
import os
for folder in ("/", "/usr", "/etc", "/dev", "/.assay", "/.assay/control", "/proc/sys/kernel",
               "/workspace", "/tmp", "/var/tmp", "/dev/shm"):
    try:
        open(folder + "/mine", "w").close()
        print(folder)
    except OSError:
        pass
"""
    assert (await python(session, program)).split() == [
        "/workspace", "/tmp", "/var/tmp", "/dev/shm",
    ]  # fmt: skip
    as_root = (await python(session, program, privileged=True)).split()
    assert not {"/", "/usr", "/etc", "/.assay", "/proc/sys/kernel"} & set(as_root)


async def test_the_secret_and_the_socket_are_out_of_a_learners_reach(session: Session) -> None:
    program = """
import os, socket
for look in (lambda: os.listdir("/.assay/control"), lambda: os.listdir("/.assay/cgroup/memory")[0],
             lambda: open("/proc/1/environ"), lambda: os.listdir("/proc/1/fd"),
             lambda: socket.socket(socket.AF_UNIX).connect("/.assay/control/socket")):
    try:
        print(look())
    except (OSError, IndexError):
        print("refused")
"""
    assert (await python(session, program)).split() == ["refused"] * 5


async def test_not_even_root_in_a_sandbox_sees_its_control_groups(session: Session) -> None:
    program = """
import os
print([os.listdir(f"/.assay/cgroup/{name}") for name in ("memory", "pids", "cpu")])
print([line for line in open("/proc/self/mounts") if line.startswith("cgroup")])
"""
    seen = await python(session, program, privileged=True)
    assert seen.splitlines() == ["[[], [], []]", "[]"]


async def test_nothing_of_the_host_shows_in_proc(session: Session) -> None:
    program = """
import os
for path in ("cmdline", "keys", "kallsyms", "interrupts", "diskstats", "kcore", "timer_list",
             "sysrq-trigger", "bus", "irq", "fs", "pressure", "config.gz", "partitions"):
    path = "/proc/" + path
    try:
        empty = not os.listdir(path) if os.path.isdir(path) else not open(path).read(1)
    except OSError:
        empty = True
    if not empty:
        print(path)
print(os.path.exists("/sys/kernel"))
"""
    for privileged in (False, True):
        assert await python(session, program, privileged=privileged) == "False\n"


async def test_there_is_no_network_but_its_own(session: Session) -> None:
    program = """
import socket
print([name for _, name in socket.if_nameindex()])
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
try:
    socket.create_connection(("192.0.2.1", 80), timeout=2)
except OSError as error:
    print(error.errno == 101)
"""
    names, unreachable = (await python(session, program)).splitlines()

    assert set(eval(names)) <= {"lo", "sit0", "tunl0", "ip6tnl0"}
    assert unreachable == "True"


async def test_memory_is_limited_and_its_end_counted_while_the_agent_lives(
    driver: LocalDriver, session: Session
) -> None:
    before = await driver.examine(session.sandbox.id)
    done = await session.run(Command(argv=(PYTHON, "-c", "x = b'x' * (300 << 20)")))

    assert done.outcome.kind is OutcomeKind.OUT_OF_MEMORY
    after = await driver.examine(session.sandbox.id)
    assert before is not None
    assert after is not None
    assert after.running
    assert (before.oom_kills, after.oom_kills) == (0, 1)
    assert after.cpu_ns > (before.cpu_ns or 0)  # type: ignore[operator]
    assert await python(session, "print('alive')") == "alive\n"


async def test_files_in_the_writable_layer_count_as_memory_and_have_limits(
    session: Session,
) -> None:
    program = """
import errno, os
def until_full(path, size):
    count = 0
    try:
        while True:
            with open(f"{path}/{count}", "wb") as file:
                file.write(bytes(size))
            count += 1
    except OSError as error:
        return count, errno.errorcode[error.errno]
print(*until_full("/workspace", 1 << 20), *until_full("/tmp", 0))
"""
    megabytes, full, files, also_full = (await python(session, program)).split()

    assert (full, also_full) == ("ENOSPC", "ENOSPC")
    assert 7 <= int(megabytes) <= 8
    assert 85 <= int(files) + int(megabytes) <= 105


async def test_processes_are_limited_to_the_number(session: Session) -> None:
    program = """
import os, time
count = 1
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        count += 1
except BlockingIOError:
    print(count)
"""
    # The agent's own two of the next execution have room besides, and may not have come yet.
    assert await python(session, program) in ("20\n", "21\n", "22\n")


async def test_processor_time_is_limited(driver: LocalDriver, spec: SandboxSpec) -> None:
    half = replace(spec, limits=SandboxLimits(cpus=0.25))
    program = "import time; t = time.monotonic()\nwhile time.monotonic() < t + 1.5: pass"
    async with open_session(driver, half) as session:
        done = await session.run(Command(argv=(PYTHON, "-I", "-S", "-c", program)))

    assert done.facts.cpu_ns is not None
    assert done.facts.cpu_ns.value < 0.8e9


async def test_who_takes_the_agents_place_at_the_socket_is_not_talked_to(
    driver: LocalDriver, session: Session
) -> None:
    program = """
import os, socket, time
os.rename("/.assay/control/socket", "/.assay/control/moved")
server = socket.socket(socket.AF_UNIX)
server.bind("/.assay/control/socket")
server.listen()
print("listening", flush=True)
time.sleep(30)
"""
    command = Command(argv=(PYTHON, "-I", "-S", "-c", program), privileged=True)
    execution = await session.start(command)
    async for _ in execution.output():
        break

    with pytest.raises(SandboxGone, match="in the agent's place"):
        await driver.connect(session.sandbox.id)


COMPILE_C = "echo 'int main(){return 0;}' > a.c && gcc a.c && ./a.out"
COMPILE_JAVA = """
echo 'class A { public static void main(String[] a) { System.out.println(1); } }' > A.java
javac A.java && java -Xmx64m A
"""
COMPILE_GO = """
echo 'package main; func main() { c := make(chan int); go func() { c <- 1 }(); <-c }' > a.go
go run a.go
"""
PROCESSES = "with __import__('multiprocessing').get_context('fork').Pool(2) as p: p.map(abs, [1])"
TOOLS = {
    "threads": ("python3", "-c", "import threading as t; x = t.Thread(target=print); x.start()"),
    "processes": ("python3", "-c", PROCESSES),
    "event loop": ("python3", "-c", "import asyncio; asyncio.run(asyncio.sleep(0.01))"),
    "gcc": ("sh", "-c", COMPILE_C),
    "node": ("node", "-e", "require('child_process').execSync('true')"),
    "javac": ("sh", "-c", COMPILE_JAVA),
    "go": ("sh", "-c", COMPILE_GO),
    "perl": ("perl", "-e", "system('true')"),
}
TOOLS_PATH = "/usr/bin:/bin:/usr/local/go/bin"


@pytest.mark.parametrize("tool", TOOLS)
async def test_common_tools_work_under_the_filter(
    lean: LocalDriver, spec: SandboxSpec, tool: str
) -> None:
    needed = tool if TOOLS[tool][0] == "sh" else TOOLS[tool][0]
    if shutil.which(needed, path=TOOLS_PATH) is None:
        pytest.skip(f"{needed} is not installed")
    large = SandboxLimits(memory_bytes=1024 * MIB, processes=200, disk_bytes=400 * MIB, cpus=2)
    command = Command(
        argv=TOOLS[tool],
        environment={"PATH": TOOLS_PATH, "HOME": "/workspace"},
        limits=ExecutionLimits(wall_seconds=60, cpu_seconds=60, open_files=4096),
    )
    async with open_session(lean, replace(spec, limits=large)) as session:
        done = await session.run(command)

    assert done.outcome.success, (done.outcome, done.stderr[-2000:])


async def test_sandboxes_do_not_see_each_other(lean: LocalDriver, spec: SandboxSpec) -> None:
    async with open_session(lean, spec) as first, open_session(lean, spec) as second:
        hide = "open('/dev/shm/mine', 'w'); open('/tmp/mine', 'w'); open('/workspace/mine', 'w')"
        await python(first, hide)
        look = "import os; print(*(os.listdir(f) for f in ('/dev/shm', '/tmp', '/workspace')))"
        assert await python(second, look) == "[] [] []\n"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other machines have no such calls")
async def test_calls_of_another_architecture_end_the_program(session: Session) -> None:
    x32_getpid = SYSTEM_CALLS + "print(call(0x40000027))"
    done = await session.run(Command(argv=(PYTHON, "-I", "-S", "-c", x32_getpid)))

    assert done.outcome.kind is OutcomeKind.SIGNALED
    assert done.outcome.signal == signal.SIGSYS
