"""`assay task new`, where there is no room for it, and what it says is next."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from assay.cli.app import run_app
from assay.grading.tasks.starter import ANSWERS, KINDS


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_file_in_the_way_is_named_and_stays(capfd: pytest.CaptureFixture[str]) -> None:
    Path("afile").touch()
    assert run_app(["task", "new", "afile/new"]) == 2
    assert capfd.readouterr().err == "assay: afile/new can't be written: Not a directory\n"
    assert Path("afile").is_file()


@pytest.mark.parametrize("folder", ["new", "some/where/new", "empty"])
def test_a_task_that_found_no_room_is_not_in_the_way_of_the_next_try(
    folder: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    write = Path.write_text

    def filled(path: Path, text: str, encoding: str) -> int:
        if path.name == "1.out":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, text, encoding)

    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", filled)
        assert run_app(["task", "new", folder]) == 115
    assert "the disk is full" in capfd.readouterr().err
    assert [str(each) for each in Path().rglob("*")] == ["empty"]
    assert run_app(["task", "new", folder]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_task_says_how_to_hand_in_for_it(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["task", "new", "mine", "--kind", kind]) == 0
    wanted = f"--answer {ANSWERS[kind]}" if kind in ANSWERS else "FILE"
    assert f"assay grade mine {wanted}\n" in capfd.readouterr().out
