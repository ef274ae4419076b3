"""Traces of sandboxes are found by what is theirs, and by nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assay.driver.port import Sandbox
from assay.testing import leaks
from assay.testing.leaks import OwnState, Traces, processes_of, resident_bytes

NAME = "leaktest0123456789abcdef"
OTHER = "othertest0123456789abcdef"
"""Ids are looked for in whole command lines, so they are words that stand nowhere else."""


@pytest.fixture
def survivor() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose command line names the sandbox, as a container's shim does."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", NAME])
    time.sleep(0.1)
    yield process
    process.kill()
    process.wait()


def test_a_process_named_after_a_sandbox_is_found(survivor: subprocess.Popen[bytes]) -> None:
    (found,) = Traces().left([NAME])
    assert f"process {survivor.pid} of sandbox {NAME}" in found


def test_others_are_not_blamed(survivor: subprocess.Popen[bytes]) -> None:
    assert Traces().left(["some-other-sandbox"]) == []


def test_a_process_in_a_sandboxs_namespace_is_found(survivor: subprocess.Popen[bytes]) -> None:
    namespace = str(Path(f"/proc/{survivor.pid}/ns/net").readlink())
    traces = Traces(namespaces={namespace: OTHER}, destroyed={OTHER: time.monotonic() + 10**6})
    assert any(f"process {survivor.pid} " in found for found in traces.left([OTHER]))


def test_a_younger_process_has_only_the_namespaces_number(
    survivor: subprocess.Popen[bytes],
) -> None:
    namespace = str(Path(f"/proc/{survivor.pid}/ns/net").readlink())
    traces = Traces(namespaces={namespace: OTHER}, destroyed={OTHER: 0.0})
    assert traces.left([OTHER]) == []


def test_a_folder_that_stays_is_found(tmp_path: Path) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    traces = Traces()
    traces.note(Sandbox(id=NAME, facts={"folder": str(folder)}))
    assert traces.left([NAME]) == [f"folder {folder}"]
    folder.rmdir()
    assert traces.left([NAME]) == []


def test_the_process_that_a_driver_names_is_the_sandboxs() -> None:
    sandbox = Sandbox(id="unheard-of-id", facts={"process": str(os.getpid())})
    assert processes_of(sandbox) == [os.getpid()]
    assert processes_of(Sandbox(id="unheard-of-id")) == []


async def test_own_descriptors_that_stay_are_found() -> None:
    before = OwnState.now()
    assert before.left_since() == []
    number = os.open("/dev/null", os.O_RDONLY)
    assert before.left_since() == [f"descriptor {number} of this process (/dev/null)"]
    os.close(number)
    assert before.left_since() == []


def test_memory_is_measured_in_bytes() -> None:
    before = resident_bytes()
    block = bytearray(b"x" * (32 << 20))
    assert 24 << 20 < resident_bytes() - before < 96 << 20
    del block


async def test_who_is_gone_when_all_were_seen_was_not_there_at_one_time_with_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = 2**22 + 1  # the kernel gives none so high
    monkeypatch.setattr(leaks, "programs_of", lambda sandbox: [os.getpid(), gone])
    session: Any = SimpleNamespace(
        sandbox=None, driver=SimpleNamespace(capabilities=SimpleNamespace(own_kernel=False))
    )
    assert await leaks.programs_in(session) == 1
