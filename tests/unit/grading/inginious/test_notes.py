"""What a course's folder asks for is done, or its teacher is told that it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assay.grading.inginious import load_course, load_task
from assay.grading.inginious.courses import _KNOWN as OF_COURSES
from assay.grading.inginious.environments import Environments
from assay.grading.inginious.offered import ServedTask, served_course
from assay.grading.inginious.tasks import _KNOWN as OF_TASKS

TASK = "environment_id: c\nenvironment_type: docker\nproblems: {q: {type: code, header: write}}\n"


def course(folder: Path, text: str = "name: A\n", **tasks: str) -> Path:
    for name, more in tasks.items():
        (folder / name).mkdir()
        (folder / name / "task.yaml").write_text(TASK + more)
    (folder / "course.yaml").write_text(text)
    return folder


ABOUT_COURSES = [
    ("is_lti: true", "is_lti"),
    ("lti_send_back_grade: true", "lti_send_back_grade"),
    ("groups_student_choice: true", "groups_student_choice"),
    ("nofrontend: true", "nofrontend"),
    ("fs_provider: {type: git}", "fs_provider"),
    ("registration: 2026-01-01/2026-02-01", "registration"),
    ("registration_password: secret", "registration_password"),
    ("registration_ac: username", "registration_ac"),
    ("task_dispenser: combinatory_test", "task_dispenser"),
    ("task_dispenser: contest", "task_dispenser"),
    ("dispenser_data: {config: {t: {accessibility: true, blackout: 3}}}", "blackout"),
    ("something: 1", "something"),
]


@pytest.mark.parametrize(("text", "about"), ABOUT_COURSES)
def test_what_of_a_course_is_not_done_is_said_to_its_teacher(
    text: str, about: str, tmp_path: Path
) -> None:
    (remark,) = load_course(course(tmp_path, text)).remarks
    assert about in remark


@pytest.mark.parametrize(
    "text",
    [
        "is_lti: false\nlti_keys: {}\nlti_send_back_grade: false\nnofrontend: false",
        "registration: true\nregistration_password: null\nregistration_ac: null",
        "task_dispenser: toc\ndispenser_data: {toc: [], config: {}}\ngroups_student_choice: false",
        "accessible: true\narchived: false\ntags: {a: {visible: true}}\nuse_classrooms: true",
    ],
)
def test_what_inginious_writes_by_itself_is_worth_no_word(text: str, tmp_path: Path) -> None:
    assert load_course(course(tmp_path, text)).remarks == ()


ABOUT_TASKS = [
    ("groups: true", "groups"),
    ("evaluate: student", "evaluate"),
    ("stored_submissions: 3", "stored_submissions"),
    ("categories: [loops]", "categories"),
    ("environment_parameters: {ssh_allowed: 'on'}", "ssh_allowed"),
    ("environment_parameters: {gpus: 1}", "gpus"),
    ("environment_parameters: {limits: {colour: 1}}", "colour"),
    ('context: ".. raw:: html\\n\\n   <script>run()</script>"', "context"),
    ("something: 1", "something"),
]


@pytest.mark.parametrize(("text", "about"), ABOUT_TASKS)
def test_what_of_a_task_is_not_done_is_said_to_its_teacher(
    text: str, about: str, tmp_path: Path
) -> None:
    folder = course(tmp_path, t=text)
    (remark,) = ServedTask.in_folder(folder / "t", Environments()).remarks
    assert about in remark
    (served,) = served_course(folder, Environments()).tasks
    assert served.remarks == (remark,)


@pytest.mark.parametrize("text", ["weight: 2", "evaluate: last", "groups: false", "order: 3",
                                  "stored_submissions: 0", "categories: []", "tags: {}",
                                  "submission_limit: {amount: 2, period: 24}",
                                  "accessible: 2026-01-01/2026-02-01", "regenerate_input_random: 1",
                                  "environment_parameters: {network_grading: true}"])  # fmt: skip
def test_what_is_done_is_worth_no_word(text: str, tmp_path: Path) -> None:
    assert ServedTask.in_folder(course(tmp_path, t=text) / "t", Environments()).remarks == ()


def test_a_word_of_the_course_on_a_task_counts_as_the_tasks_own(tmp_path: Path) -> None:
    config = "{t: {accessibility: true, group_submission: true, no_stored_submissions: 2}}"
    folder = course(tmp_path, f"dispenser_data: {{config: {config}}}", t="")
    (served,) = served_course(folder, Environments()).tasks
    assert [each.partition(":")[0] for each in served.remarks] == ["groups", "stored_submissions"]


def test_a_grader_that_logs_people_in_is_named(tmp_path: Path) -> None:
    folder = course(tmp_path, t="") / "t"
    (folder / "task.yaml").write_text(TASK.replace("docker", "docker-ssh"))
    assert "docker-ssh" in load_task(folder).remarks[0]


def test_every_field_that_is_known_is_done_named_or_in_the_page() -> None:
    """Whoever adds one to those that are known has to say what becomes of it."""
    page = (Path(__file__).parents[4] / "docs/inginious.md").read_text()
    missing = {each for each in OF_COURSES | OF_TASKS if f"`{each}`" not in page}
    assert missing == set()


SECTIONS: list[tuple[str, list[str]]] = [
    ("task_dispenser: toc\ndispenser_data: {toc: [{title: A, tasks_list: [c, a]}]}", ["c", "a"]),
    ("task_dispenser: toc\ndispenser_data: [{title: A, tasks_list: {a: 10, c: 9}}]", ["c", "a"]),
    ("toc: [{title: A, rank: 1, tasks_list: {a: 0}}, {title: B, rank: 0, tasks_list: {c: 0}}]",
     ["c", "a"]),
    ("toc: [{title: A, sections_list: [{title: B, tasks_list: [c]}]}, {tasks_list: [a]}]",
     ["c", "a"]),
    ("dispenser_data: null", ["a"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "first"), SECTIONS)
def test_sections_of_every_version_order_the_tasks(
    text: str, first: list[str], tmp_path: Path
) -> None:
    nothing: dict[str, Any] = {"a": "", "b": "", "c": ""}
    found = served_course(course(tmp_path, text, **nothing), Environments())
    assert [each.id for each in found.tasks][: len(first)] == first
    assert len(found.tasks) == 3
