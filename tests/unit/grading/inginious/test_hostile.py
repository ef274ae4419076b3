"""Files of a task or a course that would take for ever, or break what is said of the others."""

from __future__ import annotations

import os
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from assay.agent.entries import Entry
from assay.domain.errors import InvalidTask
from assay.grading.inginious import Submission, grade_submission, grading, load_course, load_task
from assay.grading.inginious.containers import Files
from assay.grading.inginious.environments import Environments
from assay.grading.inginious.judging import Graded
from assay.grading.inginious.offered import served_course
from assay.grading.inginious.text import to_markdown
from assay.grading.inginious.translations import translation

MANY = 1_000_000
GOOD = "environment_id: mcq\nenvironment_type: mcq\nproblems: {q: {type: match, answer: a}}\n"


@pytest.mark.parametrize(
    "text",
    [
        "`" + " " * MANY,
        "`" + "a " * (MANY // 2),
        "` <" * (MANY // 3),
        "a::\n" + "\n" * MANY + "    b",
        ".. note::\n" + "    :x: y\n" * (MANY // 10),
        "\n".join(" " * depth + ".. note::" for depth in range(1400)),
    ],
)
def test_a_million_characters_become_markdown_in_a_moment(text: str) -> None:
    began = time.process_time()  # what others do on this machine is nothing to it
    to_markdown(text)
    assert time.process_time() - began < 2


def test_links_keep_their_words() -> None:
    assert to_markdown("`a b  <u>`_ and `c<v>`__") == "[a b](u) and [c](v)"
    assert to_markdown("` <w>`_") == "[ ](w)"


@pytest.mark.parametrize("text", [":a:`b` " * 2000, "a ``b``\n" * 100_001, "\t" * 10_001])
def test_lines_and_texts_that_nobody_reads_stay_the_words_that_they_are(text: str) -> None:
    assert to_markdown(text).replace("\\", "") == text


async def test_what_graders_said_is_judged_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a hundred thousand parts, others would wait for it."""
    threads: list[threading.Thread] = []

    def judged(*_: object, **__: object) -> Graded:
        threads.append(threading.current_thread())
        return Graded(result="failed", grade=0.0)

    async def run(*_: object) -> object:
        return object()

    for name in ("judge", "judge_answers"):
        monkeypatch.setattr(grading, name, judged)
    monkeypatch.setattr(grading, "run_script", run)
    course = Path(__file__).parents[3] / "grading/inginious/course"
    rooms: Any = None
    for name, answers in (
        ("choices", {"one": "0", "more": [], "word": "42"}),
        ("students", {"q1": "exits"}),
    ):
        await grade_submission(
            rooms, load_task(course / name), Submission(answers=answers), Environments()
        )
    assert len(threads) == 2
    assert threading.current_thread() not in threads


def course(folder: Path, **tasks: str) -> Path:
    for name, text in {"good": GOOD, **tasks}.items():
        (folder / name).mkdir()
        (folder / name / "task.yaml").write_text(text)
    (folder / "course.yaml").write_text("name: A course\n")
    return folder


@pytest.mark.parametrize(
    "more",
    [
        'name: "\\udcff"\n',
        '"\\ud800": 1\n',
        f"name: 0x{'F' * 5000}\n",
        f"submission_limit: {{amount: 1, period: {10**400}}}\n",
        f"submission_limit: {{amount: 1, period: '{10**400}'}}\n",
        f"submission_limit: {{amount: '{10**30}', period: 1}}\n",
    ],
)
def test_a_task_with_what_cannot_be_said_hides_no_other(more: str, tmp_path: Path) -> None:
    found = served_course(course(tmp_path, bad=GOOD + more), Environments())
    assert [each.id for each in found.tasks] == ["good"]
    assert len(found.broken) == 1
    assert b"bad" in found.broken[0].message.encode()


@pytest.mark.parametrize("name", [b"a\xff", b"a\nb", "\u2028".encode()])
def test_a_task_whose_name_cannot_be_printed_hides_no_other(name: bytes, tmp_path: Path) -> None:
    folder = course(tmp_path)
    bad = os.path.join(os.fsencode(folder), name)  # noqa: PTH118
    os.mkdir(bad)  # noqa: PTH102
    with open(os.path.join(bad, b"task.yaml"), "w") as file:  # noqa: PTH118, PTH123
        file.write(GOOD)
    found = served_course(folder, Environments())
    assert [each.id for each in found.tasks] == ["good"]
    assert found.broken[0].message.isprintable()


def test_places_in_messages_can_be_encoded(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"a\xff") / "task"
    folder.mkdir(parents=True)
    for text in ("", "problems: 3", "a: ["):
        (folder / "task.yaml").write_text(text)
        with pytest.raises(InvalidTask) as refused:
            load_task(folder)
        assert refused.value.message.encode()


def test_a_course_with_half_a_character_is_refused(tmp_path: Path) -> None:
    (tmp_path / "course.yaml").write_text('name: "\\ud83d"\n')
    with pytest.raises(InvalidTask, match="half a character"):
        load_course(tmp_path)


def catalogue(pairs: list[tuple[bytes, bytes]], *, overlapping: int = 1) -> bytes:
    names, texts, data = [], [], b""
    begin = 28 + 16 * len(pairs) * overlapping
    for name, text in pairs:
        names += [len(name), begin + len(data)] * overlapping
        data += name + b"\0"
        texts += [len(text), begin + len(data)] * overlapping
        data += text + b"\0"
    count = len(pairs) * overlapping
    head = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    return head + struct.pack(f"<{4 * count}I", *names, *texts) + data


def said(content: bytes) -> str:
    entry = Entry(name="$i18n/fr.mo", mode=0o644, content=content)
    return translation(Files(in_task=(entry,), in_course=()), "fr_BE")("a")


def head(charset: str) -> tuple[bytes, bytes]:
    return b"", f"Content-Type: text/plain; charset={charset}\n".encode()


def test_a_translation_that_takes_for_ever_is_left_out() -> None:
    pair = (b"a", "é".encode())
    assert said(catalogue([head("UTF-8"), pair])) == "é"
    assert said(catalogue([head("UTF-8"), pair], overlapping=2000)) == "a"
    assert said(catalogue([head("UTF-8"), pair, *[(b"", b"")] * 10_000])) == "a"
    assert said(catalogue([head("unicode_escape"), (b"a", b"\\ud800")])) == "a"
    for broken in (b"", b"\xde\x12\x04\x95", catalogue([pair])[:40]):
        assert said(broken) == "a"


def test_texts_of_a_translation_may_not_be_the_same_bytes_many_times() -> None:
    long = b"x" * 100_000
    content = catalogue([head("UTF-8"), (b"a", long)], overlapping=5000)
    began = time.thread_time()
    assert said(content) == "a"
    assert time.thread_time() - began < 0.1


def test_the_first_folder_of_translations_that_is_there_is_the_only_one() -> None:
    def entry(name: str, text: str) -> Entry:
        content = catalogue([head("UTF-8"), (b"a", text.encode())])
        return Entry(name=name, mode=0o644, content=content)

    of_task = (entry("$i18n/fr.mo", "task"), entry("student/$i18n/fr.mo", "students"))
    of_course = (
        entry("common/$i18n/fr.mo", "course"), entry("common/student/$i18n/fr.mo", "all"),
        entry("common/student/$i18n/nl.mo", "allen"),
    )  # fmt: skip
    found = [
        translation(Files(in_task=of_task[first:], in_course=of_course), "fr")("a")
        for first in range(3)
    ]
    assert found == ["task", "students", "course"]
    last = Files(in_task=(), in_course=of_course[1:])
    assert [translation(last, name)("a") for name in ("fr_BE", "nl", "de")] == ["all", "allen", "a"]
    assert translation(Files(in_task=of_task, in_course=of_course), "nl")("a") == "a"
