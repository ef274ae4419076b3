"""What of a task or a course Assay does not do, in words for its teacher. Nothing is left unsaid.

Only what somebody has set otherwise than INGInious sets it by itself is worth a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from assay.grading.inginious.hypertext import has_script

_PLATFORM: Final = "whoever hands in for learners (your platform) says who they are"
_OF_COURSES: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "registration_password": (bool, f"nobody registers: {_PLATFORM}"),
    "registration_ac": (bool, f"nobody registers: {_PLATFORM}"),
    "registration": (
        lambda value: isinstance(value, str) and bool(value), f"nobody registers: {_PLATFORM}",
    ),
    "is_lti": (bool, "no LTI is spoken: platforms use the API, and webhooks tell them grades"),
    "lti_send_back_grade": (bool, "no LTI is spoken: webhooks tell a platform grades"),
    "groups_student_choice": (bool, "there are no groups: each learner hands in alone"),
    "nofrontend": (bool, "it is offered as others are: leave it out of --courses to hide it"),
    "fs_provider": (bool, "files are those of the course's folder"),
    "task_dispenser": (
        lambda value: bool(value) and value != "toc",
        "only toc is done: every task is offered to everybody, by its own rules",
    ),
}  # fmt: skip
_OF_TASKS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "groups": (bool, "there are no groups: each learner hands in alone"),
    "evaluate": (
        lambda value: value not in (None, "", "best", "last"), "only best and last are done: best",
    ),
    "stored_submissions": (
        lambda value: str(value).isdigit() and int(value) > 0,
        "all are kept, as long as the server keeps any (--keep-submissions-days)",
    ),
    "categories": (bool, "tasks have none here"),
}  # fmt: skip
_PER_TASK: Final = frozenset(
    {
        "weight", "submission_limit", "groups", "evaluate", "stored_submissions", "accessible",
        "categories",
    }
)  # fmt: skip


def of_course(settings: Mapping[str, Any]) -> Iterator[str]:
    """Of its own settings."""
    yield from _said(settings, _OF_COURSES)


def of_settings(settings: Mapping[str, Any]) -> Iterator[str]:
    """Of what a task, or its course, says of who may do it when."""
    yield from _said(settings, _OF_TASKS)


def of_dispenser(task: str, said: Mapping[str, Any]) -> Iterator[str]:
    """What a course says of a task that no version of INGInious has."""
    unknown = (key for key in said if key not in _PER_TASK)
    yield from (f"dispenser_data of {task}: {key} is not known" for key in unknown)


def of_environment(kind: str, parameters: Mapping[str, Any]) -> Iterator[str]:
    """Of the container a task wants."""
    if kind.endswith("-ssh"):
        yield f"environment_type {kind}: nobody can log in to a sandbox"
    elif str(parameters.get("ssh_allowed")).lower() in ("true", "yes", "on", "1"):
        yield "ssh_allowed: nobody can log in to a sandbox"


def of_texts(texts: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Of texts, by where each is, which would have run something in a learner's browser."""
    for where, text in texts:
        if has_script(text):
            yield f"{where}: it runs a script in a page of INGInious; what learners read has none"


def _said(
    settings: Mapping[str, Any], known: Mapping[str, tuple[Callable[[Any], bool], str]]
) -> Iterator[str]:
    for key, (is_worth_a_word, words) in known.items():
        if is_worth_a_word(settings.get(key)):
            yield f"{key}: {words}"
