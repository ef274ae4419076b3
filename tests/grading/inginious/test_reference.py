"""The course of these tests uses every field and every command that there is, and each is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HERE = Path(__file__).parent / "course"
TASK: Final = words(
    "name author contact_url context environment_type environment_id environment_parameters"
    " environment_parameters.limits.time environment_parameters.limits.hard_time"
    " environment_parameters.limits.memory environment_parameters.limits.disk"
    " environment_parameters.network_grading environment_parameters.run_cmd"
    " environment limits.time limits.memory limits.disk limits.output network_grading run_cmd"
    " problems input_random regenerate_input_random accessible weight groups evaluate"
    " submission_limit.amount submission_limit.period stored_submissions categories order tags"
    " file responseIsHTML"
)
KINDS: Final = words(
    "code code_single_line file match multiple_choice"
    " blockly network_trace parsons permutation math matching regex"
)
PROBLEM: Final = words(
    "type name header language default offset optional allowed_exts max_size answer centralize"
    " choices choices.text choices.valid choices.feedback multiple limit unshuffle error_message"
    " success_message"
)
TYPES: Final = words("docker docker-ssh nvidia nvidia-ssh mcq")
COURSE: Final = words(
    "name description admins tutors accessible registration registration_password registration_ac"
    " registration_ac_list registration_ac_accept allow_unregister allow_preview"
    " groups_student_choice nofrontend is_lti lti_url lti_keys lti_secrets lti_config"
    " lti_send_back_grade archived archive_date tags task_dispenser dispenser_data"
    " dispenser_data.toc dispenser_data.config"
)
CONFIG: Final = words(
    "weight submission_limit group_submission evaluation_mode no_stored_submissions accessibility"
    " categories"
)
INPUTS: Final = words("@username @email @lang @time @attempts @random @state @lti_")
WORDS: Final = words("success failed timeout overflow crash")
COMMANDS: Final = (
    "feedback-result", "feedback-result -i", "feedback-grade", "feedback-msg -m", "feedback-msg -a",
    "feedback-msg -ae", "feedback-msg -i", "feedback-msg-tpl", "feedback-custom",
    "feedback-custom -j", "feedback-state", "tag", "tag-set", "feedback -", "getinput",
    "getinput q2:filename", "parsetemplate -o", "parsetemplate", "archive -a", "archive -r",
    "rst-code -l", "rst-image", "rst-msgblock -c success", "rst-msgblock -c info",
    "rst-msgblock -c warning", "rst-msgblock -c danger", "rst-indent", "run_student",
    "run_student --container", "run_student --time", "run_student --hard-time",
    "run_student --memory", "run_student --share-network", "run_student --run-as-root",
    "run_student --teardown-script", "ssh_student", "ssh_student --setup-script",
    "inginious-ipython",
)  # fmt: skip
MODULES: Final = words(
    "set_global_result set_problem_result set_grade set_global_feedback set_problem_feedback"
    " set_feedback_from_tpl set_custom_value set_state tag set_tag get_input get_username get_lang"
    " get_submission_time parse_template run_student run_student_simple lang.init"
    " get_codeblock get_imageblock get_admonition indent_block"
)
GRADERS: Final = words("run run.py run.py3 run.sh $common/run")
FOLDERS: Final = words(
    "$common/student $common/public $common/$i18n public student student/scripts lang $i18n test"
    " .testignore"
)
_KEYS_OF_MAPPINGS = ("problems", "tags", "config", "choices")


def documents() -> list[dict[str, Any]]:
    return [yaml.safe_load(path.read_text()) for path in sorted(HERE.glob("*/task.yaml"))]


def course() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((HERE / "course.yaml").read_text())
    return found


def keys(document: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """As "limits.time"; what a teacher calls problems and tags is left out."""
    for name, value in document.items():
        yield f"{above}{name}"
        if isinstance(value, dict) and name not in _KEYS_OF_MAPPINGS:
            yield from keys(value, f"{above}{name}.")


def problems() -> list[dict[str, Any]]:
    return [each for task in documents() for each in task["problems"].values()]


def graders() -> str:
    names = ("run*", "*.sh", "script.py")
    paths = [path for name in names for path in HERE.glob(f"*/{name}") if path.is_file()]
    return "\n".join(path.read_text() for path in paths)


def test_every_field_of_a_task_is_used() -> None:
    assert TASK - {key for task in documents() for key in keys(task)} == set()
    kinds = {task.get("environment_type") or task["environment"] for task in documents()}
    assert TYPES - kinds == set()


def test_every_kind_of_problem_and_every_field_of_one_is_used() -> None:
    kinds = {each["type"].replace("-", "_") for each in problems()}
    assert KINDS - kinds == set()
    used = {key for each in problems() for key in keys(each)}
    used |= {
        f"choices.{key}" for each in problems() for one in each.get("choices", ()) for key in one
    }
    assert PROBLEM - used == set()


def test_every_field_of_a_course_is_used() -> None:
    assert COURSE - set(keys(course())) == set()
    used = {key for said in course()["dispenser_data"]["config"].values() for key in said}
    assert CONFIG - used == set()


def test_every_command_every_function_and_every_input_is_used() -> None:
    text = graders()
    missing = [each for each in COMMANDS if f"{each}" not in text]
    assert missing == []
    called = {name for name in MODULES if re.search(rf"\b{re.escape(name)}\(", text)}
    assert MODULES - called == set()
    assert {name for name in INPUTS if name not in text} <= {"@time"}  # by a function
    assert {word for word in WORDS if f"feedback-result {word}" not in text} == set()


def test_every_grader_and_every_folder_is_there() -> None:
    there = {str(path.relative_to(HERE)) for path in HERE.rglob("*")}
    of_tasks = {name.partition("/")[2] for name in there if name[0] != "$"}
    assert GRADERS - of_tasks - there == set()
    assert FOLDERS - of_tasks - there == set()
