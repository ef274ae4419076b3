"""What `assay run` takes for a file, and what it puts into the sandbox."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import Assay

pytestmark = pytest.mark.root

SHOW = "import sys\nprint(sys.argv[1:])\n"


@pytest.mark.parametrize(
    "name", ["a b.py", "-dash.py", "new\nline.py", "quote'\".py", "ünï☃.py", "@at.py", "a$(x).py"]
)
def test_names_are_names(assay: Assay, name: str) -> None:
    ended = assay("run", "--", assay.write(name, SHOW).relative_to(assay.folder), "x")
    assert (ended.status, ended.stdout, ended.stderr) == (0, b"['x']\n", b"")


def test_a_name_that_is_not_text(assay: Assay) -> None:
    name = os.fsdecode(b"\xff\xfe.sh")
    assay.write(name, "echo yes\n")
    ended = assay("run", name)
    assert (ended.status, ended.stdout) == (0, b"yes\n")


@pytest.mark.parametrize("name", ["a b.c", "-dash.c", "@at.c"])
def test_compilers_take_them_too(assay: Assay, name: str) -> None:
    path = assay.write(name, '#include <stdio.h>\nint main(){puts("compiled");return 3;}\n')
    ended = assay("run", "--", path.relative_to(assay.folder))
    assert (ended.status, ended.stdout, ended.stderr) == (3, b"compiled\n", b"")


def test_arguments_arrive_as_they_are(assay: Assay) -> None:
    given = ["", " ", "--json", "-e", "--", "*", "$HOME", "a\nb", "ü", "{source}"]
    ended = assay("run", assay.write("show.py", SHOW), *given)
    assert ended.stdout.decode() == f"{given}\n"


def test_many_arguments(assay: Assay) -> None:
    given = [str(number) for number in range(5000)]
    assay.write("count.py", "import sys\nprint(len(sys.argv) - 1)\n")
    ended = assay("run", "count.py", *given)
    assert (ended.status, ended.stdout) == (0, b"5000\n")


def test_companions_lie_beside_the_program(assay: Assay) -> None:
    assay.write("data/one.txt", "1")
    assay.write("data/deep/two.txt", "2")
    assay.write("other/three.txt", "3")
    assay.write("look.py", 'print(*(open(n).read() for n in ["data/one.txt", '
                           '"data/deep/two.txt", "three.txt"]))')  # fmt: skip
    ended = assay("run", "--file", "data", "--file", "other/three.txt", "look.py")
    assert (ended.stdout, ended.stderr) == (b"1 2 3\n", b"")


def test_two_companions_with_one_name_are_refused(assay: Assay) -> None:
    assay.write("a/x.txt", "")
    assay.write("b/x.txt", "")
    ended = assay("run", "--file", "a/x.txt", "--file", "b/x.txt", "--", "true")
    assert ended.status == 2
    assert "rename one" in ended.complaint


def test_a_large_companion(assay: Assay) -> None:
    assay.write("large", os.urandom(20_000_000))
    ended = assay("run", "--file", "large", "--", "wc", "-c", "large")
    assert ended.stdout == b"20000000 large\n"


def test_a_companion_that_does_not_fit(assay: Assay) -> None:
    assay.write("large", bytes(100_000_000))
    ended = assay("run", "--file", "large", "--", "true")
    assert ended.status == 119
    assert "--memory" in ended.complaint


def test_an_executable_companion_can_be_run(assay: Assay) -> None:
    assay.write("tool.sh", "#!/bin/bash\necho tool $1\n").chmod(0o755)
    ended = assay("run", "--file", "tool.sh", "-e", "python", "--", "./tool.sh", "x")
    assert (ended.stdout, ended.stderr) == (b"tool x\n", b"")


def test_an_environment_takes_a_file_of_any_name(assay: Assay) -> None:
    ended = assay("run", "-e", "python", assay.write("script", SHOW), "1")
    assert ended.stdout == b"['1']\n"


def test_a_program_of_the_sandbox_is_a_command_though_the_machine_has_it_too(assay: Assay) -> None:
    ended = assay("run", "-e", "python", "/usr/bin/env", "python3", "-c", "print(1 + 1)")
    assert (ended.stdout, ended.stderr) == (b"2\n", b"")


def test_a_pipe_can_be_the_program(assay: Assay) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"print('from a pipe')")
    os.close(writer)
    process = assay.start("run", "-e", "python", f"/dev/fd/{reader}", pass_fds=(reader,))
    os.close(reader)
    stdout, _ = process.communicate(timeout=30)
    assert stdout == b"from a pipe\n"


def test_nothing_of_one_run_is_there_in_the_next(assay: Assay) -> None:
    assay("run", "--", "bash", "-c", "echo secret >kept; echo secret >/tmp/kept")
    ended = assay("run", "--", "bash", "-c", "ls -A /workspace /tmp")
    assert b"kept" not in ended.stdout


def test_the_machine_is_not_in_the_sandbox(assay: Assay, tmp_path: Path) -> None:
    assay.write("mine.txt", "private")
    ended = assay("run", "--", "cat", tmp_path / "mine.txt")
    assert ended.status == 1
    assert b"No such file" in ended.stderr
