"""Where a file can't be written, that is said in a line, and before there is work to lose."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from assay.cli.app import run_app
from assay.cli.whole_file import require_writable, whole_file
from assay.domain.errors import InvalidInput

NOWHERE = "nowhere/file"


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("afile").write_text("as it was\n")


@pytest.mark.parametrize(
    "command",
    [
        *(("bench", each, "--json") for each in ("exec", "queue", "all", "startup", "orchestrator",
                                                 "delays", "grading", "bridge", "load", "jobe",
                                                 "profile")),
        *(("bench", "startup", each) for each in ("--markdown", "--svg", "--document")),
        ("bench", "load", "--html"),
        ("bench", "profile", "--svg"),
        ("task", "test", "--junit"),
        *(("grade", each) for each in ("--junit", "--csv", "--save", "--archive")),
    ],
)  # fmt: skip
def test_nothing_is_measured_whose_result_can_not_be_written(
    command: Sequence[str], capfd: pytest.CaptureFixture[str]
) -> None:
    task = [] if command[0] == "bench" else ["."]
    assert run_app([*command, NOWHERE, *task]) == 2
    said = capfd.readouterr()
    assert said.err == f"assay: {NOWHERE} can't be written: No such file or directory\n"
    assert said.out == ""


def test_a_file_in_the_way_of_certificates_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_app(["node", "certificates", "afile/new", "--node", "a"]) == 2
    assert capfd.readouterr().err == "assay: afile/new can't be written: Not a directory\n"


def test_a_file_is_there_as_a_whole_or_as_it_was() -> None:
    with contextlib.suppress(ValueError), whole_file(Path("afile")) as file:
        file.write(b"half")
        raise ValueError
    assert Path("afile").read_text() == "as it was\n"
    with whole_file(Path("afile")) as file:
        file.write(b"whole\n")
    assert Path("afile").read_text() == "whole\n"
    assert [each.name for each in Path().iterdir()] == ["afile"]


def test_what_is_no_ordinary_file_is_written_to_and_stays() -> None:
    os.mkfifo("pipe")
    Path("link").symlink_to("afile")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    for name in ("pipe", "link", "/dev/null"):
        require_writable(Path(name))
        with whole_file(Path(name)) as file:
            file.write(b"there\n")
    assert os.read(reader, 100) == b"there\n"
    os.close(reader)
    assert Path("pipe").is_fifo()
    assert Path("link").is_symlink()
    assert Path("/dev/null").is_char_device()
    assert Path("afile").read_text() == "there\n"


@pytest.mark.parametrize("name", [".", "", "/", "afile/x", "nowhere/x"])
def test_what_can_not_be_written_is_known_before(name: str) -> None:
    with pytest.raises(InvalidInput, match="can't be written") as before:
        require_writable(Path(name))
    with pytest.raises(InvalidInput) as then, whole_file(Path(name)):
        pass
    assert before.value.message == then.value.message
