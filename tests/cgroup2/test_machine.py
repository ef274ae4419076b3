"""The machine of its own: what a command gets, how its end is told, and that nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

MACHINE = Path(__file__).with_name("machine.py")
MARKER = f"machine-test-{os.getpid()}"
BYTES = bytes(range(256)) * 1000

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.usefixtures("machine")]


def start(*arguments: str | Path, machine: Path = MACHINE) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, machine, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "MARKER": MARKER},
    )


def run(*arguments: str | Path, machine: Path = MACHINE) -> tuple[int, bytes, bytes]:
    with start(*arguments, machine=machine) as process:
        output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def marked() -> list[str]:
    """The processes of this test's machines: all have their variables from us."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if MARKER.encode() in (folder / "environ").read_bytes():
                found.append(f"{folder.name} {(folder / 'comm').read_text()}")
        except OSError:  # it has ended, or is nobody's to look at
            continue
    return found


def becomes_true(holds: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The machine, in a folder whose name the kernel would take apart."""
    folder = tmp_path / "with blanks" / "tests" / "cgroup2"
    shutil.copytree(MACHINE.parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / MACHINE.name


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = {folder: set(Path(folder).iterdir()) for folder in ("/dev/shm", "/tmp")}
    mounts = Path("/proc/self/mountinfo").read_text()
    yield
    assert becomes_true(lambda: not marked()), marked()
    assert Path("/proc/self/mountinfo").read_text().count("machine") == mounts.count("machine")
    for folder, names in before.items():
        assert not [path for path in set(Path(folder).iterdir()) - names if "machine" in path.name]


def test_output_errors_and_status_come_back_to_the_byte(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(BYTES)
    (tmp_path / "out").mkdir()
    script = (
        'cd /run/results; cat bytes; cat bytes bytes >&2; echo "$0" "$MARKER" > out/said; exit 77'
    )

    status, output, errors = run("--results", tmp_path, "sh", "-c", script, "an  argument\n")

    assert (status, output, errors) == (77, BYTES, BYTES * 2)
    assert (tmp_path / "out/said").read_text() == f"an  argument\n {MARKER}\n"


def test_it_has_control_groups_of_version_2_alone_and_root_that_cannot_write() -> None:
    script = (
        "cat /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.controllers; "
        "grep -c overlay /proc/filesystems; touch /usr/made 2>&1; kill -9 $$"
    )

    status, output, _ = run("sh", "-c", script)

    groups, controllers, overlay, refused = output.decode().splitlines()
    assert groups == "0::/"
    assert {"memory", "pids", "cpu"} <= set(controllers.split())
    assert overlay == "1"
    assert "Read-only file system" in refused
    assert status == 128 + signal.SIGKILL


def test_a_command_that_takes_too_long_is_ended() -> None:
    for seconds in ("10", "60"):  # where it takes longer to come up
        status, output, errors = run("--seconds", seconds, "sh", "-c", "echo up; sleep 600")
        if output:
            break

    assert (status, output) == (124, b"up\n")
    assert b"took too long" in errors


def test_a_command_that_is_not_there_is_said() -> None:
    status, _, errors = run("/no/such/program")

    assert status == 125
    assert b"/no/such/program" in errors


def test_a_machine_that_dies_says_what_its_kernel_said(machine: ModuleType) -> None:
    script = "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 60"
    task = machine.Task(
        command=["sh", "-c", script], seconds=60, environment={**os.environ, "MARKER": MARKER}
    )

    with pytest.raises(machine.MachineFailed, match="crash"):
        machine.run(task, lambda stream, content: None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_whoever_started_it(number: signal.Signals) -> None:
    with start("sh", "-c", "echo up; sleep 600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        process.wait(timeout=60)

    assert becomes_true(lambda: not marked()), marked()


def test_a_checkout_may_have_blanks_in_its_path(elsewhere: Path) -> None:
    assert run("echo", "here", machine=elsewhere) == (0, b"here\n", b"")
