"""Submissions, honest and hostile ones, graded in real sandboxes."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay.bootstrap.places import DriverPlaces
from assay.domain.errors import LimitOverCeiling, PoolExhausted, UnknownEnvironment
from assay.environments.document import Sandbox
from assay.grading.attempt import Attempt
from assay.grading.grade import grade
from assay.grading.graders.generating import random_cases
from assay.grading.joint import Seats
from assay.grading.places import Place
from assay.grading.references import References
from assay.grading.results import Verdict
from assay.grading.tasks import Cases, load_task, submission_of

from .conftest import Grade

TASK = """\
title = "Add"
environment = "{environment}"
files = ["{file}"]
limits = {{ wall_seconds = 30, cpu_seconds = 1, output = "64 KiB" }}
sandbox = {{ memory = "64 MiB" }}

[[parts]]
id = "shown"
kind = "cases"

[[parts.cases]]
name = "small"
stdin = "1 2\\n"
expected = "3\\n"

[[parts]]
id = "hidden"
kind = "cases"
hidden = true
weight = 3

[[parts.cases]]
name = "secret"
stdin = "20 22\\n"
expected = "42\\n"
hint = "Think of **larger** numbers."
"""
PYTHON = {"task.toml": TASK.format(environment="python", file="add.py")}
C = {"task.toml": TASK.format(environment="c", file="add.c")}


def _for(program: str) -> dict[str, str]:
    """PYTHON with less time for one that only sleeps; others may be kept from their work."""
    seconds = "wall_seconds = 2," if "sleep" in program else "wall_seconds = 30,"
    return {"task.toml": PYTHON["task.toml"].replace("wall_seconds = 30,", seconds)}


RIGHT = "print(sum(map(int, input().split())))\n"
RIGHT_IN_C = """\
#include <stdio.h>
int main(void) { int a, b; scanf("%d %d", &a, &b); printf("%d\\n", a + b); }
"""


async def test_what_is_right_gets_all_marks_and_says_what_it_took(graded: Grade) -> None:
    result = await graded(PYTHON, {"add.py": RIGHT})
    assert (result.verdict, result.grade, result.message) == (Verdict.PASSED, 100.0, "")
    test = result.parts[0].tests[0]
    assert test.message == ""
    assert (test.wall_seconds or 0) > 0
    assert (test.peak_memory_bytes or 0) > 100_000
    assert result.delays.booting > 0
    assert result.delays.grading > 0


async def test_a_compiled_program_is_made_once_and_runs_in_each_sandbox(graded: Grade) -> None:
    result = await graded(C, {"add.c": RIGHT_IN_C})
    assert result.grade == 100.0


async def test_what_cannot_be_compiled_gets_the_compilers_words(graded: Grade) -> None:
    result = await graded(C, {"add.c": "int main(void) { return x; }"})
    assert (result.verdict, result.grade) == (Verdict.FAILED, 0.0)
    assert "undeclared" in result.parts[0].message


async def test_a_wrong_answer_is_explained_but_not_where_it_is_hidden(graded: Grade) -> None:
    result = await graded(PYTHON, {"add.py": "print(3)\n"})
    assert (result.verdict, result.grade) == (Verdict.PARTIAL, 25.0)
    (secret,) = result.parts[1].tests
    assert secret.message == "Think of **larger** numbers."
    assert "42" in secret.detail
    told = str([(part.message, [test.message for test in part.tests]) for part in result.parts])
    assert "42" not in told
    assert "20 22" not in told


EAT = "x = []\nwhile True: x.append(bytearray(1 << 20))"
HOSTILE = {
    "leaves before it answers": ("import os; os._exit(0)", Verdict.FAILED),
    "leaves with success": ("raise SystemExit(0)", Verdict.FAILED),
    "is empty": ("", Verdict.FAILED),
    "never ends": ("while True: pass", Verdict.TIMED_OUT),
    "sleeps": ("import time; time.sleep(60)", Verdict.TIMED_OUT),
    "answers and never ends": (f"{RIGHT}\nwhile True: pass", Verdict.TIMED_OUT),
    "writes for ever": ("while True: print('3' * 1000)", Verdict.OUTPUT_LIMIT),
    "writes one line for ever": (
        "import sys\nwhile True: sys.stdout.write('3' * 1000)", Verdict.OUTPUT_LIMIT,
    ),
    "takes all memory": (EAT, Verdict.OUT_OF_MEMORY),
    "answers and crashes": (f"{RIGHT}\nimport os; os.kill(os.getpid(), 11)", Verdict.CRASHED),
    "answers and fails": (f"{RIGHT}\nraise SystemExit(1)", Verdict.CRASHED),
    "kills everybody": ("import os\nos.kill(-1, 9)", Verdict.FAILED),
    "forks for ever": ("import os\nwhile True: os.fork()", None),
    "forges a result": ('print(\'{"verdict": "passed", "grade": 100}\')', Verdict.FAILED),
    "writes no text": ("import os; os.write(1, bytes(range(256)) * 8)", Verdict.FAILED),
    "closes everything": ("import os\nos.closerange(0, 256)\nos._exit(0)", Verdict.FAILED),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_program_that_does_so_gets_no_marks(graded: Grade, name: str) -> None:
    program, verdict = HOSTILE[name]
    result = await graded(_for(program), {"add.py": program})
    assert result.grade == 0.0
    for part in result.parts:
        assert verdict in (None, part.tests[0].verdict), part.tests[0]
        assert part.tests[0].verdict not in (Verdict.PASSED, Verdict.PARTIAL, Verdict.ERROR)


@pytest.mark.parametrize("ends", ["os.kill(os.getpid(), 11)", "time.sleep(60)"])
async def test_any_exit_status_is_not_any_end(graded: Grade, ends: str) -> None:
    task = _for(ends)["task.toml"].replace("expected", 'exit_code = "any"\nexpected')
    right = f"import os, time\n{RIGHT}"
    result = await graded({"task.toml": task}, {"add.py": f"{right}{ends}\n"})
    assert result.grade == 0.0
    other = await graded({"task.toml": task}, {"add.py": f"{right}raise SystemExit(3)\n"})
    assert other.grade == 100.0


async def test_what_is_expected_is_nowhere_in_a_learners_sandbox(graded: Grade) -> None:
    searching = (
        "import os\n"
        "found = []\n"
        "for top in ('/workspace', '/tmp', '/task', '/run', '/var', '/dev/shm'):\n"
        "    for folder, _, files in os.walk(top):\n"
        "        for file in files:\n"
        "            try: found.append(open(os.path.join(folder, file), 'rb').read(100000))\n"
        "            except OSError: pass\n"
        "answer, name = bytes([52, 50, 10]), b'terces'[::-1]\n"
        "print(any(answer in text or name in text for text in found), os.listdir('.'))\n"
    )
    result = await graded(PYTHON, {"add.py": searching})
    assert "False ['add.py']" in result.parts[1].tests[0].detail


async def test_no_case_sees_what_another_has_left(graded: Grade) -> None:
    leaving = (
        "import os\n"
        "print(os.path.exists('/tmp/was-here') or os.path.exists('was-here'))\n"
        "open('/tmp/was-here', 'w'); open('was-here', 'w')\n"
    )
    result = await graded(PYTHON, {"add.py": leaving})
    assert all("False" in test.detail + test.message
               for part in result.parts for test in part.tests)  # fmt: skip


async def test_a_compiler_that_is_made_to_eat_memory_is_the_learners_fault(graded: Grade) -> None:
    result = await graded(C, {"add.c": '#include "/dev/zero"\n'})
    assert result.grade == 0.0
    assert result.verdict is not Verdict.ERROR


async def test_what_a_compiler_leaves_beside_the_program_leads_nowhere(graded: Grade) -> None:
    """Links in the folder of sources aren't taken along, so they show nothing of the server."""
    task = {
        "task.toml": TASK.format(environment="c", file="add.c").replace(
            "files =", 'build = ["/bin/sh", "build.sh"]\nrun = ["/bin/sh", "run.sh"]\nfiles ='
        ),
        "given/build.sh": "ln -s /etc/passwd passwd; mkfifo pipe; cp /bin/true add.out\n",
        "given/run.sh": "ls\n",
    }
    result = await graded(task, {"add.c": RIGHT_IN_C})
    assert "passwd" not in result.parts[0].tests[0].message
    assert "add.out" in result.parts[0].tests[0].message


