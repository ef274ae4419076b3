"""Small loads of a real server on lean: that it works, not that the machine is quiet."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root
SMALL = ("--rate", "6", "--runners", "12", "--wait", "1", "--churn", "1", "--seconds", "6")
TIMING = re.compile(r"p50|p95|p99|core|4 MB|than the driver|a second, at least|leases a second")


@pytest.fixture(autouse=True)
def nothing_of_it_is_left(tmp_path: Path) -> Iterator[None]:
    """The benchmark keeps its server's state in TMPDIR."""
    before = set(_groups())
    yield
    assert list(tmp_path.glob("assay-load-*")) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert set(_groups()) - before == set()
    commands = [_command(pid) for pid in Path("/proc").iterdir() if pid.name.isdigit()]
    assert not [command for command in commands if str(tmp_path).encode() in command]


def _groups() -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob("*/assay-bench-*"))


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def start(tmp_path: Path, *arguments: str, what: str = "load") -> subprocess.Popen[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "assay", "--state", tmp_path / "state",
         "bench", what, *arguments, "--driver", "lean", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**inherited, "TMPDIR": str(tmp_path), "ASSAY_CONFIG": os.devnull},
    )  # fmt: skip


def load(tmp_path: Path, *arguments: str, what: str = "load") -> dict[str, Any]:
    process = start(tmp_path, *arguments, what=what)
    output, errors = process.communicate(timeout=110)
    assert process.returncode in (0, 1), errors
    found: dict[str, Any] = json.loads(output)
    assert process.returncode == (0 if found["kept"] else 1)
    broken = [
        check
        for check in found["checks"]
        if not check["kept"] and not TIMING.search(check["promise"])
    ]
    assert broken == [], found["errors"]
    return found


def test_executions_are_served_while_the_server_is_killed(tmp_path: Path) -> None:
    page = tmp_path / "load.html"
    found = load(tmp_path, *SMALL, "--kill", "2", "--html", str(page))
    happened = dict(next(t for t in found["tables"] if t["name"] == "what happened")["rows"])
    assert found["errors"] == {}
    assert happened["executions"] == "36"
    assert happened["kill -9 of the server"] == "2"
    assert int(happened["streams connected again"]) > 0
    assert found["latencies"][0]["count"] == 36
    promises = [check["promise"] for check in found["checks"]]
    assert "no sandbox is left beyond the pool's" in promises
    assert "kept" in page.read_text()
    # Who takes what is accounted apart, all of the servers together.
    cores = dict(next(t for t in found["tables"] if t["name"].startswith("proc"))["rows"])
    for who in ("server", "generator", "sandboxes"):
        assert 0.003 < float(cores[who]) < 1.5
    (memory,) = (check for check in found["checks"] if "PSS" in check["promise"])
    assert 100_000 < memory["value"] < 4_000_000


def test_the_mix_of_languages_runs_and_compiles(tmp_path: Path) -> None:
    found = load(tmp_path, "--mix", "mooc", "--rate", "5", "--runners", "12", "--seconds", "2")
    assert found["errors"] == {}


def test_the_ceiling_is_measured_beside_bare_loops(tmp_path: Path) -> None:
    for _ in range(4):  # on a busy machine something else may have had the bare loop's 0.3 seconds
        found = load(tmp_path, "ceiling", "--seconds", "0.3", "--rounds", "1", "--workers", "2")
        rates = {row[0]: [int(each.replace(",", "")) for each in (row[1], row[2], row[4])]
                 for row in found["tables"][0]["rows"]}  # fmt: skip
        assert set(rates) == {"Python hello", "true", "C hello"}
        if all(1 < each < 1.5 * bare for bare, *ours in rates.values() for each in ours):
            return
    raise AssertionError(rates)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_jobes_api_is_measured_beside_a_bare_loop(tmp_path: Path) -> None:
    found = load(tmp_path, "--seconds", "0.5", "--rounds", "1", "--workers", "2", what="jobe")
    rates = {row[0]: [float(each) for each in row[1:3]] for row in found["tables"][0]["rows"]}
    assert set(rates) == {
        "C hello", "Python hello", "Python hello, the loop without its compiler"
    }  # fmt: skip
    assert all(rate > 0 for both in rates.values() for rate in both)
    assert [check["limit"] > 0 for check in found["checks"]] == [True, True]
    assert all(latency["count"] >= 2 for latency in found["latencies"])


@pytest.mark.parametrize("over", ["run", "runners"])
def test_every_execution_gets_a_fresh_sandbox(tmp_path: Path, over: str) -> None:
    found = load(tmp_path, "fresh", "--over", over, "--rate", "8", "--seconds", "2", "--pool", "6")
    assert found["errors"] == {}
    assert found["latencies"][0]["count"] == 16
    assert [check["promise"] for check in found["checks"]] == [
        "each of 16 executions succeeds", "start p99 ≤ 250 ms", "no runner is left",
        "no sandbox is left beyond the pool's", "the pool is back at its target",
    ]  # fmt: skip
    bare, beside = (row[-1] for row in found["tables"][0]["rows"][-2:])
    assert 0.1 < float(bare) < 1000
    assert float(beside.removesuffix(" ×")) > 1


def test_claims_and_keystrokes_are_timed(tmp_path: Path) -> None:
    found = load(
        tmp_path, "claims", "--claims", "8", "--rate", "8", "--missing", "2", "--keys", "20"
    )
    assert [latency["count"] for latency in found["latencies"]] == [8, 2, 2, 20]


def test_a_storm_of_one_token_leaves_the_others_served(tmp_path: Path) -> None:
    found = load(tmp_path, "storm", "--seconds", "1.5", "--workers", "20")
    undisturbed, disturbed, storm = found["latencies"]
    assert undisturbed["count"] == disturbed["count"] == 6
    assert storm["count"] > 5


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.05)


def loads(process: subprocess.Popen[str]) -> bool:
    """Whether it has a generator."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return any(b"load.generator" in _command(Path("/proc", pid)) for pid in text.split())


def interrupt(process: subprocess.Popen[str]) -> None:
    """And wait until it has heard: two signals that wait for it are one."""
    process.send_signal(signal.SIGINT)

    def heard() -> bool:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        (waiting,) = (int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd:"))
        return not waiting >> signal.SIGINT - 1 & 1

    until(heard)


def test_ctrl_c_reports_what_there_is_and_leaves_nothing(tmp_path: Path) -> None:
    process = start(tmp_path, *SMALL[:-1], "60")
    until(lambda: loads(process))
    time.sleep(2)
    interrupt(process)
    output, _ = process.communicate(timeout=60)
    found = json.loads(output)
    assert found["stopped"]
    assert not found["kept"]
    assert process.returncode == 1


def test_ctrl_c_twice_just_ends(tmp_path: Path) -> None:
    process = start(tmp_path, *SMALL[:-1], "60")
    until(lambda: loads(process))
    for _ in range(2):
        interrupt(process)
    output, errors = process.communicate(timeout=60)
    assert (output, process.returncode) == ("", 130)
    assert "Traceback" not in errors
