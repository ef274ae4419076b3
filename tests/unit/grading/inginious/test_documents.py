"""task.yaml, course.yaml and recorded submissions: what is read, listed and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.domain.errors import InvalidInput, InvalidTask
from assay.domain.facts import Facts
from assay.domain.limits import MIB, ExecutionLimits
from assay.domain.outcome import Outcome, OutcomeKind, classify
from assay.grading.inginious import (
    Graded,
    Submission,
    compare,
    load_course,
    load_task,
    tasks_in,
    to_result,
)
from assay.grading.inginious.documents import parse
from assay.grading.inginious.environments import Environments
from assay.grading.inginious.grading import inputs_of
from assay.grading.inginious.judging import judge
from assay.grading.inginious.problems import require_answers
from assay.grading.inginious.recorded import read_recorded
from assay.grading.inginious.text import to_markdown
from assay.grading.results import Verdict
from assay.grading.script import Ended, Said

COURSE = Path(__file__).parents[3] / "grading/inginious/course"


def test_a_task_of_today_has_all_its_fields() -> None:
    task = load_task(COURSE / "commands")
    assert (task.cpu_seconds, task.wall_seconds, task.memory_bytes) == (10, 30, 200 * MIB)
    assert (task.environment, task.environment_type, task.randoms) == ("default", "docker", 3)
    assert [each.kind for each in task.problems] == [
        "code", "file", "match", "multiple_choice", "a_plugins_own",
    ]  # fmt: skip
    assert task.problems[3].error_message == "False"  # YAML's "no"
    assert task.remarks == ("the problem q5 is of the unknown kind 'a_plugins_own'",)
    assert task.course == COURSE.resolve()


def test_a_task_of_0_6_means_the_same() -> None:
    task = load_task(COURSE / "legacy")
    assert (task.environment, task.run_command) == ("default", ("bash", "grade.sh"))
    assert (task.cpu_seconds, task.wall_seconds, task.randoms) == (5, 15, 2)
    assert task.fresh_randoms
    assert task.problems[0].kind == "code_single_line"
    assert task.settings["evaluate"] == "best"
    assert task.remarks == ()


def test_a_course_says_of_its_tasks_what_they_said_themselves_before() -> None:
    course = load_course(COURSE)
    assert course.of_tasks["commands"]["evaluate"] == "best"
    assert course.sections == (("First", ()), ("Inner", ("commands", "python")))
    assert course.remarks == ("something_new is not known",)
    assert {path.name for path in tasks_in(COURSE)} >= {"commands", "legacy", "choices"}


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- 1",
        "!!python/object/apply:os.system [true]",
        "a: &a [x, x]\nb: &b [*a, *a]\n" + "".join(
            f"{chr(99 + n)}: &{chr(99 + n)} [{', '.join(['*' + chr(98 + n)] * 9)}]\n"
            for n in range(8)
        ),
        "a: &a {k0: 1}\n" + "".join(
            f"m{n}: &m{n}\n  <<: [{', '.join(['*' + ('a' if n == 0 else f'm{n - 1}')] * 20)}]\n"
            for n in range(8)
        ),
        "a: &a [*a]",
        "[" * 5000,
        "problems: {q: {type: match}}",
        "problems: {q: {type: multiple_choice, choices: [{text: a}]}}",
        "problems: {'../q': {type: code}}",
        "problems: 3",
        "name: none",
        "problems: {}\nenvironment_parameters: 3",
    ],
)  # fmt: skip
def test_what_is_no_task_is_refused_with_its_place(text: str, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(text)
    with pytest.raises(InvalidTask, match=r"task\.yaml"):
        load_task(tmp_path)


def test_aliases_that_are_few_are_fine() -> None:
    assert parse(b"a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a", "here") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1},
    }


def test_answers_are_looked_at_before_anything_runs() -> None:
    problems = load_task(COURSE / "commands").problems
    good = {"q1": "x", "q2": ("a.txt", b"x"), "q3": "", "q4": ["0", "1"], "q5": "x"}
    require_answers(problems, good)
    for wrong in (
        {"q1": ""}, {"q1": None}, {"q2": "x"}, {"q2": ("a.exe", b"")},
        {"q2": ("a.txt", bytes(2000))},
        {"q4": ["7"]}, {"q5": None},
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            require_answers(problems, {**good, **wrong})  # type: ignore[arg-type]


def test_random_numbers_are_those_of_the_seed() -> None:
    task = load_task(COURSE / "commands")
    of_one = inputs_of(task, Submission(answers={}, seed=1))["@random"]
    assert of_one == inputs_of(task, Submission(answers={}, seed=1))["@random"]
    assert of_one != inputs_of(task, Submission(answers={}, seed=2))["@random"]
    with pytest.raises(InvalidInput):
        inputs_of(task, Submission(answers={"@state": "forged"}))


def ended(said: Said, outcome: Outcome | None = None, lost: tuple[str, ...] = ()) -> Ended:
    usual = classify(Facts(exit_code=0), ExecutionLimits())
    return Ended(
        said=said, outcome=outcome or usual, stdout=b"", stderr=b"", archive=None, lost=lost
    )


@pytest.mark.parametrize(
    ("said", "outcome", "lost"),
    [
        (Said(), None, ()),
        (Said(result="success"), Outcome(kind=OutcomeKind.EXITED, code=1), ()),
        (Said(result="success"), Outcome(kind=OutcomeKind.SIGNALED, signal=9), ()),
        (Said(result="success"), Outcome(kind=OutcomeKind.LOST, reason="gone"), ()),
        (Said(result="success"), Outcome(kind=OutcomeKind.CANCELLED), ()),
        (Said(result="success"), None, ("a sandbox",)),
        (Said(result="success", faults=["x"]), None, ()),
        (Said(result="error"), None, ()),
        (Said(grade=100.0), None, ()),
    ],
)
def test_what_is_unknown_is_never_a_pass(
    said: Said, outcome: Outcome | None, lost: tuple[str, ...]
) -> None:
    result = to_result(judge(ended(said, outcome, lost), state="before"))
    assert (result.verdict, result.grade, result.state) == (Verdict.ERROR, None, "before")
    assert result.detail


def test_a_status_takes_no_failure_back_and_makes_none() -> None:
    left = Outcome(kind=OutcomeKind.EXITED, code=1)
    failed = judge(ended(Said(result="failed", grade=30.0, state="after"), left), state="before")
    assert (failed.result, failed.grade, failed.state) == ("failed", 30, "after")
    assert "exit status was 1" in failed.detail
    for said in (Said(result="failed", faults=["x"]), Said(result="perfect"), Said(grade=5.0)):
        assert judge(ended(said, left), state="").result == "error"
    killed = Outcome(kind=OutcomeKind.SIGNALED, signal=9)
    assert judge(ended(Said(result="failed"), killed), state="").result == "error"


def test_what_was_lost_may_be_had_another_time() -> None:
    gone = Outcome(kind=OutcomeKind.LOST, reason="gone")
    assert judge(ended(Said(result="success"), gone), state="").passing
    assert judge(ended(Said(result="success"), lost=("a sandbox",)), state="").passing
    assert not judge(ended(Said(result="success", faults=["x"])), state="").passing
    assert not judge(ended(Said(result="success")), state="").passing


def test_a_grade_that_is_not_given_is_all_or_nothing() -> None:
    assert judge(ended(Said(result="success")), state="").grade == 100
    assert judge(ended(Said(result="failed")), state="").grade == 0
    assert judge(ended(Said(result="success", grade=120.0)), state="").grade == 100
    partial = to_result(judge(ended(Said(result="failed", grade=22.0)), state=""))
    assert (partial.verdict, partial.grade) == (Verdict.PARTIAL, 22)


def test_a_recorded_submission_is_compared_word_for_word(tmp_path: Path) -> None:
    path = tmp_path / "one.test"
    path.write_text(
        "_id: abc\ninput: {'@username': ada, '@random': [0.5], q1: text, "
        "f: {filename: a.txt, value: !!binary aGk=}, m: [0, 1]}\n"
        "result: failed\ngrade: 22.2222\nproblems: {q1: [failed, why], q2: only text}\n"
        "tests: {loops: true, '*auto-tag-12': words}\ntext: all\n"
        "submitted_on: 2018-02-22 09:59:12\n"
    )
    recorded = read_recorded(path)
    assert recorded.submission.answers == {
        "q1": "text", "f": ("a.txt", b"hi"), "m": ["0", "1"],
    }  # fmt: skip
    assert recorded.submission.randoms == (0.5,)
    graded = Graded(
        result="failed", grade=22.22222, message="other", problems=recorded.problems,
        tags={"loops": True, "*auto-tag-99": "words"},
    )  # fmt: skip
    assert [(each.what, each.counts) for each in compare(recorded, graded)] == [("text", False)]
    worse = Graded(result="success", grade=100.0)
    assert {each.what for each in compare(recorded, worse)} >= {
        "result", "grade", "q1: result", "q1: text", "q2: text", "tags",
    }  # fmt: skip


def test_containers_have_environments_by_a_table() -> None:
    environments = Environments(table={"cpp": "c", "*": "bash"})
    assert (environments("cpp"), environments("other")) == ("c", "bash")
    assert Environments()("cpp") == "python"


def test_restructured_text_becomes_markdown() -> None:
    text = (
        "``code`` and `Assay <https://example.org>`_\n\n.. code-block:: c\n\n\tint a;\n\tb;\n\n"
        ".. admonition:: Title\n\t:class: alert alert-info\n\n\tbody\n\nthe end::\n\n    kept\n"
    )
    assert to_markdown(text) == (
        "`code` and [Assay](https://example.org)\n\n\n```c\nint a;\nb;\n```\n\n"
        "\n> **Title**\n>\n> body\n\nthe end:\n\n\n```\nkept\n```\n"
    )