# --- checkers and generators ---------------------------------------------------------------------

CHECKED = {
    "task.toml": TASK.format(environment="python", file="add.py").replace(
        'kind = "cases"\nhidden',
        'kind = "cases"\nchecker = { kind = "program", argv = ["/usr/bin/python3", "check.py"] }\n'
        "hidden",
    )
}


@pytest.mark.parametrize(
    ("check", "verdict", "score"),
    [
        ("import sys; sys.exit(42 + (open('output').read() != '42\\n'))", "passed", 1.0),
        ("import sys; sys.exit(43)", "failed", 0.0),
        ("import sys; print(0.25); print('Well.'); sys.exit(44)", "partial", 0.25),
    ],
)
async def test_a_checker_says_what_an_output_is_worth(
    graded: Grade, check: str, verdict: str, score: float
) -> None:
    result = await graded({**CHECKED, "check.py": check}, {"add.py": RIGHT})
    assert (result.parts[1].verdict, result.parts[1].score) == (verdict, score)


@pytest.mark.parametrize(
    "check",
    [
        "import sys; sys.exit(2)",
        "raise ValueError",
        "import sys; sys.exit(1)",
        "",
        "import os; os.kill(os.getpid(), 9)",
        "while True: pass",
        "import sys; print(2.0); sys.exit(44)",
        "import sys; print('nan'); sys.exit(44)",
        EAT,
        "while True: print('x' * 1000)",
    ],
)
async def test_a_checker_that_fails_is_never_a_pass(graded: Grade, check: str) -> None:
    result = await graded({**CHECKED, "check.py": check}, {"add.py": RIGHT})
    assert (result.verdict, result.grade) == (Verdict.ERROR, None)
    assert "checker" in result.detail


