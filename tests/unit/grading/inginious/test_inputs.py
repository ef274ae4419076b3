"""What is handed in for problems, what is a learner's own, and what a version holds."""

from __future__ import annotations

import hashlib
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from assay.domain.errors import GradingLost, InvalidTask
from assay.driver.port import Secret
from assay.grading.inginious.inputs import (
    accepted,
    answers_of,
    randoms_of,
    seed_of,
    shown_choices,
)
from assay.grading.inginious.judging import Graded
from assay.grading.inginious.problems import Choice, Problem
from assay.grading.kinds import Kinds
from assay.grading.offered import Before, Content, File, Given, Grading, Offered
from assay.grading.tasks import Bundle
from assay.grading.versions import Versions

COURSE = Path(__file__).parents[3] / "grading/inginious/course"
CHOICES = tuple(Choice(index=at, text=str(at), valid=at < 2) for at in range(8))
ONE = Problem(id="one", kind="multiple_choice", choices=CHOICES, limit=4)
SEVERAL = Problem(id="several", kind="multiple_choice", choices=CHOICES, limit=4, multiple=True)


def test_a_learner_sees_as_many_choices_as_the_limit_says_and_always_the_same() -> None:
    for seed in range(50):
        one, several = shown_choices(ONE, seed), shown_choices(SEVERAL, seed)
        assert (len(one), len(several)) == (4, 4)
        assert sum(CHOICES[at].valid for at in one) == 1
        assert {0, 1} <= set(several)
        assert one == shown_choices(ONE, seed)
    assert len({shown_choices(SEVERAL, seed) for seed in range(50)}) > 10


def test_choices_keep_their_order_where_that_is_wished_for_and_for_nobody() -> None:
    still = Problem(id="one", kind="multiple_choice", choices=CHOICES, unshuffle=True)
    assert shown_choices(still, 3) == tuple(range(8))
    assert shown_choices(ONE, None) == tuple(range(8))


def test_answers_are_as_graders_of_inginious_find_them() -> None:
    problems = (
        ONE, SEVERAL, Problem(id="text", kind="code"), Problem(id="word", kind="match"),
        Problem(id="file", kind="file", allowed_extensions=(".c",)),
        Problem(id="other", kind="a_plugins_own"),
    )  # fmt: skip
    content = accepted(
        problems,
        Given(
            files={
                "file": File(content=b"\xff", name="main.c"),
                "text": File(content="é".encode()),
            },
            answers={"one": [3], "word": 42, "other": "x"},
        ),
    )
    assert answers_of(content) == {
        "one": "3", "several": [], "text": "é", "word": "42", "other": "x",
        "file": ("main.c", b"\xff"),
    }  # fmt: skip


def test_a_seed_is_the_learners_and_another_one_for_each_where_the_task_says_so() -> None:
    task, fresh = (Kinds().task(COURSE / name) for name in ("commands", "legacy"))
    key, first, later = Secret(bytes(32)), Before(), Before(attempts=1)
    mine = task.seed(key, "c/t/ada", first)
    assert mine == task.seed(key, "c/t/ada", later) != task.seed(key, "c/t/bob", first)
    assert fresh.seed(key, "c/t/ada", first) != fresh.seed(key, "c/t/ada", later)
    assert 0 <= seed_of(key, "x") < 2**62


def test_a_seed_cannot_be_foreseen_by_who_does_not_know_the_servers_key() -> None:
    task = Kinds().task(COURSE / "commands")
    seeds = {task.seed(Secret(bytes([n]) * 32), "c/t/ada", Before()) for n in range(50)}
    assert len(seeds) == 50
    plain = hashlib.sha256(b"c/t/ada\0").digest()
    assert int.from_bytes(plain[:8], "big") >> 2 not in seeds


def test_what_a_kept_seed_gives_stays_as_it_was() -> None:
    """Gradings of before are had again with the same randoms, and teachers see the same choices."""
    assert randoms_of(7, 2) == (0.32383276483316237, 0.15084917392450192)
    assert shown_choices(ONE, 7) == (1, 7, 3, 5)


def kept(versions: Versions, task: Offered) -> str:
    for bundle in task.bundles:
        versions.keep(bundle)
    return task.bundles[0].digest


def test_a_version_has_all_of_the_task_and_what_its_course_shares(tmp_path: Path) -> None:
    course, versions = tmp_path / "course", Versions(tmp_path / "kept")
    shutil.copytree(COURSE, course)
    (course / "commands/empty").mkdir()
    before = Kinds().task(course / "commands")
    digest = kept(versions, before)
    (course / "$common/words.txt").write_text("others")
    changed = Kinds().task(course / "commands")
    assert changed.bundles[0].digest != digest
    shutil.rmtree(course)
    then = Kinds().version(versions.get(digest), versions.get, Path("course/commands"))
    assert (then.id, then.title) == ("commands", "Every command")
    assert then.bundles == before.bundles
    names = set(then.bundles[0].files)
    assert {"task/run", "task/empty/", "task/student/", "task/lang/fr/hello.tpl"} <= names
    assert not any("course.yaml" in name for bundle in then.bundles for name in bundle.files)


