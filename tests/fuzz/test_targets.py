"""Every target: its corpus, and a fixed number of inputs made from it.

`./dev fuzz` searches for as long as you like; this is what runs every time, the same each time.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from target import HERE, PROGRAMS, corpus, in_python, load, names

MUTANTS = {"agent": 500, "client": 250, "put": 300, "entries": 1000, "layer": 300}
"""Inputs beside the corpus, where one takes longer than usual."""
USUAL = {True: 3000, False: 2000}
INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)
PYTHON = [name for name in names() if in_python(name)]
PROGRAM = [name for name in names() if not in_python(name)]


def mutant(inputs: list[bytes], chance: random.Random) -> bytes:
    """An input of the corpus with a few bytes changed, added, removed, or another's end."""
    data = bytearray(chance.choice(inputs))
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data) + 1)
        change = chance.randrange(4)
        if change == 0:
            data[place : place + 1] = bytes([chance.choice((*INTERESTING, chance.randrange(256)))])
        elif change == 1:
            data[place:place] = data[place : place + chance.randint(1, 40)]
        elif change == 2:
            del data[place : place + chance.randint(1, 20)]
        else:
            data[place:] = chance.choice(inputs)[place:]
    return bytes(data)


@pytest.mark.parametrize("name", PYTHON)
def test_a_target_in_python_holds_for_its_corpus_and_what_is_like_it(name: str) -> None:
    fuzz, chance = load(name), random.Random(1)
    inputs = [path.read_bytes() for path in corpus(name)]
    for data in inputs:
        fuzz(data)
    for _ in range(MUTANTS.get(name, USUAL[True])):
        data = mutant(inputs, chance)
        try:
            fuzz(data)
        except BaseException as error:
            error.add_note(f"the input: {data!r}")
            raise


@pytest.fixture(scope="module")
def programs() -> Path:
    made = subprocess.run(["make", "-s", "-C", PROGRAMS.parent], capture_output=True, text=True)
    if made.returncode:
        message = f"the fuzzing targets need clang and its runtime: {made.stderr[-2000:]}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return PROGRAMS


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder for a target's files, which are made and removed a thousand times."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAM)
def test_a_target_in_c_holds_for_its_corpus_and_what_is_like_it(
    name: str, programs: Path, in_memory: Path
) -> None:
    found = in_memory / "found"
    found.mkdir()
    runs = MUTANTS.get(name, USUAL[False]) + len(corpus(name))
    ran = subprocess.run(
        [
            programs / name,
            f"-runs={runs}",
            "-seed=1",
            "-timeout=20",
            "-max_len=4096",
            f"-artifact_prefix={in_memory}/",
            found,
            HERE / name / "corpus",
        ],
        env={**os.environ, "TMPDIR": str(in_memory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=100,
    )
    said = ran.stdout.decode(errors="replace")
    assert ran.returncode == 0, said[-6000:]
    assert f"Done {runs} runs" in said


def test_every_corpus_is_small() -> None:
    files = [path for name in names() for path in corpus(name)]
    assert sum(path.stat().st_size for path in files) < 200_000
    assert all(corpus(name) for name in names())
