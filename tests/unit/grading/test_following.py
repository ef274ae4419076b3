"""Courses whose folders change while a server runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from assay.domain.errors import InvalidTask
from assay.grading import courses
from assay.grading.courses import Courses
from assay.grading.kinds import Kinds
from assay.grading.offered import OfferedCourse
from assay.grading.versions import Versions


@dataclass(frozen=True)
class Read(Kinds):
    """Titles of courses, which a file of their folders says; "!" is what nobody expects."""

    reads: list[Path] = field(default_factory=list)

    def course(self, folder: Path) -> OfferedCourse:
        self.reads.append(folder)
        title = (folder / "title").read_text()
        if title == "!":
            raise OverflowError("of nobody's \udcff")
        if title == "?":
            raise InvalidTask("wrong")
        return OfferedCourse(id=folder.name, title=title)


@contextlib.asynccontextmanager
async def following(found: Courses) -> AsyncIterator[None]:
    await found.load()
    task = asyncio.create_task(found.follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()


async def until_title(found: Courses, course: str, title: str) -> None:
    async with asyncio.timeout(10):
        while found.get(course).title != title:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("wrong", ["!", "?"])
async def test_a_course_that_breaks_stops_no_other_and_is_told_once(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(courses, "SECONDS_BETWEEN_LOOKS", 0.01)
    caplog.set_level(logging.ERROR, "assay")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "title").write_text("old")
    kinds = Read()
    found = Courses([tmp_path / "a", tmp_path / "b"], Versions(tmp_path / "versions"), kinds)
    async with following(found):
        (tmp_path / "a/title").write_text(wrong)
        (tmp_path / "b/title").write_text("newer")
        await until_title(found, "b", "newer")
        await asyncio.sleep(0.3)
        assert found.get("a").title == "old"
        assert len(kinds.reads) <= 5  # two at the start, two changes, and one seen half written
        assert len([each.getMessage().encode() for each in caplog.records]) == 1
        (tmp_path / "a/title").write_text("right again")
        await until_title(found, "a", "right again")


def written(folder: Path, text: str = 'title = "Good"') -> Path:
    folder.mkdir()
    (folder / "course.toml").write_text(text)
    return folder


@pytest.mark.parametrize("kind", ["odd link", "nonsense", "no document"])
async def test_a_course_that_cannot_be_read_at_the_start_is_broken_and_stops_no_server(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courses, "SECONDS_BETWEEN_LOOKS", 0.01)
    good, bad = written(tmp_path / "good"), written(tmp_path / "bad", "title = 1")
    file = bad / "course.yaml"
    if kind == "odd link":  # the system answers with an error to whoever looks whether it is there
        (bad / "course.toml").unlink()
        file.symlink_to("x" * 300)
    elif kind == "no document":
        (bad / "course.toml").unlink()
        file.write_text("name: [")
    found = Courses([bad, good], Versions(tmp_path / "versions"))
    async with following(found):
        assert found.get("good").title == "Good"
        assert found.get("bad").tasks == ()
        (problem,) = found.get("bad").broken
        assert "the course can't be read" in problem.message
        assert str(bad) in problem.message
        file.unlink(missing_ok=True)
        (bad / "course.toml").write_text('title = "Mended"')
        await until_title(found, "bad", "Mended")
        assert found.get("bad").broken == ()


async def test_a_folder_without_a_course_and_two_of_one_name_are_the_operators_mistake(
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "more").mkdir()
    one, same = written(tmp_path / "one"), written(tmp_path / "more/one", "title = 1")
    for folders, words in (
        ([tmp_path / "empty"], "a course is a folder"),
        ([tmp_path / "none"], "No such file"),
        ([one, same], "two folders"),
        ([same, one], "two folders"),
    ):
        with pytest.raises(InvalidTask, match=words):
            await Courses(folders, Versions(tmp_path / "versions")).load()