def test_what_tasks_share_is_kept_once_and_missed_when_it_is_gone(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    digests = [kept(versions, Kinds().task(COURSE / name)) for name in ("commands", "python")]
    assert len(list(tmp_path.iterdir())) == 3
    common = Kinds().task(COURSE / "python").bundles[1].digest
    (tmp_path / common.removeprefix("sha256:")).unlink()
    with pytest.raises(GradingLost):
        Kinds().version(versions.get(digests[0]), versions.get, Path("course/commands"))


def test_a_task_of_assays_own_may_have_files_that_look_like_inginious() -> None:
    files = {"task.toml": b"", "common": b"x", "task/task.yaml": b""}
    with pytest.raises(InvalidTask, match=r"task\.toml"):
        Kinds().version(Bundle(files=files), Versions(Path("/none")).get, Path("c/t"))


def test_one_task_that_is_wrong_hides_no_other(tmp_path: Path) -> None:
    shutil.copytree(COURSE, tmp_path / "course")
    (tmp_path / "course/commands/task.yaml").write_text("problems: [")
    (tmp_path / "course/shared/systemfiles").mkdir()
    course = Kinds().course(tmp_path / "course")
    assert len(course.broken) == 2
    assert "python" in {task.id for task in course.tasks}


def test_only_a_task_that_mentions_a_state_is_graded_one_at_a_time() -> None:
    found = {name: Kinds().task(COURSE / name).remembers for name in ("commands", "shared")}
    assert found == {"commands": True, "shared": False}


def test_a_folder_of_courses_is_no_course_and_says_which_are_in_it() -> None:
    with pytest.raises(InvalidTask, match="give those in it: course"):
        Kinds().course(COURSE.parent)
    with pytest.raises(InvalidTask, match=r"course\.toml, or of INGInious with course\.yaml$"):
        Kinds().course(COURSE / "commands")
    with pytest.raises(InvalidTask, match="No such file"):
        Kinds().course(COURSE / "none")


def mo(**texts: str) -> bytes:
    """A file of gettext's, as msgfmt makes it."""
    head = "Content-Type: text/plain; charset=UTF-8\n"
    pairs = sorted(
        {"": head, **{name.replace("_", " "): text for name, text in texts.items()}}.items()
    )
    sides = ([name.encode() for name, _ in pairs], [text.encode() for _, text in pairs])
    tables, strings = b"", b""
    at = 28 + 16 * len(pairs)
    for side in sides:
        for text in side:
            tables += struct.pack("<II", len(text), at + len(strings))
            strings += text + b"\0"
    head_bytes = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, at)
    return head_bytes + tables + strings


def test_a_learner_reads_a_task_in_the_language_that_it_has(tmp_path: Path) -> None:
    shutil.copytree(COURSE, tmp_path / "course")
    folder = tmp_path / "course/commands/$i18n"
    folder.mkdir()
    (folder / "fr.mo").write_bytes(mo(Every_command="Toutes", Write="?", one="un"))
    (folder / "de.mo").write_bytes(b"no such file")
    task = Kinds().task(folder.parent)
    for language, title, choice in (
        ("fr", "Toutes", "un"), ("fr_BE", "Toutes", "un"), ("de", "Every command", "one"),
        ("../fr", "Every command", "one"), ("", "Every command", "one"),
    ):  # fmt: skip
        shown = task.shown(None, language)
        assert (shown.title, shown.parts[3].choices[0]) == (title, choice)
        assert shown.description == ""


async def test_a_grading_that_lost_a_sandbox_is_no_result_but_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def lost(*_: object, **__: object) -> Graded:
        return Graded(result="error", grade=None, passing="a student's sandbox was lost")

    monkeypatch.setattr("assay.grading.inginious.offered.grade_submission", lost)
    task = Kinds().task(COURSE / "commands")
    sandboxes: Any = None
    grading = Grading(
        course="c", learner="ada", content=Content(files={}, answers={}), seed=1,
        submitted_at=0.0, sandboxes=sandboxes, factor=1.0,
    )  # fmt: skip
    with pytest.raises(GradingLost, match="student's sandbox was lost"):
        await task.grade(grading)


def test_a_size_that_no_answer_can_carry_is_none(tmp_path: Path) -> None:
    text = "name: n\nenvironment_id: default\nproblems: {f: {type: file, max_size: 1.0e+300}}\n"
    (tmp_path / "t").mkdir()
    (tmp_path / "t/task.yaml").write_text(text)
    (tmp_path / "t/run").write_text("#!/bin/sh\n")
    (tmp_path / "course.yaml").write_text("name: A course\n")
    (part,) = Kinds().task(tmp_path / "t").shown(None).parts
    assert part.most_bytes is None or part.most_bytes < 2**63
