"""What carries unit tests in a language: files for both sandboxes, and how they are started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath
from typing import Final

from assay.domain.limits import MIB
from assay.environments.served import Blueprint
from assay.grading.tasks.model import Framework

PLAN: Final = ".assay/plan.json"
_MAIN: Final = "import sys\nfrom assay_inside.{module} import main\n\nsys.exit(main())\n"
_FOR_STUDENTS: Final = ("__init__.py", "values.py", "student.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class Carrier:
    """One framework's."""

    endings: tuple[str, ...]
    """Of files in the language."""
    module: Callable[[str], str]
    """What tests call a file of the learner's by."""
    for_grading: Callable[[Blueprint], tuple[str, ...]]
    """How the framework is started; PLAN is its last argument."""
    for_student: Callable[[Blueprint], tuple[str, ...]]
    grading_files: Callable[[], dict[str, bytes]]
    student_files: Callable[[], dict[str, bytes]]


def carrier(framework: Framework) -> Carrier:
    """What carries the tests of one that isolates."""
    return JAVASCRIPT if framework is Framework.NODE_TEST else _python(framework)


# --- Python --------------------------------------------------------------------------------------


def _python(framework: Framework) -> Carrier:
    main = f".assay/assay_{framework}.py"
    text = _MAIN.format(module=f"run_{framework}").encode()
    return Carrier(
        endings=(".py",),
        module=_module,
        for_grading=lambda blueprint: (_interpreter(blueprint), main, PLAN),
        for_student=lambda blueprint: (_interpreter(blueprint), ".assay/assay_student.py"),
        grading_files=lambda: {**_inside(), main: text},
        student_files=lambda: {
            **{name: each for name, each in _inside().items() if name.endswith(_FOR_STUDENTS)},
            ".assay/assay_student.py": _MAIN.format(module="student").encode(),
        },
    )


def _interpreter(blueprint: Blueprint) -> str:
    own = _own(blueprint)
    return own if PurePosixPath(own).name.startswith("python3") else "python3"


def _own(blueprint: Blueprint) -> str:
    return "" if blueprint.folder is None else blueprint.folder.run.argv[0]


def _inside() -> dict[str, bytes]:
    return _files("inside", ".assay/assay_inside", (".py",))


def _files(folder: str, to: str, endings: tuple[str, ...]) -> dict[str, bytes]:
    found = resources.files("assay.grading.frameworks") / folder
    return {
        f"{to}/{each.name}": each.read_bytes()
        for each in found.iterdir()
        if each.name.endswith(endings)
    }


def _module(file: str) -> str:
    name = file.removesuffix(".py").replace("/", ".")
    return name.removesuffix(".__init__")


# --- JavaScript ----------------------------------------------------------------------------------


def _node(blueprint: Blueprint) -> tuple[str, ...]:
    own = _own(blueprint)
    program = own if PurePosixPath(own).name in ("node", "nodejs") else "node"
    memory = blueprint.environment.sandbox.memory_bytes // MIB
    return program, f"--max-old-space-size={memory}"


JAVASCRIPT: Final = Carrier(
    endings=(".js", ".mjs", ".cjs"),
    module=lambda file: file,
    for_grading=lambda blueprint: (
        *_node(blueprint), "--no-warnings", "--test-reporter=./.assay/reporter.mjs",
        "--test-reporter-destination=stderr", ".assay/main.mjs", PLAN,
    ),
    for_student=lambda blueprint: (*_node(blueprint), ".assay/student.cjs"),
    grading_files=lambda: _files("javascript", ".assay", (".cjs", ".mjs")),
    student_files=lambda: _files("javascript", ".assay", ("values.cjs", "student.cjs")),
)  # fmt: skip
