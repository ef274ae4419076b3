"""`assay task`: made, tried and graded as teachers do it."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import Assay

from assay.environments import bundled_folder, load_all
from assay.grading.tasks import load_course
from assay.grading.tasks.course import bundled_course
from assay.grading.tasks.starter import ANSWERS, KINDS

pytestmark = pytest.mark.root

COURSE = load_course(bundled_course())
LANGUAGES = [each.name for each in load_all([bundled_folder()])[0] if each.trials.sums]
INSTALLED = {"bash", "c", "cpp", "go", "java", "javascript", "php", "python", "ruby", "sql"}
"""By `./dev test`."""


def require(assay: Assay, environment: str) -> None:
    """Skip where a language is not installed; fail where it must be."""
    listed = assay("env", "list", "--json").json["environments"]
    problem = next(each["problem"] for each in listed if each["name"] == environment)
    if problem and (environment not in INSTALLED or not os.environ.get("CI")):
        pytest.skip(problem)
    assert not problem


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_task_is_accepted_at_once(assay: Assay, kind: str) -> None:
    assert assay("task", "new", "mine", "--kind", kind).status == 0
    ended = assay("task", "check", "mine", "--json", "--mutants", "3", seconds=120)
    assert ended.status == 0, ended.stdout
    (report,) = ended.json["tasks"]
    assert report["findings"] == []
    assert assay("task", "test", "mine").status == 0
    if kind in ANSWERS:
        assert assay("grade", "mine", "--answer", ANSWERS[kind]).status == 0


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("environment", LANGUAGES)
def test_a_new_task_of_every_language_is_accepted(assay: Assay, environment: str) -> None:
    require(assay, environment)
    assert assay("task", "new", "mine", "--environment", environment).status == 0
    ended = assay("task", "check", "mine", "--json", "--mutants", "1", seconds=300)
    (report,) = ended.json["tasks"]
    wrong = [each for each in report["findings"] if each["severity"] != "note"]
    assert (ended.status, wrong) == (0, [])
    tried = {each["name"]: each for each in report["tried"]}
    assert tried["a program that does nothing"]["verdict"] == "failed"
    assert tried["what 'two numbers' expects"]["grade"] == 25
    assert tried["a program that never ends"]["grade"] == 0


def test_a_task_is_not_written_over_another_one(assay: Assay) -> None:
    assay.write("mine/notes.txt", "mine")
    ended = assay("task", "new", "mine")
    assert ended.status == 2
    assert "is there already" in ended.complaint
    assert [path.name for path in (assay.folder / "mine").iterdir()] == ["notes.txt"]


def test_a_language_without_a_starter_is_refused_in_words(assay: Assay) -> None:
    ended = assay("task", "new", "mine", "--environment", "sql")
    assert ended.status == 2
    assert "sums" in ended.complaint
    assert not (assay.folder / "mine").exists()


def test_the_course_that_comes_along_is_whole() -> None:
    assert COURSE.broken == ()
    assert len(COURSE.tasks) >= 8
    assert len({task.environment for task, _ in COURSE.tasks}) >= 4
    assert {
        bool(task.description and bundle.beneath("tests")) for task, bundle in COURSE.tasks
    } == {True}


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", [task.id for task, _ in COURSE.tasks])
def test_every_task_of_the_course_is_sound_and_worth_what_is_recorded(
    assay: Assay, name: str
) -> None:
    task = next(task for task, _ in COURSE.tasks if task.id == name)
    require(assay, task.environment)
    # Whether mutants are made and tried is seen with new tasks; all of them take minutes here.
    ended = assay("task", "check", bundled_course() / name, "--mutants", "0", "--json",
                  seconds=300)  # fmt: skip
    (report,) = ended.json["tasks"]
    wrong = [each for each in report["findings"] if each["severity"] != "note"]
    assert (ended.status, wrong) == (0, [])
    tested = assay("task", "test", bundled_course() / name, "--json", seconds=120)
    assert tested.status == 0, tested.stdout


def greeting(assay: Assay, **changes: str) -> Path:
    """The first task of the course, with other texts in some files."""
    for path in (bundled_course() / "greeting").rglob("*"):
        if path.is_file():
            name = path.relative_to(bundled_course())
            assay.write(str(name), path.read_bytes())
    for name, text in changes.items():
        assay.write(f"greeting/{name}", text)
    return assay.folder / "greeting"


def test_findings_are_shown_with_their_remedy_and_an_exit_status(assay: Assay) -> None:
    folder = greeting(assay, **{"template/greeting.py": "", "description.md": "",
                                "solution/greeting.py": "print('Hello, Ada!')\n"})  # fmt: skip
    ended = assay("task", "check", folder)
    shown = ended.stdout.decode()
    assert ended.status == 1
    assert "✗ the reference solution does not get full marks: examples / nobody" in shown
    assert "! learners don't see what to do" in shown
    assert "write it, in Markdown, beside task.toml" in shown
    assert "not yet" in shown


def test_a_task_that_can_not_be_read_fails_and_hides_no_other(assay: Assay) -> None:
    folder = greeting(assay)
    assay.write("broken/task.toml", "title = 1\n")
    ended = assay("task", "check", assay.folder / "broken", folder, "--mutants", "0", "--json")
    assert ended.status == 1
    assert [each["passed"] for each in ended.json["tasks"]] == [True]
    assert "broken/task.toml: title" in ended.json["broken"][0]


def test_a_record_that_is_not_true_any_more_fails_with_a_report(assay: Assay) -> None:
    folder = greeting(assay, **{"tests/blanks/expected.toml": "grade = 100\n"})
    ended = assay("task", "test", folder, "--junit", "report.xml", "--json")
    assert ended.status == 1
    wrong = {each["name"]: each["problems"] for each in ended.json["tests"]}
    assert wrong == {
        "blanks": ["the grade is 77.7778 instead of 100"], "no-stranger": [],
    }  # fmt: skip
    root = ElementTree.parse(assay.folder / "report.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == ("2", "1")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"task.toml": 'title = "x"\n'}, "environment: this key is missing"),
        ({"other.txt": ""}, "this is no task"),
        ({"tests/blanks/expected.toml": ""}, "give a grade"),
    ],
)
def test_folders_that_can_not_be_tested_are_refused_in_a_line(
    assay: Assay, files: dict[str, str], said: str
) -> None:
    if "other.txt" in files:
        folder = assay.write("other/other.txt", "").parent
    else:
        folder = greeting(assay, **files)
    ended = assay("task", "test", folder)
    assert ended.status == 2
    assert said in ended.complaint


def test_a_grading_is_written_as_results_of_a_server_are(assay: Assay) -> None:
    assert assay("task", "new", "sums").status == 0
    (assay.folder / "course.toml").write_text('title = "One"\n')
    (assay.folder / "sums.py").write_text("print(3)\n")
    ended = assay("grade", "--junit", "a.xml", "--csv", "a.csv", "sums", "sums.py")
    assert ended.status == 1, ended.stderr
    suite = ElementTree.parse(assay.folder / "a.xml").getroot().find("testsuite")
    assert suite is not None
    assert suite.get("name") == "sums / sums.py"
    assert int(suite.get("tests", "0")) > int(suite.get("failures", "0")) > 0
    (row,) = csv.DictReader((assay.folder / "a.csv").read_text().splitlines())
    assert (row["task"], row["learner"], row["course"]) == ("sums", "sums.py", assay.folder.name)
    assert 0 < float(row["grade"]) < 100
    assert assay("grade", "--csv", "b.csv", "sums").status == 0
    (row,) = csv.DictReader((assay.folder / "b.csv").read_text().splitlines())
    assert (row["learner"], row["verdict"], float(row["grade"])) == ("solution", "passed", 100)
    ended = assay("grade", "--csv", "nowhere/a.csv", "sums")
    assert "nowhere/a.csv can't be written: No such file" in ended.complaint


FOREIGN = Path(__file__).parents[1] / "grading/inginious/course"


def test_a_course_of_inginious_is_checked_without_running_it(assay: Assay) -> None:
    assert assay("task", "check", str(FOREIGN)).status == 0
    named = ("--environment", "default=none-such")
    ended = assay("task", "check", "--json", *named, str(FOREIGN), str(FOREIGN / "legacy"))
    assert ended.status == 1
    assert ended.json["remarks"] == ["course: something_new is not known"]
    tasks = {each["task"]: each for each in ended.json["tasks"]}
    found = {name: {each["code"] for each in task["findings"]} for name, task in tasks.items()}
    assert "environment" in found["legacy"]
    assert "not-done" in found["plugins"]
    assert "devices" in found["devices"]
    assert found["choices"] == set()


def test_a_task_of_inginious_that_only_a_plugin_can_answer_is_no_task_to_publish(
    assay: Assay, tmp_path: Path
) -> None:
    folder = tmp_path / "trace"
    folder.mkdir()
    match = "environment_type: mcq\nproblems: {q: {type: match, answer: a}"
    (folder / "task.yaml").write_text(f"{match}, p: {{type: a-plugins-own}}}}\n")
    ended = assay("task", "check", str(folder))
    assert (ended.status, "a_plugins_own: only a plugin" in ended.stdout.decode()) == (1, True)
    (folder / "task.yaml").write_text(match.replace("mcq", "docker") + "}\n")
    ended = assay("task", "check", str(folder))
    assert (ended.status, "environment_type: mcq" in ended.stdout.decode()) == (1, True)
    (folder / "task.yaml").write_text("environment_type: mcq\nproblems: {}\n")
    ended = assay("task", "check", str(folder))
    assert (ended.status, "nothing to hand in" in ended.stdout.decode()) == (0, True)


def test_a_task_of_inginious_without_a_grader_is_no_task_to_publish(
    assay: Assay, tmp_path: Path
) -> None:
    folder = tmp_path / "alone"
    folder.mkdir()
    text = "environment_id: c\nenvironment_type: docker\nproblems: {q: {type: code}}\n"
    (folder / "task.yaml").write_text(f"{text}environment_parameters: {{network_grading: yes}}\n")
    ended = assay("task", "check", str(folder))
    assert ended.status == 1
    for words in ("has no grader", "network_grading", "not yet"):
        assert words in ended.stdout.decode(), ended.stdout
    (folder / "run.sh").write_text("feedback-result success\n")
    assert assay("task", "check", str(folder)).status == 0
    (folder / "task.yaml").write_text("problems: 3\n")
    ended = assay("task", "check", str(folder))
    assert (ended.status, "there are no problems" in ended.stdout.decode()) == (1, True)