RANDOM = {
    "task.toml": TASK.format(environment="python", file="add.py")
    + '\n[parts.random]\nargv = ["/usr/bin/python3", "make.py"]\n',
    "make.py": "import random, sys\nr = random.Random(str(sys.argv[1:]))\n"
    "print(r.randint(0, 99), r.randint(0, 99))\n",
    "solution/add.py": RIGHT,
}


async def test_random_cases_are_the_seeds_and_expect_what_the_reference_says(
    graded: Grade,
) -> None:
    wrong = "print(input())"
    one = await graded(RANDOM, {"add.py": wrong}, seed=1)
    again = await graded(RANDOM, {"add.py": wrong}, seed=1)
    other = await graded(RANDOM, {"add.py": wrong}, seed=2)
    shown = [[test.detail for test in each.parts[1].tests] for each in (one, again, other)]
    assert shown[0] == shown[1] != shown[2]
    assert (await graded(RANDOM, {"add.py": RIGHT}, seed=3)).grade == 100.0


@pytest.mark.parametrize(
    "broken", [{"make.py": "raise ValueError"}, {"solution/add.py": "raise ValueError"}]
)
async def test_a_generator_or_a_reference_that_fails_costs_nobody_anything(
    graded: Grade, broken: dict[str, str]
) -> None:
    result = await graded({**RANDOM, **broken}, {"add.py": RIGHT})
    assert (result.verdict, result.grade) == (Verdict.ERROR, None)
    assert "not your fault" in result.message


# --- questions, order, and what can't be ---------------------------------------------------------

QUIZ = """\
title = "Quiz"
environment = "python"

[[parts]]
id = "planets"
kind = "choice"
several = true
all_or_nothing = false
choices = [
    { text = "Mars", right = true }, { text = "Venus", right = true },
    { text = "Pluto", feedback = "Not any more." }, { text = "Moon" },
]

[[parts]]
id = "capital"
kind = "match"
answers = ["Par.s"]
pattern = true
hint = "It begins with P."

[[parts]]
id = "bonus"
kind = "match"
answers = ["yes"]
needs = ["capital"]
"""


