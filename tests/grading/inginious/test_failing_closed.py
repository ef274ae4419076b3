"""Graders that break, and what breaks them: never a pass, and the result says why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from assay.grading.inginious import Graded, to_result
from assay.grading.results import Verdict

Grade = Callable[..., Awaitable[Graded]]


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("feedback-result success; exit 1", "exit status was 1"),
        ("feedback-result success; feedback-grade 100; kill -9 $$", "signal 9"),
        ("exit 0", "no feedback"),
        ("feedback-msg -m hello", "no result"),
        ("feedback-result perfect", "no result"),
        ("feedback-result success; feedback-grade 1e999; true", "no grade"),
        ("feedback-result success; feedback-grade lots; true", "is no number"),
        ("feedback-result; feedback-result success", "usage"),
        ("feedback-result success; echo garbage >> /.grading/journal", "can't be read"),
        ("feedback-result success; : > /.grading/journal", "no feedback"),
        ("feedback-result success; rm /.grading/journal", "can't be read"),
        ("feedback-result success; ln -sf /etc/passwd /.grading/journal", "can't be read"),
        ("feedback-result success; feedback-msg-tpl nowhere; true", "no template"),
        ("feedback-result success; truncate -s 40M /.grading/journal", "can't be read"),
    ],
)
async def test_a_grader_that_breaks_gives_no_grade(grade: Grade, script: str, word: str) -> None:
    graded = await grade("hostile", answers={"q1": script})
    assert (graded.result, graded.grade) == ("error", None), graded
    assert word in graded.detail
    result = to_result(graded)
    assert (result.verdict, result.grade) == (Verdict.ERROR, None)
    assert word in result.detail


async def test_a_teacher_reads_why_a_status_is_no_pass_and_what_to_do(grade: Grade) -> None:
    """The last line of a real course's grader calls a command that is not there."""
    script = "feedback-result success; feedback-grade 90; no-such-command"
    graded = await grade("hostile", answers={"q1": script})
    assert (graded.result, graded.grade) == ("error", None)
    for words in (
        "exit status was 127", "(success with 90) does not count", "a command that is not there",
        "no-such-command: command not found", "exit 0",
    ):  # fmt: skip
        assert words in graded.detail, graded.detail


@pytest.mark.parametrize(
    ("script", "result", "grade_is"),
    [
        ("feedback-result failed; echo 'no main' >&2; exit 1", "failed", 0),
        ("feedback-result failed; feedback-grade 40; no-such-command", "failed", 40),
        ("feedback-result timeout; exit 3", "timeout", 0),
    ],
)
async def test_a_mistake_that_a_grader_ends_with_a_status_for_is_one(
    grade: Grade, script: str, result: str, grade_is: float
) -> None:
    graded = await grade("hostile", answers={"q1": script})
    assert (graded.result, graded.grade) == (result, grade_is), graded
    assert "ts exit status was" in graded.detail
    assert "is no pass" in graded.detail


@pytest.mark.parametrize(
    "script",
    [
        "feedback-result failed; kill -9 $$",
        "feedback-result success; feedback-result failed; feedback-grade lots; exit 1",
        "feedback-result no; exit 1",
        "feedback-msg -m sorry; exit 1",
    ],
)
async def test_a_mistake_that_nobody_named_or_that_something_killed_is_none(
    grade: Grade, script: str
) -> None:
    graded = await grade("hostile", answers={"q1": script})
    assert (graded.result, graded.grade) == ("error", None), graded


async def test_a_grader_whose_interpreter_is_not_there_says_which(
    grade: Grade, tmp_path: Path
) -> None:
    written = "name: Old\nenvironment: default\nproblems: {q1: {type: match, answer: a}}\n"
    (tmp_path / "task.yaml").write_text(written)
    (tmp_path / "run").write_text("#!/usr/bin/python-of-then -u\nprint 'hello'\n")
    (tmp_path / "run").chmod(0o755)
    graded = await grade(tmp_path, answers={"q1": "a"})
    assert (graded.result, graded.grade) == ("error", None), graded
    assert "'/usr/bin/python-of-then -u', which is to run it, is not in" in graded.detail
    assert "a shell" not in graded.detail


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("feedback-result success; while :; do :; done", "timeout"),
        ("feedback-result success; sleep 60", "timeout"),
        ("feedback-result success; python3 -c 'a = [bytearray(1 << 20) for _ in range(999)]'"
         "; exit 1",
         "overflow"),
        ("feedback-result success; yes", "overflow"),
    ],
)  # fmt: skip
async def test_a_grader_over_its_limits_is_no_pass(grade: Grade, script: str, result: str) -> None:
    graded = await grade("hostile", answers={"q1": script})
    assert (graded.result, graded.grade) == (result, 0.0), graded


async def test_a_flood_of_records_ends(grade: Grade) -> None:
    script = (
        "feedback-result success; x=$(printf %01000d 0); "
        "for i in $(seq 300); do feedback-msg -a -m $x; done"
    )
    graded = await grade("hostile", answers={"q1": script})
    assert (graded.result, len(graded.message)) == ("success", 300_000)


async def test_an_archive_takes_no_links_along(grade: Grade) -> None:
    script = (
        "feedback-result success; ln -s /etc/passwd /archive/link; echo x > /archive/file; "
        "mkfifo /archive/pipe"
    )
    graded = await grade("hostile", answers={"q1": script})
    assert graded.result == "success"
    assert graded.archive is not None
    assert graded.archive.content is not None
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(graded.archive.content)) as tar:
        assert tar.getnames() == ["file"]


async def test_an_archive_that_is_too_large_is_a_fault(grade: Grade) -> None:
    script = "feedback-result success; head -c 40M /dev/zero > /archive/large"
    graded = await grade("hostile", answers={"q1": script})
    assert graded.result == "error"
    assert "archive" in graded.detail


async def test_many_records_at_once_stay_whole(grade: Grade) -> None:
    script = (
        'for i in $(seq 40); do feedback-msg -a -m "<$i>" & done; wait; feedback-result success'
    )
    graded = await grade("hostile", answers={"q1": script})
    assert graded.result == "success"
    assert sorted(graded.message.strip("<>").split("><")) == sorted(map(str, range(1, 41)))
