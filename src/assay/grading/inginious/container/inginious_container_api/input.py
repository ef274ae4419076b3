"""What a learner handed in."""

import os
import re

from inginious_container_api import FOLDER

_JSON = FOLDER + "/input.json"
_ANY_BYTES = "surrogateescape"  # what a learner hands in, which may be no text


def _load_input():
    import json

    with open(_JSON, encoding="utf-8") as opened:
        return json.load(opened)


def get_username():
    """Whose submission it is."""
    return get_input("@username")


def get_submission_time():
    """When it was handed in."""
    import datetime

    text = get_input("@time")
    kind = "%Y-%m-%d %H:%M:%S.%f" if "." in text else "%Y-%m-%d %H:%M:%S"
    return datetime.datetime.strptime(text, kind)


def get_lang():
    """The learner's language, such as "en"."""
    return get_input("@lang")


def get_input(problem):
    """The answer to a problem: a text, a list, or of a file its bytes; "PROBLEM:filename"."""
    name, _, part = problem.partition(":")
    answer = _load_input()["input"][name]
    if not _is_file(answer):
        return answer
    if part == "filename":
        return answer["filename"]
    with open(answer["value"], "rb") as opened:
        return opened.read()


def _is_file(answer):
    return isinstance(answer, dict) and "filename" in answer and "value" in answer


def parse_template(input_filename, output_filename=""):
    """Fill a file: @prefix@PROBLEM@suffix@ becomes each line of the answer between those two.

    What is put in is not looked at again.
    """
    answers = _load_input()["input"]
    with open(input_filename, "rb") as opened:
        template = opened.read().decode("utf-8")
    named = {}
    for name, answer in answers.items():
        if _is_file(answer):
            named[name + ":filename"] = answer["filename"]
            named[name + ":value"] = answer["value"]
        else:
            named[name] = answer
    longest_first = sorted(map(re.escape, named), key=len, reverse=True)
    pattern = re.compile("@([^@]*)@(%s)@([^@]*)@" % "|".join(longest_first))

    def filled(found):
        before, name, after = found.groups()
        text = named[name]
        if name.endswith(":value") and name[: -len(":value")] in answers:
            with open(text, "rb") as opened:
                text = opened.read().decode("utf-8", _ANY_BYTES)
        return "\n".join(before + line + after for line in text.splitlines())

    output = output_filename or input_filename
    folder = os.path.dirname(output)
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(output, "wb") as opened:
        opened.write(pattern.sub(filled, template).encode("utf-8", _ANY_BYTES))