@pytest.mark.parametrize(
    ("answers", "scores"),
    [
        ({"planets": [0, 1], "capital": " Paris ", "bonus": "yes"}, (1.0, 1.0, 1.0)),
        ({"planets": [0], "capital": "Rome", "bonus": "yes"}, (0.5, 0.0, 0.0)),
        ({"planets": [0, 1, 2, 3], "capital": "x" * 1000}, (0.0, 0.0, 0.0)),
        ({"planets": [2]}, (0.0, 0.0, 0.0)),
        ({}, (0.0, 0.0, 0.0)),
    ],
)
async def test_questions_are_graded_without_a_sandbox(
    graded: Grade, answers: dict[str, object], scores: tuple[float, ...]
) -> None:
    result = await graded({"task.toml": QUIZ}, {}, answers=answers)
    assert tuple(part.score for part in result.parts) == scores
    if scores[1] == 0.0:
        assert result.parts[2].verdict is Verdict.NOT_RUN
        assert "begins with P" in result.parts[1].message


async def test_an_environment_that_is_not_there_is_an_error_of_ours(graded: Grade) -> None:
    with pytest.raises(UnknownEnvironment):
        await graded({"task.toml": TASK.format(environment="cobol", file="add.py")},
                     {"add.py": RIGHT})  # fmt: skip


async def test_a_limit_above_the_environments_is_refused(graded: Grade) -> None:
    task = PYTHON["task.toml"].replace('"64 MiB"', '"64 GiB"')
    with pytest.raises(LimitOverCeiling):
        await graded({"task.toml": task}, {"add.py": RIGHT})


async def test_one_who_is_cancelled_leaves_nothing(graded: Grade, state: Path) -> None:
    grading = asyncio.ensure_future(graded(PYTHON, {"add.py": "import time; time.sleep(60)"}))
    await asyncio.sleep(0.5)
    grading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await grading
    assert list(state.glob("*/sandboxes/*")) == []


# --- joint limits, and sandboxes of several gradings ---------------------------------------------

JOINT = 'joint = {{ cpu_seconds = 0.3, memory = "{memory}", sandboxes = 2 }}\nlimits ='
BURN = "import time\nwhile time.process_time() < 0.2: pass\n"


def _jointly(task: dict[str, str], memory: str = "1 GiB") -> dict[str, str]:
    text = task["task.toml"].replace("wall_seconds = 30, cpu_seconds = 1", "wall_seconds = 60")
    text = text.replace("limits =", JOINT.format(memory=memory))
    return {**task, "task.toml": text}


async def test_runs_that_take_too_much_together_are_the_learners_fault(graded: Grade) -> None:
    result = await graded(_jointly(PYTHON), {"add.py": BURN + RIGHT})
    assert result.grade == 25.0  # one is within all limits, both together are not
    assert [part.verdict for part in result.parts] == [Verdict.PASSED, Verdict.TIMED_OUT]
    assert "together" in result.parts[1].message


async def test_a_checker_that_takes_too_much_is_not_the_learners_fault(graded: Grade) -> None:
    check = {"check.py": "import time\nwhile time.process_time() < 5: pass\nraise SystemExit(42)\n"}
    result = await graded({**_jointly(CHECKED), **check}, {"add.py": RIGHT})
    assert (result.verdict, result.grade) == (Verdict.ERROR, None)
    assert "the task's own programs" in result.detail


async def test_a_sandbox_that_is_larger_than_all_together_may_be_is_the_tasks_fault(
    graded: Grade,
) -> None:
    result = await graded(_jointly(PYTHON, memory="32 MiB"), {"add.py": RIGHT})
    assert (result.verdict, result.grade) == (Verdict.ERROR, None)
    assert "joint" in result.detail


UNIT = {
    "task.toml": 'title = "Add"\nenvironment = "python"\nfiles = ["add.py"]\n'
    '[[parts]]\nid = "tests"\nkind = "unit_tests"\nframework = "unittest"\ncall_seconds = 60\n'
    'tests = ["test_add.py"]\n',
    "test_add.py": "import unittest\nfrom add import add\n\nclass Add(unittest.TestCase):\n"
    "    def test_one(self):\n        self.assertEqual(add(1, 2), 3)\n"
    "    def test_two(self):\n        self.assertEqual(add(2, 2), 4)\n",
}


