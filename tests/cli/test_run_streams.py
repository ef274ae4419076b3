"""Standard input, output and error of `assay run` are the program's."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Assay, finish, peak_memory, read_until, until

pytestmark = pytest.mark.root

EVERY_BYTE = bytes(range(256)) * 300
CAT = (
    "import sys\nwhile data := sys.stdin.buffer.read1(65536):\n    sys.stdout.buffer.write(data)\n"
)


def test_output_and_errors_stay_apart(assay: Assay) -> None:
    ended = assay("run", "--", "bash", "-c", "echo out; echo err >&2")
    assert (ended.status, ended.stdout, ended.stderr) == (0, b"out\n", b"err\n")


def test_every_byte_goes_in_and_comes_out(assay: Assay) -> None:
    ended = assay("run", "--", "cat", stdin=EVERY_BYTE)
    assert (ended.status, ended.stdout == EVERY_BYTE, ended.stderr) == (0, True, b"")


def test_output_comes_while_the_program_runs(assay: Assay) -> None:
    process = assay.start("run", "--", "bash", "-c", 'while read line; do echo "got $line"; done')
    assert process.stdin is not None
    for word in (b"one", b"two", "drei ☃".encode()):
        process.stdin.write(word + b"\n")
        process.stdin.flush()
        assert read_until(process, b"\n") == b"got " + word + b"\n"
    ended = finish(process)
    assert (ended.status, ended.stderr) == (0, b"")


def test_the_end_of_input_is_passed_on(assay: Assay) -> None:
    ended = assay("run", "--", "wc", "-c", stdin=b"12345")
    assert ended.stdout == b"5\n"


def test_closed_standard_streams_are_empty_ones(assay: Assay) -> None:
    script = 'exec "$@" <&- >&- 2>&-'
    command = ["bash", "-c", script, "bash", *assay.command("run", "--", "bash", "-c", "cat; ls")]
    ended = subprocess.run(command, cwd=assay.folder, env=assay.environ, timeout=60, check=False)
    assert ended.returncode == 0


def test_a_reader_that_goes_away_ends_the_program_quietly(assay: Assay) -> None:
    process = assay.start("run", "--", "yes")
    assert read_until(process, b"y\n")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    assert (process.wait(timeout=60), errors) == (141, b"")
    assert process.stdin is not None
    process.stdin.close()
    process.stderr.close()


def test_a_full_device_is_said_in_one_line(assay: Assay) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = finish(assay.start("run", "--", "echo", "hello", stdout=full))
    assert ended.status == 119
    assert "No space left" in ended.complaint


def test_a_program_that_does_not_read_its_input_ends(assay: Assay) -> None:
    ended = assay("run", "--", "true", stdin=bytes(4 * 1024 * 1024))
    assert (ended.status, ended.stderr) == (0, b"")


def test_a_slow_reader_costs_no_memory(assay: Assay, environments: Callable[..., str]) -> None:
    assay.variables["ASSAY_ENVIRONMENTS"] = environments(ceilings={"output": '"1 GiB"'})
    process = assay.start("run", "-e", "sh", "--output", "1000", "--", "yes")
    read_until(process, b"y\n")

    def growth() -> int:
        before = peak_memory(process.pid)
        time.sleep(1.5)
        return peak_memory(process.pid) - before

    until(lambda: growth() < 256 * 1024)
    assert peak_memory(process.pid) < 80 * 1024 * 1024
    process.terminate()
    ended = finish(process)
    assert ended.status == 130
    assert ended.complaint == "assay: cancelled"


def test_a_blocked_reader_does_not_keep_signals_from_us(assay: Assay) -> None:
    process = assay.start("run", "--", "yes")
    until(assay.sandboxes)
    time.sleep(1)
    process.terminate()
    assert process.wait(timeout=60) == 130
    finish(process)


@pytest.mark.slow
def test_a_hundred_megabytes_go_through_with_flat_memory(
    assay: Assay, environments: Callable[..., str]
) -> None:
    assay.variables["ASSAY_ENVIRONMENTS"] = environments(
        ceilings={"output": '"1 GiB"', "wall_seconds": "60", "cpu_seconds": "60"}
    )
    source = assay.write("hundred", os.urandom(1024 * 1024) * 100)
    with source.open("rb") as stdin, (assay.folder / "copy").open("wb") as stdout:
        process = assay.start(
            "run", "-e", "sh", "--output", "200", "--time", "60", "--", "cat",
            stdin=stdin, stdout=stdout,
        )  # fmt: skip
        peak = 0
        while process.poll() is None:
            try:
                peak = max(peak, peak_memory(process.pid))
            except (AssertionError, FileNotFoundError, ProcessLookupError):
                break
            time.sleep(0.05)
        ended = finish(process)
    assert (ended.status, ended.stderr) == (0, b"")
    with source.open("rb") as a, (assay.folder / "copy").open("rb") as b:
        assert (
            hashlib.file_digest(a, "sha256").digest() == hashlib.file_digest(b, "sha256").digest()
        )
    assert peak < 80 * 1024 * 1024
