from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from assay.drivers.microvm import template
from assay.drivers.microvm.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "state").write_bytes(b"state" * 1000)
    with (tmp_path / "ram").open("wb") as ram:
        ram.truncate(8 << 20)
        ram.seek(3 << 20)
        ram.write(os.urandom(5000))
    sums = {name: template._sum(tmp_path / name) for name in ("ram", "state")}
    (tmp_path / "sums").write_text(json.dumps(sums))
    return Machine(
        kernel=tmp_path, initrd=tmp_path / "initrd", disk=tmp_path, memory_mib=8, processors=1
    )


def read(machine: Machine) -> bytes | None:
    kept = template._read(machine)
    if kept is None:
        return None
    with os.fdopen(kept.memory, "rb") as memory:
        return memory.read()


def test_memory_comes_back_as_it_was_and_nobody_can_write_to_it(machine: Machine) -> None:
    kept = template._read(machine)
    assert kept is not None
    wanted = (machine.initrd.parent / "ram").read_bytes()
    assert os.pread(kept.memory, len(wanted) + 1, 0) == wanted
    with pytest.raises(PermissionError):
        os.pwrite(kept.memory, b"x", 0)
    os.close(kept.memory)


@pytest.mark.parametrize("file", ["ram", "state"])
@pytest.mark.parametrize("change", ["flipped", "truncated", "gone", "moved"])
def test_what_is_damaged_is_nothing(machine: Machine, file: str, change: str) -> None:
    path = machine.initrd.parent / file
    content = path.read_bytes()
    if change == "flipped":
        at = content.index(content.strip(b"\0")[:16])
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    elif change == "truncated":
        path.write_bytes(content[:-1])
    elif change == "moved" and file == "ram":
        path.write_bytes(content[1 << 20 :] + content[: 1 << 20])
    else:
        path.unlink()
    assert read(machine) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"ram": 0}', "null"])
def test_without_its_checksums_it_is_nothing(machine: Machine, text: str) -> None:
    (machine.initrd.parent / "sums").write_text(text)
    assert read(machine) is None