class _Narrow:
    """So many sandboxes and no more; who waits too long gets none."""

    def __init__(self, places: DriverPlaces, most: int) -> None:
        self.blueprint = places.blueprint
        self._places = places
        self._free = asyncio.Semaphore(most)

    @contextlib.asynccontextmanager
    async def place(
        self, environment: str, *, sandbox: Sandbox | None = None, owner: str = ""
    ) -> AsyncIterator[Place]:
        try:
            await asyncio.wait_for(self._free.acquire(), 20)
        except TimeoutError:
            raise PoolExhausted("none became free") from None
        try:
            async with self._places.place(environment, sandbox=sandbox, owner=owner) as place:
                yield place
        finally:
            self._free.release()


async def test_gradings_that_need_several_sandboxes_do_not_wait_for_one_another(
    places: DriverPlaces, tmp_path: Path
) -> None:
    for name, text in UNIT.items():
        (tmp_path / name).write_text(text)
    task, bundle = load_task(tmp_path)
    submission = submission_of(task, {"add.py": b"def add(a, b): return a + b\n"}, {})
    narrow, seats = _Narrow(places, 3), Seats(3)
    attempts = [
        Attempt(task=task, bundle=bundle, seed=1, places=narrow, submission=submission, seats=seats)
        for _ in range(3)
    ]
    results = await asyncio.gather(*map(grade, attempts))
    assert [result.grade for result in results] == [100.0] * 3


async def test_a_reference_solution_is_compiled_once_for_all_gradings_of_its_version(
    places: DriverPlaces, tmp_path: Path
) -> None:
    text = TASK.format(environment="c", file="add.c").replace("cpu_seconds = 1", "cpu_seconds = 2")
    (tmp_path / "task.toml").write_text(
        text + '\n[parts.random]\nargv = ["/bin/echo"]\nenvironment = "c"\n'
    )
    (tmp_path / "solution").mkdir()
    (tmp_path / "solution/add.c").write_text(RIGHT_IN_C)
    task, bundle = load_task(tmp_path)
    submission = submission_of(task, {"add.c": RIGHT_IN_C.encode()}, {})
    references, part = References(), task.parts[1]
    assert isinstance(part, Cases)
    compiled = []

    async def inputs(seed: int) -> list[tuple[bytes, bytes | None]]:
        attempt = Attempt(
            task=task, bundle=bundle, seed=seed, places=places, submission=submission,
            references=references,
        )  # fmt: skip
        made = await random_cases(part, attempt)
        compiled.append(attempt.account.of_task)
        return [(case.stdin, case.expected) for case in made]

    assert await inputs(7) == [(f"7 {n}\n".encode(), f"{7 + n}\n".encode()) for n in (1, 2, 3)]
    assert await inputs(8) == [(f"8 {n}\n".encode(), f"{8 + n}\n".encode()) for n in (1, 2, 3)]
    assert len(references) == 1
    assert compiled[1] < compiled[0]


async def test_the_tests_that_a_reference_passes_are_found_once_for_its_version(
    places: DriverPlaces,
) -> None:
    task, bundle = load_task(Path(__file__).parent / "golden/tasks/sums-cpp")
    submission, references = submission_of(task, task.solution, {}), References()
    of_task = []
    for _ in range(2):
        attempt = Attempt(
            task=task, bundle=bundle, seed=1, places=places, submission=submission,
            references=references,
        )  # fmt: skip
        result = await grade(attempt)
        assert result.grade == 100.0
        of_task.append(attempt.account.of_task)
    assert len(references) == 2  # the tests' names, and what of doctest's is in every program
    assert of_task[0] > 0
    assert of_task[1] == 0


async def test_where_doctest_itself_can_not_be_compiled_nobody_is_at_fault(
    places: DriverPlaces, tmp_path: Path
) -> None:
    folder = tmp_path / "task"
    shutil.copytree(Path(__file__).parent / "golden/tasks/sums-cpp", folder)
    with (folder / "task.toml").open("a") as text:
        text.write('\n[sandbox]\ndisk = "256 KiB"\n')
    task, bundle = load_task(folder)
    attempt = Attempt(
        task=task, bundle=bundle, seed=1, places=places,
        submission=submission_of(task, task.solution, {}),
    )  # fmt: skip
    result = await grade(attempt)
    assert (result.verdict, result.grade) == (Verdict.ERROR, None)
    assert "doctest can't be compiled; doctest-dev must be" in result.detail
