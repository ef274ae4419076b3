"""Signals to `assay run`, the worst of them included."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from command_line import Assay, end_group, finish, read_until, state_of, until

pytestmark = pytest.mark.root

PATIENT = 'trap "echo caught" INT; echo ready; while :; do read -t 0.05; done'
"""It starts no program: bash can lose an interrupt that comes while it does."""


@pytest.fixture
def patient(assay: Assay) -> Iterator[subprocess.Popen[bytes]]:
    """A program that catches Ctrl-C and goes on."""
    process = assay.start("run", "--time", "60", "--", "bash", "-c", PATIENT)
    read_until(process, b"ready\n")
    yield process
    end_group(process)


def test_the_program_gets_an_interrupt(patient: subprocess.Popen[bytes]) -> None:
    patient.send_signal(signal.SIGINT)
    assert read_until(patient, b"caught\n")
    time.sleep(2.1)
    patient.send_signal(signal.SIGINT)
    assert read_until(patient, b"caught\n")
    patient.terminate()
    assert finish(patient).status == 130


def test_a_second_interrupt_soon_after_cancels(patient: subprocess.Popen[bytes]) -> None:
    patient.send_signal(signal.SIGINT)
    assert read_until(patient, b"caught\n")
    patient.send_signal(signal.SIGINT)
    ended = finish(patient)
    assert (ended.status, ended.complaint) == (130, "assay: cancelled")


def test_a_program_that_dies_of_an_interrupt_has_its_status(assay: Assay) -> None:
    process = assay.start("run", "--", "bash", "-c", "echo ready; exec sleep 60")
    read_until(process, b"ready\n")
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert (ended.status, ended.stderr) == (130, b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_us_ends_the_program(
    assay: Assay, patient: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    patient.send_signal(number)
    ended = finish(patient)  # long before the program's own limit
    assert (ended.status, ended.complaint) == (130, "assay: cancelled")
    assert assay.left_over() == []


@pytest.mark.parametrize("delay", [0.05, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4])
def test_an_interrupt_at_any_time_shows_no_traceback(assay: Assay, delay: float) -> None:
    process = assay.start("run", "--", "sleep", "0.2")
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    if b"Traceback" in ended.stderr:  # of Python's own start, before ours, on a busy machine
        assert b"assay/cli" not in ended.stderr
        return
    assert ended.status in (130, -signal.SIGINT, 0)
    assert assay.left_over() == []


def test_a_pause_stops_the_program_too(assay: Assay) -> None:
    count = "for i in {1..300}; do echo $i $EPOCHREALTIME; sleep 0.01; done"
    process = assay.start("run", "--time", "60", "--", "bash", "-c", count)
    shown = read_until(process, b"\n5 ")
    process.send_signal(signal.SIGTSTP)
    until(lambda: state_of(process.pid) == "T")
    time.sleep(2)  # in which it would count to 170 or so
    process.send_signal(signal.SIGCONT)
    ended = finish(process)
    lines = (shown + ended.stdout).splitlines()
    assert (ended.status, lines[-1].split()[0]) == (0, b"300")
    times = [float(line.split()[1]) for line in lines]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) > 1


@pytest.mark.slow
def test_after_a_kill_nothing_is_left_but_for_the_next_one_to_sweep(assay: Assay) -> None:
    process = assay.start("run", "--time", "60", "--", "bash", "-c", "echo ready; sleep 50")
    read_until(process, b"ready\n")
    agent = assay.agent_pid()
    process.kill()
    finish(process)
    assert len(assay.sandboxes()) == 1
    ended = assay("run", "--", "true")
    assert (ended.status, ended.stderr) == (0, b"")
    assert assay.left_over() == []
    assert state_of(agent) == "Z"


@pytest.mark.slow
def test_after_a_kill_the_sandbox_ends_by_itself(assay: Assay) -> None:
    process = assay.start("run", "--time", "60", "--", "bash", "-c", "echo ready; sleep 50")
    read_until(process, b"ready\n")
    agent = assay.agent_pid()
    process.kill()
    finish(process)
    until(lambda: state_of(agent) == "Z", seconds=80)
    assert assay("run", "--", "true").status == 0


def test_a_sandbox_in_use_is_not_swept(assay: Assay) -> None:
    process = assay.start("run", "--", "bash", "-c", "echo ready; read line; echo $line")
    read_until(process, b"ready\n")
    assert assay("run", "--", "true").status == 0
    stdout, _ = process.communicate(b"still here\n", timeout=60)
    assert (process.returncode, stdout) == (0, b"still here\n")
