"""The programs for both machines: of what kind they are, and that the probe does as it says."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

MACHINE_OF_ELF = {"x86_64": 62, "aarch64": 183}
INTERPRETER = 3
MOST_BYTES = 200_000


@pytest.mark.parametrize("name", ["agent", "probe", "floor"])
def test_a_program_is_small_static_and_of_its_machine(agent_command: list[str], name: str) -> None:
    path = Path(agent_command[-1]).with_name(name)
    content = path.read_bytes()
    (machine,) = struct.unpack_from("<H", content, 18)
    (first,), (size, count) = (
        struct.unpack_from("<Q", content, 32),
        struct.unpack_from("<HH", content, 54),
    )
    kinds = [struct.unpack_from("<I", content, first + size * i)[0] for i in range(count)]

    assert content[:5] == b"\x7fELF\x02"
    assert machine == MACHINE_OF_ELF[path.parent.name]
    assert INTERPRETER not in kinds
    assert len(content) < MOST_BYTES


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["echo", "a", "b"], b"a b\n"),
        (["args", "", "\xe9"], b"\0\xc3\xa9\0"),
        (["count"], b"bytes=256 crc32=29058c73\n"),
        (["many", "3", "1"], b"reaped=3\n"),
        (["alloc", "3", "0"], b"touched 3\n"),
    ],
)
def test_the_probe_says_what_the_suites_expect(
    agent_command: list[str], arguments: list[str], said: bytes
) -> None:
    probe = str(Path(agent_command[-1]).with_name("probe"))
    ran = subprocess.run(
        [*agent_command[:-1], probe, *arguments],
        input=bytes(range(256)),
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert ran.stdout == said
