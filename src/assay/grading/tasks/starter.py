"""Tasks to begin with: small, complete, and explained in their own files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from assay.domain.errors import InvalidInput
from assay.environments import ExecutionEnvironment
from assay.environments.trials import program

Starter = Callable[[ExecutionEnvironment], dict[str, str]]

_HEAD: Final = """\
# Every key is explained in docs/tasks.md. Try the task with: assay task check .
title = "{title}"
environment = "{environment}"    # one of `assay env list`
"""
_PROGRAM: Final = """\
files = ["{file}"]    # what learners hand in; the program first
# In the folder template is what they begin with, in solution the reference solution. What is in
# a folder given lies beside their files when they run.

[limits]    # of each run
wall_seconds = 10
cpu_seconds = 5
output = "1 MiB"

[sandbox]
memory = "{memory} MiB"
"""
_CASES: Final = """
# The program runs once for each case, each time in a sandbox of its own.
[[parts]]
id = "examples"
kind = "cases"
title = "The examples of the description"

[[parts.cases]]
name = "two numbers"
stdin = "1 2\\n"
expected = "3\\n"

[[parts]]
id = "tests"
kind = "cases"
title = "Other numbers"
weight = 3             # three times as much as the part above
needs = ["examples"]   # is run only if all of those are right
folder = "cases"       # 1.in is an input, 1.out what is expected
hidden = true          # learners see the names, and no inputs
"""
_RANDOM: Final = """
# Other numbers for each submission; what is expected is what the reference solution answers.
[[parts]]
id = "random"
kind = "cases"
title = "Numbers that nobody knows before"
weight = 2
needs = ["examples"]
hidden = true

[parts.random]
argv = ["python3", "generate.py"]    # gets the seed and the case's number as arguments
environment = "python"
count = 3
"""
_GENERATOR: Final = '''\
"""Print an input. The same seed and number must always give the same."""

import random
import sys

seed, number = int(sys.argv[1]), int(sys.argv[2])
chance = random.Random(f"{seed} {number}")
print(*(chance.randint(-1000, 1000) for _ in range(chance.randint(2, 20))))
'''
_CHECKER: Final = """
[parts.checker]
kind = "program"       # it looks at the output, and says whether it is right
argv = ["python3", "check.py"]
environment = "python"
"""
_CHECK: Final = '''\
"""Compare the files `output`, of the learner, and `expected`. `input` is there, too.

Ends with 42 if the output is right, with 43 if it is wrong, and with 44 if it is partly right: then
the first line that is printed is the score, from 0 to 1. What is printed else the learner reads.
Any other end is the checker's own fault, and nobody gets a grade: so expect anything in `output`.
"""

import sys
from pathlib import Path

expected = int(Path("expected").read_text())
words = Path("output").read_bytes().split()
if not words:
    print("Nothing was printed.")
    sys.exit(43)
try:
    number = int(words[-1])
except ValueError:
    print("The last word is no whole number.")
    sys.exit(43)
if number != expected:
    print("That is not the sum.")
    sys.exit(43)
sys.exit(42)
'''
_SUM: Final = """\
Read whole numbers from the standard input until it ends, and print their sum.

For the input

    1 2

the program prints

    3
"""
_CHOICE: Final = """
[[parts]]
id = "planet"
kind = "choice"        # several = true, if more than one may be chosen
title = "Which planet is the largest one of the solar system?"

[[parts.choices]]
text = "Saturn"
feedback = "Saturn is the second largest one."    # who chooses it reads this

[[parts.choices]]
text = "Jupiter"
right = true

[[parts.choices]]
text = "The Sun"
feedback = "The Sun is a star."
"""
_MATCH: Final = """
[[parts]]
id = "capital"
kind = "match"         # pattern = true, if the answers are regular expressions
title = "What is the capital of France?"
answers = ["Paris"]
ignore_case = true
hint = "It lies at the Seine."    # who is wrong reads this
"""
_RECORDED: Final = "# What the submission beside this file is worth; `assay task test` compares.\n"


def starter(kind: str, environment: ExecutionEnvironment) -> dict[str, str]:
    """The files of a new task, by their names in its folder. Raises InvalidInput."""
    return KINDS[kind](environment)


def _question(
    title: str, part: str, answers: str
) -> Callable[[ExecutionEnvironment], dict[str, str]]:
    def made(environment: ExecutionEnvironment) -> dict[str, str]:
        head = _HEAD.format(title=title, environment=environment.name)
        return {
            "task.toml": f"{head}# For a question nothing is run.\n{part}",
            "description.md": "Answer the question.\n",
            "tests/right/expected.toml": f"{_RECORDED}grade = 100\n\n[answers]\n{answers}\n",
        }

    return made


def _programs(parts: str, more: Mapping[str, str] = {}) -> Starter:
    def made(environment: ExecutionEnvironment) -> dict[str, str]:
        file = _file(environment)
        head = (_HEAD + _PROGRAM).format(
            title="The sum of numbers", environment=environment.name, file=file,
            memory=environment.sandbox.memory_bytes >> 20,
        )  # fmt: skip
        nothing, sums = environment.trials.exits, environment.trials.sums
        stem = file.partition(".")[0]
        worthless = _RECORDED + 'grade = 0\nverdict = "failed"\n\n[parts]\nexamples = "failed"\n'
        return {
            "task.toml": head + parts,
            "description.md": _SUM,
            f"template/{file}": program(nothing, name=stem).decode(),
            f"solution/{file}": program(sums, name=stem).decode(),
            **_cases(),
            **more,
            f"tests/nothing/{file}": program(nothing, name=stem).decode(),
            "tests/nothing/expected.toml": worthless,
        }

    return made


def _cases() -> dict[str, str]:
    """Inputs that tell apart what easily is mistaken, with their sums."""
    inputs = {"1": "5", "2": "-7 7 100\n", "3": "10\n20\n30\n", "4": "", "5": "0 0 1 -3\n"}
    made = {}
    for name, text in inputs.items():
        made[f"cases/{name}.in"] = text
        made[f"cases/{name}.out"] = f"{sum(map(int, text.split()))}\n"
    return made


def _file(environment: ExecutionEnvironment) -> str:
    """The name of the program's file. Raises InvalidInput where nothing is known to put in it."""
    if not environment.trials.sums or not environment.trials.exits:
        raise InvalidInput(
            f"the environment {environment.name} has no `sums` and `exits` in [trials], from which"
            " a task is made: choose another one, or copy a task of courses/introduction"
        )
    ending = (
        environment.extensions[0] if environment.extensions else environment.hello.source.suffix
    )
    stem = environment.hello.source.stem
    return f"{'Main' if stem[0].isupper() else 'main'}{ending}"


KINDS: Final[Mapping[str, Starter]] = {
    "cases": _programs(_CASES),
    "random": _programs(_CASES + _RANDOM, {"generate.py": _GENERATOR}),
    "checker": _programs(_CASES + _CHECKER, {"check.py": _CHECK}),
    "choice": _question("The largest planet", _CHOICE, "planet = [1]"),
    "match": _question("A capital", _MATCH, 'capital = "paris"'),
}
"""What kinds of tasks there are to begin with."""

ANSWERS: Final[Mapping[str, str]] = {"choice": "planet=1", "match": "capital=Paris"}
"""What is handed in for those that want no files, as `assay grade --answer` takes it: the right
one."""
