"""The programs for both machines: of what kind they are, and that the probe does as it says."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

MACHINE_OF_ELF = {"x86_64": 62, "aarch64": 183}
LARGEST_PAGE = {"x86_64": 4096, "aarch64": 65536}
LOAD, INTERPRETER = 1, 3
MOST_BYTES = 200_000


def segments(content: bytes) -> list[tuple[int, int]]:
    """Kind and alignment of each part of an ELF file that matters when it is started."""
    (first,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    heads = [struct.unpack_from("<II6Q", content, first + size * i) for i in range(count)]
    return [(head[0], head[-1]) for head in heads]


@pytest.mark.parametrize("name", ["agent", "lean", "probe", "floor"])
def test_a_program_is_small_static_and_of_its_machine(agent_command: list[str], name: str) -> None:
    path = Path(agent_command[-1]).with_name(name)
    content, machine = path.read_bytes(), path.parent.name
    parts = segments(content)

    assert content[:5] == b"\x7fELF\x02"
    assert struct.unpack_from("<H", content, 18) == (MACHINE_OF_ELF[machine],)
    assert INTERPRETER not in [kind for kind, _ in parts]
    # Kernels for aarch64 may have pages of 64 KiB, and refuse what is packed more closely.
    assert all(align >= LARGEST_PAGE[machine] for kind, align in parts if kind == LOAD)
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
