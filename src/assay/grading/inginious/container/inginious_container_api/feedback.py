"""What a grader says of a submission. Each call appends one record; the host makes one result."""

import json
import os

from inginious_container_api._journal import fault, note, records
from inginious_container_api.input import get_lang


def set_global_result(result):
    """The result of the whole: success, failed, timeout, overflow or crash."""
    note("result", "", str(result))


def set_problem_result(result, problem_id):
    """The same, of one problem."""
    note("result", str(problem_id), str(result))


def set_grade(grade):
    """From 0 to 100. What is no number is a fault of the grader's, and raises ValueError."""
    try:
        grade = float(grade)
        if grade != grade or grade in (float("inf"), float("-inf")):
            raise ValueError("a grade is a number from 0 to 100")
    except (TypeError, ValueError):
        fault("set_grade: %.80r is no grade" % (grade,))
        raise
    note("grade", repr(grade))


def _text(feedback):
    if not isinstance(feedback, str):
        raise ValueError("feedback is a text, not %s" % type(feedback).__name__)
    return feedback


def set_global_feedback(feedback, append=False):
    """The message of the whole."""
    note("message", "", "a" if append else "", _text(feedback))


def set_problem_feedback(feedback, problem_id, append=False):
    """The message of one problem."""
    note("message", str(problem_id), "a" if append else "", _text(feedback))


def set_state(state):
    """What the next submission of this learner finds in `@state`."""
    note("state", str(state))


def set_tag(tag, value):
    """Whether a tag of the task holds."""
    note("tag-set", str(tag), "true" if value == True else "false")  # noqa: E712


def tag(value):
    """A tag that the task doesn't know, by its text."""
    note("tag", str(value))


def set_custom_value(custom_name, custom_val):
    """A value of the grader's own, of whatever JSON can say."""
    note("custom", str(custom_name), "json", json.dumps(custom_val))


def get_feedback():
    """All that was said so far, as one dictionary."""
    found = {}
    for verb, fields in records():
        _apply(found, verb, fields)
    return found


def save_feedback(rdict):
    """Say all of a dictionary that `get_feedback` gave."""
    if "result" in rdict:
        set_global_result(rdict["result"])
    if "grade" in rdict:
        set_grade(rdict["grade"])
    if "text" in rdict:
        set_global_feedback(rdict["text"])
    if "state" in rdict:
        set_state(rdict["state"])
    for name, value in rdict.get("problems", {}).items():
        result, message = ("", value) if isinstance(value, str) else value
        if result:
            set_problem_result(result, name)
        set_problem_feedback(message, name)
    for name, value in rdict.get("tests", {}).items():
        tag(value) if isinstance(value, str) else set_tag(name, value)
    for name, value in rdict.get("custom", {}).items():
        set_custom_value(name, value)


def _apply(found, verb, fields):
    if verb in ("result", "message") and fields[0]:
        _apply_to_problem(found.setdefault("problems", {}), verb, fields)
    elif verb == "result":
        found["result"] = fields[1]
    elif verb == "message":
        found["text"] = (found.get("text", "") if fields[1] else "") + fields[2]
    elif verb == "grade":
        found["grade"] = float(fields[0])
    elif verb == "state":
        found["state"] = fields[0]
    elif verb == "tag-set":
        found.setdefault("tests", {})[fields[0]] = fields[1] == "true"
    elif verb == "tag":
        found.setdefault("tests", {})["*auto-tag-" + fields[0]] = fields[0]
    elif verb == "custom":
        found.setdefault("custom", {})[fields[0]] = _custom(fields[1], fields[2])


def _apply_to_problem(problems, verb, fields):
    before = problems.get(fields[0], "")
    result, message = (None, before) if isinstance(before, str) else before
    if verb == "result":
        result = fields[1]
    else:
        message = (message if fields[1] else "") + fields[2]
    problems[fields[0]] = message if result is None else [result, message]


def _custom(kind, value):
    if kind == "json":
        return json.loads(value)
    for number in (int, float):
        try:
            return number(value)
        except ValueError:
            pass
    return value


def set_feedback_from_tpl(tpl_name, parameters, problem_id=None, append=False):
    """A message from a template of Jinja2; returns whether that went well.

    Looked for as NAME.LANG.tpl here, lang/LANG/NAME.tpl of the task, NAME.tpl here. What goes wrong
    is the message, and a fault of the grader's.
    """
    import inginious_container_api.lang as languages

    language = get_lang()
    places = [
        "%s.%s.tpl" % (tpl_name, language),
        os.path.join(languages.get_lang_dir_path(), language, tpl_name) + ".tpl",
        tpl_name + ".tpl",
    ]
    place = next((path for path in places if os.path.exists(path)), None)
    problem = None if place else "There is no template %s." % tpl_name
    message = ""
    if place:
        try:
            message = _rendered(place, dict(parameters), languages)
        except Exception as error:
            problem = "The template %s is wrong: %s: %s" % (place, type(error).__name__, error)
    if problem:
        fault(problem)
        message = "\n.. error::\n\n    " + "\n    ".join(problem.splitlines()) + "\n"
    if problem_id is None:
        set_global_feedback(message, append)
    else:
        set_problem_feedback(message, problem_id, append)
    return problem is None


def _rendered(place, parameters, languages):
    languages.init()
    import builtins

    from jinja2 import Template

    with open(place, encoding="utf-8") as opened:
        template = Template(opened.read())
    return template.render({**parameters, "_": builtins._})
